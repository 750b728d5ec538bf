"""The operator: one network for grids, meshes and particles."""
