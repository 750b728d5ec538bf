"""Forecasters of occupancy: warp and fill, OccWorld with its tokenizer, and how frames move."""
