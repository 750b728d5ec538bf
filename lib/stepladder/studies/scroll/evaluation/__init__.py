"""Metrics of surfaces, topology, and what comes after the network."""
