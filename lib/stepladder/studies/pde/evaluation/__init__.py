"""Scores of forecasts, ours and as PDEBench computes them."""
