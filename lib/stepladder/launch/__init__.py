"""Rented machines: the same run on a box that may vanish. It decides where a stage runs, never what it computes."""
