"""Evaluating a table of predictions, whoever made it: no torch, no models."""
