"""Pictures of every setting's forecast over workers and batch: samples per second, and memory.

Decisions:
- A map of a few cells is bars, and what would be a single dot is a sentence.
- What may be used of memory is a line where the measured comes near it; far above it would only press everything else
  to the ground, and stands in the title.
- Memory is in the unit of its largest value.
"""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from stepladder.core import units
from stepladder.core.units import digits
from stepladder.ladder.figure_parts import (
    VERDICT_COLOURS,
    WIDTH,
    colour_of,
    others_of,
    plane,
    sentence,
    setting_labels,
    tried,
    verdict_handles,
)
from stepladder.ladder.records import Candidate, Cell, SearchResult
from stepladder.training.setting import Setting
from stepladder.view.style import INK, PAPER, RIVAL

MAP_CELLS = 8  # columns of a map whose cells still hold words
FEW = 4  # cells that are bars instead of a map
NEAR_LIMIT = 0.25  # of what may be used, from which its line is drawn


def throughput_map(result: SearchResult) -> Figure:
    """Forecast samples per second over workers and batch; tried cells are framed, infeasible ones hatched."""
    cells = plane(result)
    if not cells:
        return sentence("Forecast of every setting", "This policy forecasts nothing.")
    if len(cells) <= FEW:
        return _few(result, cells)
    workers = sorted({cell.setting.workers for cell in cells})
    batches = sorted({cell.setting.batch for cell in cells})
    rates_WB = np.full((len(workers), len(batches)), np.nan)
    figure, axis = plt.subplots(figsize=(WIDTH, 0.62 * len(workers) + 1.8))
    words = len(batches) <= MAP_CELLS
    for cell in cells:
        row, column = workers.index(cell.setting.workers), batches.index(cell.setting.batch)
        if cell.fits:
            rates_WB[row, column] = cell.rate
        else:
            _hatched(axis, row, column, cell.reason if words else "", 110 // len(batches))
    image = axis.imshow(rates_WB, cmap="cividis", aspect="auto", origin="lower", vmin=0)
    half = 0.5 * np.nanmax(rates_WB) if np.isfinite(rates_WB).any() else 0
    for (row, column), rate in np.ndenumerate(rates_WB):
        if np.isfinite(rate):
            ink = PAPER if rate < half else INK
            axis.text(column, row, f"{digits(rate)}", ha="center", va="center", fontsize=8, color=ink)
    framed = _frames(axis, result, cells, workers, batches)
    axis.set_xticks(range(len(batches)), map(str, batches))
    axis.set_yticks(range(len(workers)), map(str, workers))
    shared, _ = setting_labels([cell.setting for cell in cells], "")
    axis.set(xlabel="samples per forward pass", ylabel="loader processes", title=f"Forecast of every setting{shared}")
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label="samples per second", pad=0.02)
    hatch = [Patch(facecolor="#f1ede4", edgecolor="#c9c2b2", hatch="////", label="does not fit")]
    handles = [*verdict_handles(framed, result), *(hatch if any(not cell.fits for cell in cells) else [])]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, title="frame: tried in full", title_fontsize=8)
    return figure


def _few(result: SearchResult, cells: Sequence[Cell]) -> Figure:
    """Forecasts of a few cells as bars, what was tried in the colour of its verdict; of one cell as a sentence."""
    title, roles = "Forecast of every setting", {rung.setting: rung for rung in tried(result)}
    if len(cells) == 1:
        (cell,) = cells
        said = f"forecast at {digits(cell.rate)} samples per second" if cell.fits else cell.reason
        return sentence(title, f"There is only one setting to try, {cell.setting}: {said}.")
    shared, labels = setting_labels([cell.setting for cell in cells], ", ")
    figure, axis = plt.subplots(figsize=(WIDTH, 0.4 * len(cells) + 1.5))
    for place, cell in enumerate(cells):
        rung = roles.get(cell.setting)
        axis.barh(place, cell.rate * cell.fits, 0.6, color=colour_of(rung, result) if rung else RIVAL)
        words = f"{digits(cell.rate)}" if cell.fits else textwrap.shorten(cell.reason, 80, placeholder="...")
        axis.annotate(
            words, (cell.rate * cell.fits, place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(range(len(cells)), labels)
    axis.set(title=f"{title}{shared}", xlabel="forecast, samples per second", xlim=(0, _room(cells)))
    axis.grid(axis="y", visible=False)
    handles = verdict_handles([roles[cell.setting] for cell in cells if cell.setting in roles], result)
    untried = [Patch(color=RIVAL, label="not tried")] * any(cell.setting not in roles for cell in cells)
    figure.legend(handles=[*handles, *untried], loc="outside lower center", ncols=5)
    return figure


def _room(cells: Sequence[Cell]) -> float:
    """Right end of an axis on which every bar has room for its number."""
    return 1.15 * max([cell.rate for cell in cells if cell.fits], default=0.0) or 1.0


def memory_line(result: SearchResult, limit: float | None = None) -> Figure:
    """Memory against the batch, a line per number of workers: forecast, measured, and what may be used.

    Args:
        result: the search.
        limit: bytes that the process tree may use; drawn where the memory is that of the process tree.
    """
    cells = plane(result)
    on_device = any(cell.device_bytes for cell in cells)
    rungs = [rung for rung in tried(result) if rung.trial.probe and _in_plane(rung, cells)]
    if not cells and not rungs:
        return sentence("Memory", result.why)
    room, place = (result.device_limit if on_device else limit), "device" if on_device else "host"
    if len(_batches(cells, rungs)) == 1 and len({rung.setting for rung in rungs}) <= 1:
        return sentence(f"Memory of the {place}", _one_memory(cells, rungs, room, on_device))
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8))
    name, one = units.unit(max(_held(thing, on_device) for thing in [*cells, *rungs]))
    _draw_forecasts(axis, cells, on_device, one)
    for rung in rungs:
        at = (rung.setting.batch, _held(rung, on_device) / one)
        axis.plot(*at, "o", markersize=8, color=colour_of(rung, result), markeredgecolor=INK)
        if not on_device:
            axis.annotate(f"{rung.setting.workers} w", at, (8, -3), textcoords="offset points", fontsize=7.5)
    drawn = bool(room) and max(_held(thing, on_device) for thing in [*cells, *rungs]) > NEAR_LIMIT * (room or 0)
    if room and drawn:
        axis.axhline(room / one, color=VERDICT_COLOURS["refused"], linestyle="--", label="may be used")
    handles = axis.get_legend_handles_labels()[0] + [
        Line2D([], [], marker="o", linestyle="", color=patch.get_facecolor(), markeredgecolor=INK, label=said)
        for patch in verdict_handles(rungs, result)
        for said in [f"measured, {patch.get_label()}"]
    ]
    axis.set_xticks(_batches(cells, rungs))
    axis.set(xlabel="samples per forward pass", ylabel=f"{place} memory, {name}")
    far = f" ({units.readable(room)} may be used)" if room and not drawn else ""
    axis.set(title=("Memory: forecast and measured" if cells else "Memory measured") + far, ylim=(0, None))
    axis.margins(x=0.08)
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _in_plane(rung: Candidate, cells: Sequence[Cell]) -> bool:
    """Whether a rung differs from the forecast settings in workers and batch alone."""
    return not cells or others_of(rung.setting) == others_of(cells[0].setting)


