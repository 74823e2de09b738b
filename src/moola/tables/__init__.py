"""One file a table: bars, windows, splits, predictions, events, labels; and readers of foreign files."""
