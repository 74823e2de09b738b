"""A model slid over bars."""