def _batches(cells: Sequence[Cell], rungs: Sequence[Candidate]) -> list[int]:
    return sorted({setting.batch for setting in [*(c.setting for c in cells), *(r.setting for r in rungs)]})


def _held(thing: Cell | Candidate, on_device: bool) -> int:
    """Bytes that a cell is forecast to take, or that a rung took."""
    probe = thing if isinstance(thing, Cell) else thing.trial.measured
    return probe.device_bytes if on_device else probe.host_bytes


def _one_memory(cells: Sequence[Cell], rungs: Sequence[Candidate], room: float | None, on_device: bool) -> str:
    """Memory of the only batch there is."""
    setting: Setting = (rungs or cells)[0].setting
    took = [f"{units.readable(max(_held(rung, on_device) for rung in rungs))} measured"] * bool(rungs)
    needs = [f"{units.readable(max(_held(cell, on_device) for cell in cells))} forecast"] * bool(cells)
    limit = [f"{units.readable(room or 0)} may be used"] * bool(room)
    return f"{setting}: {', '.join([*took, *needs, *limit])}."


def _draw_forecasts(axis: Axes, cells: Sequence[Cell], on_device: bool, one: float) -> None:
    """A line for every number of workers; one for all on a device, which does not know them."""
    lines: dict[int, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.setting.batch):
        lines.setdefault(0 if on_device else cell.setting.workers, []).append(cell)
    shades = plt.get_cmap("cividis")(np.linspace(0.05, 0.85, max(2, len(lines))))
    for (workers, line), shade in zip(sorted(lines.items()), shades, strict=False):
        needed = [_held(cell, on_device) / one for cell in line]
        label = "forecast" if on_device else f"forecast, {workers} w"
        axis.plot([cell.setting.batch for cell in line], needed, "-", color=shade, marker=".", label=label)


def _hatched(axis: Axes, row: int, column: int, reason: str, width: int) -> None:
    """An infeasible cell, with its reason in as many lines as it needs."""
    corner = (column - 0.5, row - 0.5)
    axis.add_patch(
        Rectangle(corner, 1, 1, facecolor="#f1ede4", edgecolor="#c9c2b2", hatch="////", linewidth=0, zorder=2)
    )
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0, "alpha": 0.9}
    words = "\n".join(textwrap.wrap(reason, max(8, width), max_lines=6, placeholder="..."))
    axis.text(
        column, row, words, ha="center", va="center", fontsize=6, color=VERDICT_COLOURS["refused"], bbox=box, zorder=3
    )


def _frames(
    axis: Axes, result: SearchResult, cells: Sequence[Cell], workers: list[int], batches: list[int]
) -> list[Candidate]:
    """Frames around the cells that were tried, in the colour of the verdict; the rungs that have one."""
    shown = {cell.setting for cell in cells}
    rungs = [
        candidate for candidate in tried(result) if candidate.setting in shown and candidate.trial.ending != "skipped"
    ]
    for candidate in rungs:
        corner = (batches.index(candidate.setting.batch) - 0.46, workers.index(candidate.setting.workers) - 0.46)
        colour = colour_of(candidate, result)
        axis.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=colour, linewidth=2.5, zorder=4))
    return rungs
