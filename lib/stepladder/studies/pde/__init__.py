"""The PDE study: honest operator learning on grids, meshes and particles."""
