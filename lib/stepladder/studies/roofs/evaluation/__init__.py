"""Metrics of areas, lines, polygons and heights, and how they become scores."""
