"""Overlays, sheets, and roofs in three dimensions."""
