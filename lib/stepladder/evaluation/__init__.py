"""Metrics with intervals, and how methods are compared."""
