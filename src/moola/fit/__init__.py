"""From rows, options and a seed to predictions: what every command that trains goes through."""
