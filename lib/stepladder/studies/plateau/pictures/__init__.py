"""Cities and windows as scenes."""
