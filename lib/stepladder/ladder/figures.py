"""Pictures of a search: the rungs, where the time goes, and every forecast beside what was measured.

Decisions:
- One colour per meaning in all pictures: green is what was chosen, navy a win, grey no win, red refused or waiting.
- A setting is written only as far as it differs: what all settings of a picture share stands in the title.
- What failed or was never tried is drawn too, with its reason. A picture without anything to draw says why, and one of
  a single point says in a sentence what the point would show.
- What is forecast for every setting is drawn in `plane.py`.
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

from stepladder.core import units
from stepladder.core.units import digits
from stepladder.ladder.figure_parts import (
    VERDICT_COLOURS,
    WIDTH,
    candidate_labels,
    colour_of,
    role_of,
    sentence,
    tried,
    verdict_handles,
)
from stepladder.ladder.plane import memory_line, throughput_map
from stepladder.ladder.records import Candidate, LoaderProbe, SearchResult
from stepladder.view.style import INK, MUTED

__all__ = ["forecast_scatter", "memory_line", "staircase", "table", "throughput_map", "where_time_goes"]

PHASE_COLOURS = {
    "load": "#b5533c",
    "host_to_device": "#8a6d4b",
    "forward": "#1f3a5f",
    "losses": "#7a6a86",
    "backward": "#5b7fa6",
    "optimizer": "#2a9d8f",
    "other": "#aab2bd",
}
PHASE_NAMES = {"load": "waiting for data", "host_to_device": "host to device"}
STAGE_COLOURS = ("#1f3a5f", "#5b7fa6", "#7a6a86", "#8a6d4b", "#2a9d8f", "#aab2bd")  # the longest stage first
NEAR = 0.1  # forecasts this near to the measurement are good
LINE = 10  # points from one line of small print to the next
ONCE_SECONDS = 0.1  # that the first sample of a process takes longer, from which it is told


def table(result: SearchResult) -> pd.DataFrame:
    """One row per rung in the order tried: setting, rate beside its forecast, waiting, memory, verdict and reason."""
    rungs = tried(result)
    probes = [candidate.trial.probe for candidate in rungs]
    peaks = [max(r.trial.peak_bytes, p.host_bytes if p else 0) or None for r, p in zip(rungs, probes, strict=True)]
    host, host_sizes = units.column(peaks)
    device, device_sizes = units.column([(p.device_bytes or None) if p else None for p in probes])
    rows = [_row(candidate, result) for candidate in rungs]
    for row, held, there in zip(rows, host_sizes, device_sizes, strict=True):
        row |= {f"memory ({host})": held, f"device ({device})": there, "reason": row.pop("reason")}
    found = pd.DataFrame(rows)
    return found if any(device_sizes) else found.drop(columns=f"device ({device})", errors="ignore")


def _row(candidate: Candidate, result: SearchResult) -> dict[str, Any]:
    """What a rung did, without its memory."""
    probe, forecast = candidate.trial.probe, candidate.forecast
    return {
        "setting": str(candidate.setting),
        "samples/s": f"{digits(probe.rate)} ± {digits(probe.half_width, 2)}" if probe else None,
        "forecast": forecast.rate if forecast else None,
        "off": f"{forecast.rate / probe.rate - 1:+.0%}" if forecast and probe else None,
        "waiting": f"{1 - probe.busy:.0%}" if probe else None,
        "verdict": role_of(candidate, result),
        "reason": candidate.reason,
    }


def staircase(result: SearchResult) -> Figure:
    """Samples per second of every rung in the order tried, with interval, forecast, and the best so far."""
    rungs = tried(result)
    if not rungs:
        return sentence("The staircase", result.why)
    figure, axis = plt.subplots(figsize=(WIDTH, 4.0))
    places, small = np.arange(len(rungs)), 8 if len(rungs) <= 9 else 6.5
    rates = [candidate.rate or 0 for candidate in rungs] + [
        candidate.forecast.rate for candidate in rungs if candidate.forecast
    ]
    ends = [
        candidate.trial.probe.rate + candidate.trial.probe.half_width for candidate in rungs if candidate.trial.probe
    ]
    top = max(*rates, *ends, 0.0) or 1.0
    best, steps = 0.0, []
    for place, candidate in zip(places, rungs, strict=True):
        probe, colour = candidate.trial.probe, colour_of(candidate, result)
        height, half = (probe.rate, probe.half_width) if probe else (0.0, 0.0)
        axis.bar(place, height, 0.62, color=colour, yerr=half or None, capsize=3, ecolor=MUTED)
        label, tint = (f"{digits(height)}", INK) if probe else (candidate.trial.ending, VERDICT_COLOURS["refused"])
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
        return sentence("Where the time goes", result.why)
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
        told = [f"{probe.hot_share:.0%} of it {probe.hot}"] * bool(probe.hot) + _paid_once(probe)
        axes[-1, 0].set_title("\n".join(["One sample in one loader process", *told]), fontsize=8 if told else None)
    axes[-1, 0].set(xlabel="milliseconds per sample")
    return figure


def forecast_scatter(result: SearchResult) -> Figure:
    """Measured samples per second against the forecast, with a +-10 % band, of every rung that has both."""
    rungs = [candidate for candidate in tried(result) if candidate.forecast and candidate.trial.probe]
    if not rungs:
        return sentence("Forecast against measurement", "No rung was both forecast and measured.")
    if len(rungs) == 1:
        return sentence("Forecast against measurement", _one_forecast(rungs[0]))
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


def _one_forecast(candidate: Candidate) -> str:
    """Forecast and measurement of the only rung that has both."""
    measured, forecast = candidate.trial.measured, candidate.forecast.rate if candidate.forecast else 0.0
    off = forecast / measured.rate - 1
    verdict = "a good forecast" if abs(off) <= NEAR else f"{abs(off):.0%} too {'high' if off > 0 else 'low'}"
    rate = f"{digits(measured.rate)} ± {digits(measured.half_width, 2)} samples per second"
    return f"Only one rung has both, {candidate.setting}: {digits(forecast)} forecast, {rate} measured; {verdict}."


def _paid_once(probe: LoaderProbe) -> list[str]:
    """What the first sample of a process pays for all that follow, where it is worth a word."""
    seconds = probe.first_seconds
    return [f"{seconds:.1f} s more, once, with the first sample of a process (not in the bar)"] * (
        seconds > ONCE_SECONDS
    )


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
        axis.annotate(f"{digits(total)}", (total, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
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
