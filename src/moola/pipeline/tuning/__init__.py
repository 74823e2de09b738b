"""Options of `train` chosen by trials on inner folds of the train rows."""
