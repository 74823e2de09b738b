"""Stage `cv`: many fits over folds and seeds, pooled out of fold, judged and gated."""
