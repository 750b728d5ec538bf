"""Stepladder: from ten samples to full training, one gated step at a time."""

from importlib.metadata import version

__version__ = version("stepladder")
