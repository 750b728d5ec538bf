"""Roofs that never stood: parametric scenes with exact labels, drawn as aerial images, in the true layouts."""
