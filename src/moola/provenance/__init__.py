"""What an encoder or a model has learned from."""
