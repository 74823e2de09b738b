"""One offline page of a run, a cross-validation or a comparison: figures, charts and windows."""
