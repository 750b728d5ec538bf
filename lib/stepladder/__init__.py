"""Stepladder: from ten samples to full training, one gated step at a time."""
