"""Metrics of texts and choices, arms beside each other, and what may be said of them."""
