"""Training in stages: forecast, flow, consistency, steady states."""
