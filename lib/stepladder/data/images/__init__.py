"""Pictures of unknown origin: decoded in a bounded child, resized, hashed, kept in tars that are read at random."""
