"""Tiles: surfaces as voxels, ground and relief, and the paths of an ego."""
