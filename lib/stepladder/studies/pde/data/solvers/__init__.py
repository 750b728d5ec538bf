"""Reference solvers, vectorised over trajectories, and the initial conditions and files of PDEBench's recipe."""
