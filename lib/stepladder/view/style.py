"""The one look of all figures: `STYLE` is a matplotlib style file, and one colour has one meaning everywhere.

Decisions:
- Amber is the trained model and nothing else: its scores, its forecasts, its predicted surfaces.
- Navy is the truth and what was measured of it, light blue on dark ground; grey is a rival, or the setting.
- Green is what Stepladder chose or recommends. Red is wrong, refused or waiting.
- A split has its colour in maps, overviews and curves alike: training data navy, validation teal, test violet.
- What has no meaning of its own (phases of a step, paths of particles) takes the cycle of the style file, which holds
  neither amber nor green.
"""

from pathlib import Path

STYLE = Path(__file__).with_name("stepladder.mplstyle")

MODEL = "#d98e04"
TRUTH, TRUTH_ON_DARK = "#1f3a5f", "#4fa3e0"
CHOSEN = "#3f8f4f"
WRONG = "#b5533c"
INK, MUTED, RIVAL, PAPER = "#111827", "#6b7280", "#b8b5ad", "#fbfaf7"
SPLIT_COLOURS = {"train": "#1f3a5f", "validation": "#2a9d8f", "test": "#8e5ea2"}
