"""One reader for each layout roofs are published in."""
