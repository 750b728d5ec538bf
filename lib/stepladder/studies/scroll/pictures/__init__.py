"""Volumes and surfaces as scenes."""
