"""Overview of the converted data: a contact sheet, which source labels what, classes, lines, and where faces fall.

Decisions:
- The sheet shows one shard of every source first, its labels over its image, framed in the colour of its split.
- Everything counted is counted by source, because sources label different things; images beyond `MOST_COUNTED` and
  pixels between every `step`-th are not looked at, and the title says so: a tile of AIRS alone has 10^8 pixels.
- Class shares stand beside what is expected, on a logarithmic axis: rare classes matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from stepladder.core.types import Picture
from stepladder.data.shards import Shard
from stepladder.studies.roofs.data.labels import (
    CHANNELS,
    FLAT,
    IGNORE,
    LINES,
    SECTORS,
    SUPERSTRUCTURES,
    TASKS,
    UNTYPED,
)
from stepladder.studies.roofs.data.sanity import EXPECTED
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import overlay, style
from stepladder.view.style import INK, SPLIT_COLOURS

COLUMNS, MOST_SHOWN = 4, 12  # of the contact sheet
MOST_COUNTED = 400  # shards looked at for counts
MOST_PIXELS = 500_000  # of one image, for counts
THUMBNAIL = 384  # pixels of a shard's picture on the sheet
PUBLIC: Final = {  # share of pixels by class: of RID, the 18 reviewed masks of its test set that we were given
    "rid": (0.01262, 0.00932, 0.00245, 0.00091, 0.00080, 0.00357, 0.00545, 0.00233, 0.96256)
}
SMALLEST_SHARE: Final = 1e-5  # of pixels, that a bar can show
NO_SPLIT: Final = "#9ca3af"


@dataclass
class Tally:
    """What was counted of one source: images, images by task, pixels by class, lines by type, area by sector (m2)."""

    images: int = 0
    tasks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TASKS, 0))
    types: set[str] = field(default_factory=set)
    superstructures: np.ndarray = field(default_factory=lambda: np.zeros(len(SUPERSTRUCTURES)))
    lines: np.ndarray = field(default_factory=lambda: np.zeros(CHANNELS, dtype=int))
    metres: np.ndarray = field(default_factory=lambda: np.zeros(CHANNELS))
    sectors: np.ndarray = field(default_factory=lambda: np.zeros(FLAT + 1))


def figures(shards: Sequence[Path], splits: Mapping[str, Any], params: RoofsParams) -> dict[str, Picture]:
    """Pictures of the converted data by name; those of which the data hold nothing are left out.

    `splits` gives the stems of the shards in `train`, `validation` and `test`; nothing drawn depends on `params`.
    """
    counted = tally(shards)
    told = f" ({MOST_COUNTED} of {len(shards)} shards looked at)" if len(shards) > MOST_COUNTED else ""
    pictures = {
        "sheet": Picture(
            sheet(shards, splits), "One of every source first, with its labels; the frame tells the split."
        ),
        "tasks": Picture(tasks(counted), f"Images that carry each label, by source{told}."),
    }
    if any(own.superstructures.any() for own in counted.values()):
        pictures["classes"] = Picture(classes(counted), f"Share of labelled pixels, by class and source{told}.")
    if any(own.lines.any() for own in counted.values()):
        pictures["lines"] = Picture(lines(counted), f"Lines by type: how many, and how long on the ground{told}.")
    if any(own.sectors.any() for own in counted.values()):
        pictures["bearings"] = Picture(rose(counted), f"Where faces fall: square metres by compass bearing{told}.")
    return pictures


def tally(shards: Sequence[Path]) -> dict[str, Tally]:
    """Counts by source, over at most `MOST_COUNTED` shards spread evenly."""
    places = np.unique(np.linspace(0, len(shards) - 1, min(len(shards), MOST_COUNTED)).round().astype(int))
    counted: dict[str, Tally] = {}
    for shard in (Shard(shards[place]) for place in places):
        _count(counted.setdefault(str(shard.attributes["source"]), Tally()), shard)
    return dict(sorted(counted.items()))


def _count(own: Tally, shard: Shard) -> None:
    names, images = set(shard.names), len(shard.array("image_NYXC"))
    area = float(shard.attributes["gsd_m"]) ** 2
    own.images += images
    for task in shard.attributes["tasks"]:
        own.tasks[task] += images
    if "superstructure_NYX" in names:
        own.superstructures += _histogram(shard.array("superstructure_NYX"), len(SUPERSTRUCTURES))
    if "face_NYX" in names:
        own.sectors += area * _histogram(shard.array("face_NYX"), FLAT + 1)
    if "lines_LF" in names:
        lines_LF = np.asarray(shard.array("lines_LF"), dtype=np.float64)
        kind, long = lines_LF[:, 5].astype(int), np.hypot(*(lines_LF[:, 3:5] - lines_LF[:, 1:3]).T) * np.sqrt(area)
        own.lines += np.bincount(kind, minlength=CHANNELS)
        own.metres += np.bincount(kind, long, minlength=CHANNELS)
        own.types.update(shard.attributes["line_types"])


def _histogram(labels_NYX: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of every class below `classes`, estimated from every `step`-th row and column of large images."""
    step = max(1, int(np.sqrt(labels_NYX[0].size / MOST_PIXELS)))
    return step**2 * np.bincount(labels_NYX[:, ::step, ::step].ravel(), minlength=IGNORE + 1)[:classes]


