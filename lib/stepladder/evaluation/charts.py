"""Charts of scores that every study shares: metrics with intervals, a metric part by part.

Decisions:
- The model is always amber, baselines are greys in the study's order, so a glance says who wins.
- A picture holds the metrics that matter (`leading`), large enough to read; all of them stand in the table beside it.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stepladder.evaluation.metrics import number
from stepladder.view.style import MODEL

LEADING = 3  # metrics in a picture
WIDE = 30  # between the values of a metric: its axis is logarithmic


def leading(metrics: Sequence[str]) -> list[str]:
    """The first `LEADING` metrics of different kinds: of kin the first, at several times (`IoU@3s`) the last."""
    kinds: dict[str, str] = {}
    for name in metrics:
        kind, _, at = name.partition("@")
        if kind not in kinds or at[:1].isdigit():
            kinds[kind] = name
    return list(kinds.values())[:LEADING]


def intervals(summary: pd.DataFrame, metrics: Sequence[str], better: str) -> Figure:
    """Every method's value with its interval over all groups, one panel for each of the `leading` metrics.

    `better` is the study's: whether a `higher` or a `lower` value is the better one.
    """
    table = summary[summary["group"] == "all"]
    methods, shown = list(dict.fromkeys(table["method"])), leading(metrics)
    size = (2.7 * len(shown) + 1.3, 0.36 * len(methods) + 1.1)
    figure, axes = plt.subplots(1, len(shown), figsize=size, sharey=True, squeeze=False)
    for axis, metric in zip(axes[0], shown, strict=True):
        part = table[table["metric"] == metric].set_index("method").reindex(methods)
        for height, (method, row) in enumerate(part.iterrows()):
            colour = method_colour(str(method), methods)
            if np.isfinite(row["low"]):
                axis.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=2.5, alpha=0.5)
            axis.plot(row["value"], height, "o", color=colour, markersize=6)
            above = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 7}
            axis.annotate(number(row["value"]), (row["value"], height), **above)
        axis.set(title=metric, xlabel=f"{metric} ({better} is better)")
        axis.set_yticks(range(len(methods)), [method.replace("_", " ") for method in methods])
        axis.set_ylim(-0.6, len(methods) - 0.2)
        if part["value"].min() > 0 and part["value"].max() > WIDE * part["value"].min():
            axis.set_xscale("log")
        else:
            axis.locator_params(axis="x", nbins=5)
            axis.ticklabel_format(axis="x", scilimits=(-3, 4))
        axis.margins(x=0.15)
    return figure


def parts(table: pd.DataFrame, title: str) -> Figure:
    """One metric part by part for every method, as grouped bars; the share of each part in the data beside its name.

    A metric that has no parts gets one bar for every method.
    """
    methods = list(dict.fromkeys(table["method"]))
    support = table.groupby("part", sort=False)["support"].max().sort_values(ascending=False, kind="stable")
    names = [name for name in support.index if support[name] > 0]
    share = support / support.sum()
    if len(names) == 1:
        return _undivided(table, title)
    figure, axis = plt.subplots(figsize=(7.2, 0.17 * len(names) * len(methods) + 1.2))
    height = 0.8 / len(methods)
    for place, method in enumerate(methods):
        values = table[table["method"] == method].set_index("part")["value"].reindex(names).fillna(0)
        axis.barh(
            np.arange(len(names)) + place * height,
            values,
            height,
            color=method_colour(method, methods),
            label=method.replace("_", " "),
        )
    axis.set_yticks(
        np.arange(len(names)) + 0.4 - height / 2, [f"{n.replace('_', ' ')}  ({share[n]:.1%})" for n in names]
    )
    axis.invert_yaxis()
    axis.set(xlabel=title, ylabel="part (its share of the data)", title=f"{title}, part by part")
    axis.grid(axis="y", visible=False)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _undivided(table: pd.DataFrame, title: str) -> Figure:
    """A metric of one part, or of none: a bar for every method."""
    methods = list(dict.fromkeys(table["method"]))
    values = table.set_index("method")["value"].reindex(methods).fillna(0.0)
    figure, axis = plt.subplots(figsize=(7.2, 0.36 * len(methods) + 1.1))
    axis.barh(range(len(methods)), values, 0.7, color=[method_colour(method, methods) for method in methods])
    for place, value in enumerate(values):
        axis.annotate(number(value), (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(methods)), [method.replace("_", " ") for method in methods])
    axis.set(xlabel=title, title=f"{title} of every method")
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
    return figure


def method_colour(method: str, methods: Sequence[str]) -> str:
    """Amber for the model, greys for baselines: the later the study names one, the darker."""
    if method == "model":
        return MODEL
    others = [name for name in methods if name != "model"]
    shade = int(200 - 130 * others.index(method) / max(1, len(others) - 1))
    return f"#{shade:02x}{shade:02x}{shade:02x}"
