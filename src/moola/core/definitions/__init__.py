"""Label-free definitions of moves and of what stands around them: the material of programmatic pretraining."""
