"""What was not measured, from what was: models of the loader and of memory."""
