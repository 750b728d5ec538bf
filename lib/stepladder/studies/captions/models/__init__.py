"""Frozen towers, the projection between them, the language model, and what is learnt."""
