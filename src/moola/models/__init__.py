"""Networks and their files: encoder, heads, losses, sealed weight files."""
