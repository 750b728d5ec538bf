"""The one look of all figures: `STYLE` is a matplotlib style file."""

from pathlib import Path

STYLE = Path(__file__).with_name("stepladder.mplstyle")
