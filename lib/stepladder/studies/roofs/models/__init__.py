"""The network of the roofs study, its losses, and its inference over rasters of any size."""
