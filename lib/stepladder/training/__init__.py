"""Training: the loop, checkpoints, and what is applied to a model from outside."""