def sheet(shards: Sequence[Path], splits: Mapping[str, Any]) -> Figure:
    """The first image of up to `MOST_SHOWN` shards, their labels over them; title: shard and source; frame: split."""
    shown = [Shard(shards[place]) for place in sorted(_one_of_each_first(shards, MOST_SHOWN))]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.7 * columns + 0.2, 3.0 * rows + 1.1), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    handles: list[Any] = []
    sectors: set[int] = set()
    for axis in axes.flat[len(shown) :]:
        axis.axis("off")
    for axis, shard in zip(axes.flat, shown, strict=False):
        own, falls = _thumbnail(axis, shard)
        handles, sectors = handles + own, sectors | falls
        split = next((name for name in SPLIT_COLOURS if shard.path.stem in splits.get(name, ())), None)
        for spine in axis.spines.values():
            spine.set(visible=True, color=SPLIT_COLOURS.get(split or "", NO_SPLIT), linewidth=3)
        axis.set_title(f"{_short(shard.path.stem)}\n{shard.attributes['source']}", fontsize=8)
    if any(sector <= FLAT for sector in sectors):
        style.compass(axes[0, 0], sectors)
    left_out = f", {len(shown)} of {len(shards)} shards, every source first" if len(shown) < len(shards) else ""
    figure.suptitle(f"Converted images with their labels{left_out}", x=0.01, ha="left", fontsize=10)
    frame = {"facecolor": "none", "linewidth": 2.5}
    frames = [Patch(edgecolor=colour, label=f"{name} (frame)", **frame) for name, colour in SPLIT_COLOURS.items()]
    style.add_legend(figure, [*frames, *sorted(handles, key=style.rank)], columns=2 * columns)
    return figure


