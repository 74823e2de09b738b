"""Tables of bars, windows and splits: reading, writing, sampling and augmentation."""
