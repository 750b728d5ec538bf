"""What the network must beat: constants, a forest, line detectors."""
