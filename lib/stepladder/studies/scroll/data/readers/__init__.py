"""Readers of the formats volumes come in: each module opens one family of files as a `Volume`."""
