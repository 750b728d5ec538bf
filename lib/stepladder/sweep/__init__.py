"""Sweeps: which settings are best, by grid, by chance or by what is known so far."""
