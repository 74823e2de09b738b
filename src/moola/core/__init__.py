"""Bars, windows, features, splits, expansions: numpy alone, no torch, no disk."""
