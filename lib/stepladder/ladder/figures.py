"""Pictures of a search: the rungs, where the time goes, and every forecast beside what was measured.

Decisions:
- One colour per meaning in all pictures: amber is what was chosen, navy a win, grey no win, red refused or waiting.
- A setting is written only as far as it differs: what all settings of a picture share stands in the title.
- What failed or was never tried is drawn too, with its reason; a picture without anything to draw says why.
- Every picture is 7.2 inches wide, the width of a report page, whatever the number of rungs.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from stepladder.ladder.figure_parts import (
    INK,
    MUTED,
    PAPER,
    VERDICT_COLOURS,
    WIDTH,
    candidate_labels,
    colour_of,
    nothing,
    others_of,
    plane,
    role_of,
    setting_labels,
    tried,
    verdict_handles,
)
from stepladder.ladder.records import Candidate, Cell, SearchResult

PHASE_COLOURS = {
    "load": "#b5533c",
    "host_to_device": "#d98e04",
    "forward": "#1f3a5f",
    "losses": "#7a6a86",
    "backward": "#5b7fa6",
    "optimizer": "#2a9d8f",
}
PHASE_NAMES = {"load": "waiting for data", "host_to_device": "host to device"}
STAGE_COLOURS = ("#b5533c", "#d98e04", "#7a6a86", "#5b8c5a", "#2a9d8f", "#aab2bd")  # the longest stage first
NEAR = 0.1  # forecasts this near to the measurement are good
LINE = 10  # points from one line of small print to the next
MAP_CELLS = 8  # columns of a map whose cells still hold words


def table(result: SearchResult) -> pd.DataFrame:
    """One row per rung in the order tried: setting, rate beside its forecast, waiting, memory, verdict and reason."""
    rows = []
    for candidate in tried(result):
        probe, forecast = candidate.trial.probe, candidate.forecast
        held = max(candidate.trial.peak_bytes, probe.host_bytes if probe else 0)
        rows.append(
            {
                "setting": str(candidate.setting),
                "samples/s": f"{probe.rate:.3g} ± {probe.half_width:.2g}" if probe else None,
                "forecast": forecast.rate if forecast else None,
                "off": f"{forecast.rate / probe.rate - 1:+.0%}" if forecast and probe else None,
                "waiting": f"{1 - probe.busy:.0%}" if probe else None,
                "memory GB": held / 1e9 or None,
                "device GB": probe.device_bytes / 1e9 if probe and probe.device_bytes else None,
                "verdict": role_of(candidate, result),
                "reason": candidate.reason,
            }
        )
    return pd.DataFrame(rows)


def staircase(result: SearchResult) -> Figure:
    """Samples per second of every rung in the order tried, with interval, forecast, and the best so far."""
    rungs = tried(result)
    if not rungs:
        return nothing("The staircase", result.why)
    figure, axis = plt.subplots(figsize=(WIDTH, 4.0))
    places, small = np.arange(len(rungs)), 8 if len(rungs) <= 9 else 6.5
    rates = [candidate.rate or 0 for candidate in rungs] + [
        candidate.forecast.rate for candidate in rungs if candidate.forecast
    ]
    top = max(rates) or 1.0
    best, steps = 0.0, []
    for place, candidate in zip(places, rungs, strict=True):
        probe, colour = candidate.trial.probe, colour_of(candidate, result)
        height, half = (probe.rate, probe.half_width) if probe else (0.0, 0.0)
        axis.bar(place, height, 0.62, color=colour, yerr=half or None, capsize=3, ecolor=MUTED)
        label, tint = (f"{height:.3g}", INK) if probe else (candidate.trial.ending, VERDICT_COLOURS["refused"])
        above = max(height + half, candidate.forecast.rate if candidate.forecast and probe else 0)
        axis.annotate(
            label, (place, above), (0, 5), textcoords="offset points", ha="center", fontsize=small, color=tint
        )
        if candidate.forecast:
            axis.plot([place - 0.31, place + 0.31], [candidate.forecast.rate] * 2, color=INK, linewidth=1.2)
        best = max(best, height if candidate.verdict == "better" else 0.0)
        steps.append(best)
    axis.step(places, steps, where="mid", color=MUTED, linewidth=1, linestyle=":")
    shared, labels = candidate_labels(rungs, result, "\n")
    axis.set_xticks(places, labels, fontsize=small)
    axis.set(ylabel="samples per second", xlabel="rung, in the order tried (w: loader processes)")
    axis.set(title=f"The staircase{shared}", ylim=(0, 1.3 * top), xlim=(-0.7, len(rungs) - 0.3))
    if not any(rates):
        axis.set_yticks([])
        axis.text(
            0.5, 0.55, "\n".join(textwrap.wrap(result.why, 90)), transform=axis.transAxes, ha="center", color=MUTED
        )
    handles = verdict_handles(rungs, result)
    handles += [Line2D([], [], color=INK, linewidth=1.2, label="forecast")] if any(r.forecast for r in rungs) else []
    handles += [Line2D([], [], color=MUTED, linewidth=1, linestyle=":", label="best so far")]
    axis.legend(handles=handles, ncols=len(handles), loc="upper center", columnspacing=1.2, handlelength=1.4)
    axis.grid(axis="x", visible=False)
    return figure


def where_time_goes(result: SearchResult) -> Figure:
    """Milliseconds per sample: of every rung that ran, by phase of the step; below, of the loader alone, by stage."""
    rungs = [candidate for candidate in tried(result) if candidate.trial.probe and candidate.trial.probe.phases]
    probe = result.loader.probe if result.loader else None
    stages = _stages(probe.stages) if probe else {}
    if not rungs and not stages:
        return nothing("Where the time goes", result.why)
    heights = [max(3, len(rungs))] * bool(rungs) + [max(1.5, 0.55 * len(stages))] * bool(stages)
    size = (WIDTH, 0.34 * sum(heights) + 1.25 * len(heights))
    figure, axes = plt.subplots(len(heights), 1, figsize=size, height_ratios=heights, squeeze=False)
    if rungs:
        bars = [{n: 1e3 * s / r.setting.batch for n, s in r.trial.measured.phases.items()} for r in rungs]
        names = [*PHASE_COLOURS, *sorted({name for bar in bars for name in bar} - PHASE_COLOURS.keys())]
        colours = {name: PHASE_COLOURS.get(name, "#5b8c5a") for name in names if any(bar.get(name) for bar in bars)}
        shared, labels = candidate_labels(rungs, result, ", ")
        _stacked(axes[0, 0], bars, colours, labels)
        axes[0, 0].set(title=f"Where the time of a sample goes, by rung{shared}")
    if probe and stages:
        bar = {name: 1e3 * seconds for name, seconds in stages.items()}
        _stacked(axes[-1, 0], [bar], dict(zip(bar, STAGE_COLOURS, strict=False)), ["loader"])
        hot = f"\n{probe.hot_share:.0%} of it {probe.hot}" if probe.hot else ""
        axes[-1, 0].set_title(f"One sample in one loader process{hot}", fontsize=8 if hot else None)
    axes[-1, 0].set(xlabel="milliseconds per sample")
    return figure


def forecast_scatter(result: SearchResult) -> Figure:
    """Every rung that was forecast and ran: measured samples per second against the forecast, with a +-10 % band."""
    rungs = [candidate for candidate in tried(result) if candidate.forecast and candidate.trial.probe]
    if not rungs:
        return nothing("Forecast against measurement", "No rung was both forecast and measured.")
    figure, axis = plt.subplots(figsize=(WIDTH, 4.8))
    forecast = np.array([candidate.forecast.rate for candidate in rungs if candidate.forecast])
    real = np.array([candidate.trial.measured.rate for candidate in rungs])
    low, high = 0.8 * min(*forecast, *real), 1.2 * max(*forecast, *real)
    if high / low > 20:
        axis.set(xscale="log", yscale="log")
    axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    line = np.array([low, high])
    band = axis.fill_between(line, (1 - NEAR) * line, (1 + NEAR) * line, color="#e5e2da", label=f"within {NEAR:.0%}")
    axis.plot(line, line, color=MUTED, linewidth=1, label="forecast = measured")
    for candidate, x, y in zip(rungs, forecast, real, strict=True):
        colour = colour_of(candidate, result)
        axis.errorbar(
            x, y, candidate.trial.measured.half_width, fmt="o", color=colour, ecolor=colour, capsize=3, markersize=6
        )
    shared, labels = candidate_labels(rungs, result, ", ")
    axis.set(xlabel="forecast, samples per second", ylabel="measured, samples per second")
    axis.set(title=f"Forecast against measurement{shared}")
    handles = [*verdict_handles(rungs, result), axis.lines[0], band]
    axis.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.draw_without_rendering()  # where points lie in the picture is known only after the layout
    _spread_labels(axis, forecast, real, labels)
    return figure


def throughput_map(result: SearchResult) -> Figure:
    """Forecast samples per second over workers and batch; tried cells are framed, infeasible ones hatched."""
    cells = plane(result)
    if not cells:
        return nothing("Forecast of every setting", "This policy forecasts nothing.")
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
            axis.text(column, row, f"{rate:.3g}", ha="center", va="center", fontsize=8, color=ink)
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


def memory_line(result: SearchResult, limit: float | None = None) -> Figure:
    """Memory against the batch, a line per number of workers: forecast, measured, and what may be used.

    Args:
        result: the search.
        limit: bytes that the process tree may use; drawn where the memory is that of the process tree.
    """
    cells = plane(result)
    on_device = any(cell.device_bytes for cell in cells)
    rungs = [
        r for r in tried(result) if r.trial.probe and (not cells or others_of(r.setting) == others_of(cells[0].setting))
    ]
    if not cells and not rungs:
        return nothing("Memory", result.why)
    figure, axis = plt.subplots(figsize=(WIDTH, 3.8))
    shades = plt.get_cmap("cividis")(np.linspace(0.05, 0.85, max(2, len({c.setting.workers for c in cells}))))
    lines: dict[int, list[Cell]] = {}
    for cell in cells:
        lines.setdefault(0 if on_device else cell.setting.workers, []).append(cell)
    for (workers, line), shade in zip(sorted(lines.items()), shades, strict=False):
        line = sorted(line, key=lambda cell: cell.setting.batch)
        needed = [(cell.device_bytes if on_device else cell.host_bytes) / 1e9 for cell in line]
        label = "forecast" if on_device else f"forecast, {workers} w"
        axis.plot([cell.setting.batch for cell in line], needed, "-", color=shade, marker=".", label=label)
    for candidate in rungs:
        probe = candidate.trial.measured
        held = probe.device_bytes if on_device else probe.host_bytes
        axis.plot(
            candidate.setting.batch,
            held / 1e9,
            "o",
            markersize=8,
            color=colour_of(candidate, result),
            markeredgecolor=INK,
        )
        if not on_device:
            place = (candidate.setting.batch, held / 1e9)
            axis.annotate(f"{candidate.setting.workers} w", place, (8, -3), textcoords="offset points", fontsize=7.5)
    room = result.device_limit if on_device else limit
    if room:
        axis.axhline(room / 1e9, color=VERDICT_COLOURS["refused"], linestyle="--", label="may be used")
    handles = axis.get_legend_handles_labels()[0] + [
        Line2D([], [], marker="o", linestyle="", color=patch.get_facecolor(), markeredgecolor=INK, label=said)
        for patch in verdict_handles(rungs, result)
        for said in [f"measured, {patch.get_label()}"]
    ]
    axis.set_xticks(sorted({setting.batch for setting in [*(c.setting for c in cells), *(r.setting for r in rungs)]}))
    axis.set(xlabel="samples per forward pass", ylabel=f"{'device' if on_device else 'host'} memory, GB")
    axis.set(title="Memory: forecast and measured" if cells else "Memory measured", ylim=(0, None))
    axis.margins(x=0.08)
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _stages(stages: Mapping[str, float]) -> dict[str, float]:
    """The longest stages of the loader, the rest as one."""
    ordered = dict(sorted(stages.items(), key=lambda item: -item[1]))
    shown = len(STAGE_COLOURS) - 1
    kept = dict(list(ordered.items())[:shown])
    rest = sum(ordered.values()) - sum(kept.values())
    return {**kept, "the rest": rest} if len(ordered) > shown else kept


def _stacked(
    axis: Axes, bars: Sequence[Mapping[str, float]], colours: Mapping[str, str], labels: Sequence[str]
) -> None:
    """Horizontal stacked bars, one per entry of `bars`; parts in the order of `colours`."""
    left = np.zeros(len(bars))
    for name, colour in colours.items():
        width = np.array([bar.get(name, 0.0) for bar in bars])
        label = textwrap.shorten(PHASE_NAMES.get(name, name).lstrip("_"), 28, placeholder="...")  # "_" hides it
        axis.barh(range(len(bars)), width, 0.62 if len(bars) > 1 else 0.4, left=left, color=colour, label=label)
        left += width
    for place, total in enumerate(left):
        axis.annotate(f"{total:.3g}", (total, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    axis.set_yticks(range(len(bars)), labels)
    axis.set_xlim(0, 1.12 * left.max())
    axis.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    axis.grid(axis="y", visible=False)


def _spread_labels(axis: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[str]) -> None:
    """Labels beside points, on the side with room, moved down and tied by a line where they would touch."""
    places = axis.transData.transform(np.stack([x, y], axis=1)) * 72 / axis.figure.dpi  # points
    middle = axis.transAxes.transform((0.5, 0))[0] * 72 / axis.figure.dpi
    taken = {-1: np.inf, 1: np.inf}
    for number in np.argsort(-places[:, 1], kind="stable"):
        side = -1 if places[number, 0] > middle else 1
        height = taken[side] = min(places[number, 1] - 3, taken[side] - LINE)
        down = height - places[number, 1]
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "relpos": (side < 0, 0.5)} if down < -6 else None
        align: dict[str, Any] = {"ha": "right" if side < 0 else "left", "fontsize": 7.5, "arrowprops": line}
        place = (x[number], y[number])
        axis.annotate(
            labels[int(number)], place, ((24 if line else 10) * side, down), textcoords="offset points", **align
        )


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
