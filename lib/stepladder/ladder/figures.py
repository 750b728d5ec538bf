"""Pictures of a climb: the staircase of rungs, and where the time of a step goes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepladder.ladder.climb import Ladder, Rung

VERDICT_COLOURS = {"better": "#1f3a5f", "not better": "#aab2bd", "refused": "#b5533c"}
CHOSEN = "#d98e04"
PHASE_COLOURS = {
    "load": "#b5533c",
    "host_to_device": "#d98e04",
    "forward": "#1f3a5f",
    "backward": "#5b7fa6",
    "optimizer": "#2a9d8f",
}


def table(ladder: Ladder) -> pd.DataFrame:
    """One row per rung: setting, rates with interval, waiting, memory, verdict and reason."""
    rows = []
    for rung in ladder.rungs:
        measured = rung.rate is not None
        rows.append(
            {
                "setting": rung.setting,
                "samples/s": f"{rung.rate:.2f} ± {rung.rate_half_width:.2f}" if measured else None,
                "step alone": rung.cached_rate,
                "loader alone": rung.loader_rate,
                "waiting": f"{1 - rung.busy:.0%}" if measured else None,
                "memory GB": rung.peak_bytes / 1e9,
                "verdict": "chosen" if rung is ladder.chosen else rung.verdict,
                "reason": rung.reason,
            }
        )
    return pd.DataFrame(rows)


def staircase(ladder: Ladder) -> Figure:
    """Samples per second of every rung in the order it was tried, with interval, verdict and the best so far."""
    figure, axis = plt.subplots(figsize=(max(6.0, 0.95 * len(ladder.rungs) + 1.5), 4.0))
    places, best = np.arange(len(ladder.rungs)), 0.0
    steps = []
    for place, rung in zip(places, ladder.rungs, strict=True):
        colour = CHOSEN if rung is ladder.chosen else VERDICT_COLOURS[rung.verdict]
        axis.bar(place, rung.rate or 0, 0.62, color=colour, yerr=rung.rate_half_width or 0, capsize=3, ecolor="#6b7280")
        label = f"{rung.rate:.1f}" if rung.rate else rung.outcome
        top = (rung.rate or 0) + (rung.rate_half_width or 0)
        axis.annotate(label, (place, top), (0, 4), textcoords="offset points", ha="center", fontsize=8)
        best = max(best, rung.rate if rung.verdict == "better" else 0)
        steps.append(best)
    axis.step(places, steps, where="mid", color="#111827", linewidth=1, linestyle=":", label="best so far")
    axis.set_xticks(places, [f"{r.workers} w\nbatch {r.batch}" for r in ladder.rungs])
    axis.set(ylabel="samples per second", xlabel="rung: loader workers and batch", title="The staircase")
    handles = [Patch(color=c, label=n) for n, c in {"chosen": CHOSEN, **VERDICT_COLOURS}.items()]
    axis.legend(handles=handles, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.0))
    axis.set_ylim(0, 1.25 * max([1e-9, *(r.rate or 0 for r in ladder.rungs)]))
    axis.grid(axis="x", visible=False)
    return figure


def where_time_goes(ladder: Ladder) -> Figure:
    """Milliseconds per sample of every rung that ran, by phase of the step."""
    rungs = [rung for rung in ladder.rungs if rung.phases]
    figure, axis = plt.subplots(figsize=(7.2, 0.38 * len(rungs) + 1.5))
    left = np.zeros(len(rungs))
    for phase, colour in PHASE_COLOURS.items():
        width = np.array([_milliseconds(rung, phase) for rung in rungs])
        if width.any():
            axis.barh(range(len(rungs)), width, 0.6, left=left, color=colour, label=phase.replace("_", " "))
            left += width
    axis.set_yticks(range(len(rungs)), [rung.setting for rung in rungs])
    axis.invert_yaxis()
    axis.set(xlabel="milliseconds per sample", title="Where the time of a step goes")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.grid(axis="y", visible=False)
    return figure


def _milliseconds(rung: Rung, phase: str) -> float:
    return 1000 * (rung.phases or {}).get(phase, 0.0) / rung.batch
