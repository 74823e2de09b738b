"""Evaluating a table of predictions, of any model or person: no torch, no models."""
