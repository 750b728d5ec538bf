"""From equations and published files to trajectories: catalogue, readers, solvers, conversion."""
