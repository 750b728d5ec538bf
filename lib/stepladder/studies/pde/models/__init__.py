"""Networks of the PDE study: the operator, its stages of training, baselines."""
