"""The network of the scroll study, its losses and its inference."""
