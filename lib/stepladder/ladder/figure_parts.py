"""What the pictures of a search share: colours of verdicts, short names of settings, the plane of workers and batch."""

import textwrap
from collections.abc import Sequence
from dataclasses import fields

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepladder.ladder.records import Candidate, Cell, SearchResult
from stepladder.training.setting import Setting
from stepladder.view.style import CHOSEN, INK, WRONG

WIDTH = 7.2  # inches, of every picture
VERDICT_COLOURS = {"better": "#1f3a5f", "tie": "#5b7fa6", "not better": "#aab2bd", "refused": WRONG}
SHORT = {"workers": "w", "batch": "batch ", "threads": "threads ", "prefetch": "prefetch ", "accumulate": "accumulate "}


def tried(result: SearchResult) -> list[Candidate]:
    """The rungs in the order tried, the soak last unless it is among them."""
    soak = [result.soak] if result.soak and result.soak not in result.rungs else []
    return [*result.rungs, *soak]


def role_of(candidate: Candidate, result: SearchResult) -> str:
    """The role of a rung in words: `chosen`, else its verdict; with `, soak` where it was the soak."""
    soak = ", soak" if candidate is result.soak else ""
    return ("chosen" if is_chosen(candidate, result) else candidate.verdict) + soak


def is_chosen(candidate: Candidate, result: SearchResult) -> bool:
    """Whether this trial is of the setting that was chosen."""
    return candidate.setting == result.chosen and candidate.verdict != "refused"


def colour_of(candidate: Candidate, result: SearchResult) -> str:
    """Colour of the trial's role."""
    return CHOSEN if is_chosen(candidate, result) else VERDICT_COLOURS[candidate.verdict]


def verdict_handles(rungs: Sequence[Candidate], result: SearchResult) -> list[Patch]:
    """Legend entries of the verdicts that occur."""
    chosen = [Patch(color=CHOSEN, label="chosen")] if any(is_chosen(candidate, result) for candidate in rungs) else []
    seen = {candidate.verdict for candidate in rungs if not is_chosen(candidate, result)}
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


def candidate_labels(rungs: Sequence[Candidate], result: SearchResult, joint: str) -> tuple[str, list[str]]:
    """`setting_labels` of rungs; the soak says that it is one."""
    shared, each = setting_labels([candidate.setting for candidate in rungs], joint)
    soak = "soak" + joint.replace(",", ":")
    return shared, [
        (soak if candidate is result.soak else "") + label for candidate, label in zip(rungs, each, strict=True)
    ]


def _said(name: str, setting: Setting) -> str:
    """`2 w`, `batch 4`, `bfloat16`, `compile`; empty for a switch that is off."""
    value = getattr(setting, name)
    if isinstance(value, bool):
        return name if value else ""
    return f"{value} w" if name == "workers" else f"{SHORT.get(name, '')}{value}"


def others_of(setting: Setting) -> tuple:
    """What of a setting the plane of workers and batch holds fixed; accumulation follows from the batch."""
    return setting.threads, setting.prefetch, setting.precision, setting.checkpointing, setting.compile


def plane(result: SearchResult) -> list[Cell]:
    """The forecast cells that differ from the chosen setting (or the best cell) in workers and batch alone."""
    if not result.cells:
        return []
    middle = result.chosen or max(result.cells, key=lambda cell: (cell.fits, cell.rate)).setting
    return [cell for cell in result.cells if others_of(cell.setting) == others_of(middle)]


def sentence(title: str, words: str) -> Figure:
    """A sentence in place of a picture: why there is none, or what a single point would show."""
    figure, axis = plt.subplots(figsize=(WIDTH, 1.3))
    axis.set(title=title)
    axis.axis("off")
    axis.text(0, 0.6, "\n".join(textwrap.wrap(words, 100)), transform=axis.transAxes, va="center", color=INK)
    return figure
