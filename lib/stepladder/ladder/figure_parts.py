"""What the pictures of a climb share: colours by meaning, short names of settings, the plane of workers and batch."""

import textwrap
from collections.abc import Sequence
from dataclasses import fields

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepladder.ladder.records import Cell, Climb, Rung
from stepladder.training.setting import Setting

WIDTH = 7.2  # inches, of every picture
CHOSEN, INK, PAPER, MUTED = "#d98e04", "#111827", "#fbfaf7", "#6b7280"
VERDICT_COLOURS = {"better": "#1f3a5f", "tie": "#5b7fa6", "not better": "#aab2bd", "refused": "#b5533c"}
SHORT = {"workers": "w", "batch": "batch ", "threads": "threads ", "prefetch": "prefetch ", "accumulate": "accumulate "}


def tried(climb: Climb) -> list[Rung]:
    """The rungs in the order tried, the soak last unless it is among them."""
    soak = [climb.soak] if climb.soak and climb.soak not in climb.rungs else []
    return [*climb.rungs, *soak]


def role_of(rung: Rung, climb: Climb) -> str:
    """The role of a rung in words: `chosen`, else its verdict; with `, soak` where it was the soak."""
    soak = ", soak" if rung is climb.soak else ""
    return ("chosen" if is_chosen(rung, climb) else rung.verdict) + soak


def is_chosen(rung: Rung, climb: Climb) -> bool:
    """Whether this trial is of the setting that was chosen."""
    return rung.setting == climb.chosen and rung.verdict != "refused"


def colour_of(rung: Rung, climb: Climb) -> str:
    """Colour of the trial's role."""
    return CHOSEN if is_chosen(rung, climb) else VERDICT_COLOURS[rung.verdict]


def verdict_handles(rungs: Sequence[Rung], climb: Climb) -> list[Patch]:
    """Legend entries of the verdicts that occur."""
    chosen = [Patch(color=CHOSEN, label="chosen")] if any(is_chosen(rung, climb) for rung in rungs) else []
    seen = {rung.verdict for rung in rungs if not is_chosen(rung, climb)}
    return [*chosen, *(Patch(color=colour, label=name) for name, colour in VERDICT_COLOURS.items() if name in seen)]


def setting_labels(settings: Sequence[Setting], joint: str) -> tuple[str, list[str]]:
    """What all settings share, for a title (empty where it is usual), and of each what it does not share.

    Workers and batch are always told apart. Accumulation that keeps the optimizer step the same is not said.
    """
    names = [field.name for field in fields(Setting)]
    if len({setting.batch * setting.accumulate for setting in settings}) == 1:
        names.remove("accumulate")
    differing = [n for n in names if len({getattr(s, n) for s in settings}) > 1 or n in ("workers", "batch")]
    usual, first = Setting(), settings[0]
    shared = [_said(n, first) for n in names if n not in differing and getattr(first, n) != getattr(usual, n)]
    each = [joint.join(filter(None, (_said(name, setting) for name in differing))) for setting in settings]
    return f" ({', '.join(shared)})" if shared else "", each


def rung_labels(rungs: Sequence[Rung], climb: Climb, joint: str) -> tuple[str, list[str]]:
    """`setting_labels` of rungs; the soak says that it is one."""
    shared, each = setting_labels([rung.setting for rung in rungs], joint)
    soak = "soak" + joint.replace(",", ":")
    return shared, [(soak if rung is climb.soak else "") + label for rung, label in zip(rungs, each, strict=True)]


def _said(name: str, setting: Setting) -> str:
    """`2 w`, `batch 4`, `bfloat16`, `compile`; empty for a switch that is off."""
    value = getattr(setting, name)
    if isinstance(value, bool):
        return name if value else ""
    return f"{value} w" if name == "workers" else f"{SHORT.get(name, '')}{value}"


def others_of(setting: Setting) -> tuple:
    """What of a setting the plane of workers and batch holds fixed; accumulation follows from the batch."""
    return setting.threads, setting.prefetch, setting.precision, setting.checkpointing, setting.compile


def plane(climb: Climb) -> list[Cell]:
    """The forecast cells that differ from the chosen setting (or the best cell) in workers and batch alone."""
    if not climb.cells:
        return []
    middle = climb.chosen or max(climb.cells, key=lambda cell: (cell.fits, cell.rate)).setting
    return [cell for cell in climb.cells if others_of(cell.setting) == others_of(middle)]


def nothing(title: str, why: str) -> Figure:
    """A picture that says why there is none."""
    figure, axis = plt.subplots(figsize=(WIDTH, 1.3))
    axis.set(title=title)
    axis.axis("off")
    axis.text(0, 0.6, "\n".join(textwrap.wrap(why, 100)), transform=axis.transAxes, va="center", color=MUTED)
    return figure
