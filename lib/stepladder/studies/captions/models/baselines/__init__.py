"""What the captioner must beat: constants, text alone, and the captions of similar pictures."""
