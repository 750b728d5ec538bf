"""Trajectories and forecasts in the plane and in space, and what an error costs."""
