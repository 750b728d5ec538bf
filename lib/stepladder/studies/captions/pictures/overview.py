"""Overview of the converted data: what became of the rows of a list, a sheet of pictures, texts and questions.

Decisions:
- Rows of a list are counted by what became of them, kept ones apart: what is lost is as interesting as what is there.
- The sheet shows pictures of all shards evenly, framed in the colour of their split, with their first text below.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from stepladder.core.types import Picture
from stepladder.data.shards import Shard
from stepladder.studies.captions.data.conversion import items_of
from stepladder.studies.captions.data.layout import ITEMS, Item
from stepladder.studies.captions.params import CaptionsParams
from stepladder.studies.captions.pictures import style
from stepladder.view.style import CHOSEN, RIVAL, SPLIT_COLOURS

COLUMNS, ROWS = 5, 3
LEAST = 0.7  # rows at the left end of a logarithmic axis, where none are told too
MOST_WORDS = 84  # characters below a picture of the sheet, three lines
MOST_READ = 200  # shards whose texts are read


def figures(shards: Sequence[Path], splits: Mapping[str, Any], params: CaptionsParams) -> dict[str, Picture]:
    """Outcomes (where a list was fetched), sheet, texts."""
    opened = [Shard(path) for path in shards]
    split_of = {name: split for split in SPLIT_COLOURS for name in splits.get(split, ())}
    pictures = {"sheet": sheet(opened, split_of), "texts": texts(opened[:MOST_READ], split_of)}
    counts = Counter[str]()
    for shard in opened:
        counts.update(shard.attributes["counts"])
    return {**({"outcomes": outcomes(counts)} if counts else {}), **pictures}


def outcomes(counts: Mapping[str, int]) -> Picture:
    """Bars of what became of every row of the lists, on a logarithmic axis."""
    order = sorted(counts, key=lambda name: (name == "ok", counts[name]))
    figure = Figure(figsize=(7.5, 0.8 + 0.26 * len(order)), layout="constrained")
    axes = figure.subplots()
    colours = [CHOSEN if name == "ok" else RIVAL for name in order]
    axes.barh([name.replace("_", " ") for name in order], [counts[name] for name in order], color=colours)
    for place, name in enumerate(order):
        axes.text(max(counts[name], LEAST), place, f" {counts[name]:,}", va="center", fontsize=8)
    total = sum(counts.values())
    axes.set(xscale="log", xlim=(LEAST, 3 * max(counts.values())), xlabel="rows of the list (logarithmic)")
    axes.set_title(f"{counts.get('ok', 0):,} of {total:,} rows became pictures", loc="left", fontsize=10)
    return Picture(figure, "What became of every row of the list; green ones are in the shards.")


def sheet(shards: Sequence[Shard], split_of: Mapping[str, str]) -> Picture:
    """Pictures of the shards, evenly."""
    places = [(number, row) for number, shard in enumerate(shards) for row in range(len(shard.array("pixels_NYXC")))]
    shown = [places[index] for index in np.linspace(0, len(places) - 1, min(len(places), COLUMNS * ROWS)).astype(int)]
    figure = Figure(figsize=(10, 2.5 * -(-len(shown) // COLUMNS) + 0.4), layout="constrained")
    grid = np.atleast_1d(figure.subplots(-(-len(shown) // COLUMNS), COLUMNS)).ravel()
    for axes in grid:
        style.bare(axes)
    for axes, (number, row) in zip(grid, shown, strict=False):
        shard = shards[number]
        axes.imshow(shard.array("pixels_NYXC")[row])
        for spine in axes.spines.values():
            spine.set(visible=True, color=SPLIT_COLOURS.get(split_of.get(shard.path.stem, ""), RIVAL), linewidth=3)
        axes.set_xlabel(style.wrapped(_first_text(items_of(shard.array("items_S")), row), 30, MOST_WORDS), fontsize=7.5)
    handles = [Patch(color=colour, label=name) for name, colour in SPLIT_COLOURS.items()]
    figure.legend(handles=handles, ncols=3, loc="outside upper left", fontsize=8, frameon=False)
    return Picture(
        figure, "Pictures of all shards, evenly, with their first text; framed in the colour of their split."
    )


def texts(shards: Sequence[Shard], split_of: Mapping[str, str]) -> Picture:
    """How long answers are, and how many items ask what."""
    items = [
        (item, split_of.get(shard.path.stem, "none")) for shard in shards for item in items_of(shard.array("items_S"))
    ]
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    lengths, kinds = figure.subplots(1, 2)
    longest = max(len(item.answer.split()) for item, _ in items)
    for split, colour in SPLIT_COLOURS.items():
        words = [len(item.answer.split()) for item, own in items if own == split]
        lengths.hist(
            words, bins=np.arange(0.5, longest + 1.5), histtype="step", color=colour, label=split, linewidth=1.6
        )
    lengths.xaxis.set_major_locator(MaxNLocator(integer=True))
    lengths.set(xlabel="words of an answer", ylabel="items")
    lengths.legend(fontsize=8, frameon=False)
    present = [name for number, name in enumerate(ITEMS) if any(item.kind == number for item, _ in items)]
    left = np.zeros(len(present))
    for split, colour in SPLIT_COLOURS.items():
        counts = np.array([sum(ITEMS[item.kind] == name and own == split for item, own in items) for name in present])
        kinds.barh([name.replace("_", " ") for name in present], counts, left=left, color=colour)
        left += counts
    kinds.set(xlabel="items, by what they ask")
    return Picture(figure, f"Answers by length and items by what they ask, of {len(shards)} shards.")


def _first_text(items: Sequence[Item], row: int) -> str:
    return next(
        (
            item.answer if not item.choices else f"{item.question} {item.answer}"
            for item in items
            if row in item.pictures
        ),
        "",
    )
