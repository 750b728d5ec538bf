"""Readers of the study's raw formats: each module reads one family of files into `Fields`."""
