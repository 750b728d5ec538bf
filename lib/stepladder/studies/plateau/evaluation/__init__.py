"""Scores of forecasts, and the trivial baselines."""
