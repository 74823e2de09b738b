"""What one fit is made of: material, resolved options, stages, and the fitted model."""