def _one_of_each_first(shards: Sequence[Path], most: int) -> list[int]:
    """Places of up to `most` shards: the first of every source, then the second of every source, and so on."""
    sources = [Shard(path).attributes["source"] for path in shards]
    nth = [sources[:place].count(source) for place, source in enumerate(sources)]
    return np.argsort(nth, kind="stable")[:most].tolist()


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}...{name[2 - most // 2 :]}"


def _thumbnail(axis: Axes, shard: Shard) -> tuple[list[Any], set[int]]:
    """The first image of a shard, thinned, with its labels over it; handles of the legend, and the sectors shown."""
    whole = shard.array("image_NYXC")[0]
    step = max(1, max(whole.shape[:2]) // THUMBNAIL)
    held = {name: shard.array(name)[0, ::step, ::step] for name in _dense(shard)}
    axis.set(xticks=[], yticks=[])
    style.draw(axis, whole[::step, ::step], whole.shape)
    side = {"face_YX": held["face_NYX"]} if "face_NYX" in held else {}
    if "outline_NYX" in held:
        side["outline_YX"] = held["outline_NYX"] == 1
    if "lines_LF" in shard.names:
        lines_LF = shard.array("lines_LF")
        side["lines_LF"] = lines_LF[lines_LF[:, 0] == 0][:, 1:]
    handles = overlay.draw_plan(axis, side, whole.shape, compass=False, width=1.2)
    if "superstructure_NYX" in held:
        labels_YX = held["superstructure_NYX"]
        clear = dict(list(style.SUPERSTRUCTURE.items())[:-1])
        style.draw(axis, style.painted(np.where(labels_YX == IGNORE, len(clear), labels_YX), clear, 0.75), whole.shape)
        handles += style.shown_superstructures(labels_YX)
    style.scale_bar(axis, whole.shape, float(shard.attributes["gsd_m"]))
    return handles, set(np.unique(side.get("face_YX", ())).tolist())


def _dense(shard: Shard) -> list[str]:
    return [name for name in ("superstructure_NYX", "face_NYX", "outline_NYX") if name in shard.names]


def tasks(counted: Mapping[str, Tally]) -> Figure:
    """A matrix of sources by tasks: images that carry the label; of lines, how many types are told."""
    figure = Figure(figsize=(1.0 * len(TASKS) + 2.2, 0.5 * len(counted) + 1.0), layout="constrained")
    axis = figure.subplots()
    axis.grid(False)
    share = np.array([[own.tasks[task] / max(own.images, 1) for task in TASKS] for own in counted.values()])
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    for row, own in enumerate(counted.values()):
        for column, task in enumerate(TASKS):
            axis.text(column, row, _cell(own, task), ha="center", va="center", fontsize=8, color=INK)
    axis.set_xticks(range(len(TASKS)), TASKS)
    axis.set_yticks(range(len(counted)), [f"{name} ({own.images})" for name, own in counted.items()])
    axis.tick_params(length=0)
    axis.set(title="Which source labels what (images)")
    axis.spines[:].set_visible(False)
    return figure


def _cell(own: Tally, task: str) -> str:
    if not own.tasks[task]:
        return "-"
    types = f"\n{len(own.types) or 'no'} types" if task == "line" else ""
    return f"{own.tasks[task]}{types}"


def classes(counted: Mapping[str, Tally]) -> Figure:
    """Share of labelled pixels of every superstructure class by source.

    Grey is what `sanity` lets pass; black ticks are the shares of the source's public masks, where we know them.
    """
    own = {name: tally for name, tally in counted.items() if tally.superstructures.any()}
    figure = Figure(figsize=(7.2, 0.2 * len(SUPERSTRUCTURES) * (len(own) + 0.6) + 1.3), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(SUPERSTRUCTURES):
        least, most = EXPECTED["superstructure", name]
        axis.barh(place, most - least, 0.94, left=max(least, SMALLEST_SHARE), color="#eceae3", zorder=0)
    high = 0.8 / len(own)
    for place, (name, counts) in enumerate(own.items()):
        share = counts.superstructures / counts.superstructures.sum()
        at = np.arange(len(share)) + place * high - 0.4 + high / 2
        axis.barh(at, share, high * 0.9, color=style.SOURCES[place % len(style.SOURCES)], label=name)
        right = np.maximum(np.maximum(share, PUBLIC.get(name, 0)), SMALLEST_SHARE)
        for y, value, x in zip(at, share, right, strict=True):
            axis.annotate(f"{value:.2%}", (x, y), (5, 0), textcoords="offset points", va="center", fontsize=7)
        if name in PUBLIC:
            tick = {"color": INK, "markersize": 12, "mew": 2, "path_effects": style.HALO}
            axis.plot(PUBLIC[name], at, "|", label=f"{name}, its public masks", **tick)
    axis.set_yticks(range(len(SUPERSTRUCTURES)), SUPERSTRUCTURES)
    axis.invert_yaxis()
    axis.set(
        xscale="log", xlim=(SMALLEST_SHARE, 3), xlabel="share of labelled pixels", title="Superstructures by source"
    )
    axis.grid(axis="y", visible=False)
    style.add_legend(figure, [*axis.get_legend_handles_labels()[0], style.patch("passes the checks", "#eceae3")])
    return figure


def lines(counted: Mapping[str, Tally]) -> Figure:
    """Number and metres of lines by type, sources side by side, in the colours of the types."""
    own = {name: tally for name, tally in counted.items() if tally.lines.any()}
    kinds = [kind for kind in range(CHANNELS) if any(tally.lines[kind] for tally in own.values())]
    rows = [(name, kind) for kind in kinds for name, tally in own.items() if tally.lines[kind]]
    figure = Figure(figsize=(8.2, 0.26 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, of, label, form in ((axes[0], "lines", "lines", ",.0f"), (axes[1], "metres", "metres", ",.0f")):
        values = [getattr(own[name], of)[kind] for name, kind in rows]
        axis.barh(range(len(rows)), values, 0.75, color=[style.LINE_COLOURS[kind] for _, kind in rows])
        for place, value in enumerate(values):
            axis.annotate(
                format(value, form), (value, place), (4, 0), textcoords="offset points", va="center", fontsize=7
            )
        axis.set(xlabel=label, title=f"{sum(values):{form}} {label}")
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.15)
    axes[0].set_yticks(range(len(rows)), [_row_name(name, kind) for name, kind in rows])
    axes[0].invert_yaxis()
    return figure


def _row_name(source: str, kind: int) -> str:
    return f"{'no type' if kind == UNTYPED else LINES[kind].replace('_', ' ')}, {source}"


def rose(counted: Mapping[str, Tally]) -> Figure:
    """Square metres of faces (in plan) by compass bearing, a rose to a source; flat ones in the title."""
    own = {name: tally for name, tally in counted.items() if tally.sectors.any()}
    figure = Figure(figsize=(3.4 * len(own) + 0.4, 3.9), layout="constrained")
    axes = figure.subplots(1, len(own), squeeze=False, subplot_kw={"projection": "polar"})
    angles = 2 * np.pi * np.arange(SECTORS) / SECTORS
    for axis, (name, tally) in zip(axes[0], own.items(), strict=True):
        colours = [style.FACE[sector][1] for sector in range(SECTORS)]
        axis.bar(angles, tally.sectors[:SECTORS], 2 * np.pi / SECTORS, color=colours, edgecolor="white", linewidth=0.5)
        axis.set_theta_zero_location("N")
        axis.set_theta_direction(-1)
        axis.set_xticks(2 * np.pi * np.arange(8) / 8, style.COMPASS[::2])
        axis.set_rlabel_position(22.5 + 180 / SECTORS)
        axis.yaxis.set_major_locator(MaxNLocator(3, prune="lower"))
        total = max(tally.sectors.sum(), 1e-9)
        axis.set_title(f"{name}: {total:,.0f} m² of faces,\n{tally.sectors[FLAT] / total:.0%} flat", fontsize=9)
    return figure
