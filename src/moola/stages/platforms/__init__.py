"""What is written for other platforms: templates of their sources."""
