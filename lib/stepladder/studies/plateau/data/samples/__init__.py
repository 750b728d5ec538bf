"""What a network sees: windows of a tile, and clips of them along a path."""
