"""The training loop and the two things it is used for: pretraining and fine-tuning."""
