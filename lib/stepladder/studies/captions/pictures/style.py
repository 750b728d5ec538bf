"""What every picture of this study shares: a colour for each kind of position, texts in lines, arms in their order.

Decisions:
- Amber is what the trained arm says, navy the reference, grey every other arm.
- A character that the font lacks is drawn as a box, without a warning for each.
- A text is wrapped, never cut; what is too long for its place is shown to its first `MOST` characters with an ellipsis.
"""

import textwrap
from functools import cache
from typing import Final

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepladder.studies.captions.data.layout import CLOSE, IMAGE, OPEN, TEXT, WORLD
from stepladder.view.style import INK, MODEL, MUTED, RIVAL, TRUTH

KIND: Final = {TEXT: "#d8d5cc", IMAGE: "#5b7fa6", OPEN: "#7a6a86", WORLD: "#2a9d8f", CLOSE: "#7a6a86"}
KIND_NAME: Final = {TEXT: "text", IMAGE: "picture", OPEN: "bracket", WORLD: "world token", CLOSE: "bracket"}
SUPERVISED: Final = MODEL
MOST: Final = 240
UNKNOWN: Final = "\N{WHITE SQUARE}"
INVISIBLE: Final = {"xticks": [], "yticks": []}


def wrapped(text: str, width: int, most: int = MOST) -> str:
    """A text in lines of at most `width` characters, of its first `most`; what the font lacks is a box."""
    text = "".join(mark if mark.isspace() or _drawn(mark) else UNKNOWN for mark in text)
    text = " ".join(text.split())
    shown = text if len(text) <= most else text[: most - 1].rstrip() + "…"
    return textwrap.fill(shown, width).replace("$", r"\$") if shown else "(nothing)"  # a dollar would begin a formula


@cache
def _drawn(mark: str) -> bool:
    """Whether the font of all pictures has a character."""
    return ord(mark) in _font()


@cache
def _font() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def bare(axes: Axes, title: str = "") -> None:
    """Axes of a picture, without ticks."""
    axes.set(**INVISIBLE)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=9, color=INK, loc="left")


def lines(figure: Figure, axes: Axes, rows: list[tuple[str, str, str]], width: int = 46) -> None:
    """Rows of name, text and colour below each other, each as high as it is."""
    bare(axes)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    height = figure.get_size_inches()[1] * axes.get_position().height * 72  # points
    y = 0.99
    for name, text, colour in rows:
        shown = wrapped(text, width)
        axes.text(0.0, y, name, fontsize=8, color=MUTED, va="top")
        axes.text(0.3, y, shown, fontsize=9, color=colour, va="top", linespacing=1.15)
        y -= (12.5 * (shown.count("\n") + 1) + 5) / height


def colour_of(arm: str) -> str:
    """The colour of what an arm says."""
    return {"trained": MODEL, "reference": TRUTH}.get(arm, RIVAL if arm == "bar" else INK)
