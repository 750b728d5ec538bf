"""Scaling laws and sweeps: how error falls with parameters, data and training, and which settings are best."""
