"""Charts of scores that every study shares: metrics with intervals, a metric part by part.

The model is always the accent colour, baselines are greys (the strong one darkest), so a glance says who wins.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stepladder.evaluation.metrics import number

ACCENT = "#d98e04"
WIDE = 30  # between the values of a metric: its axis is logarithmic


def intervals(summary: pd.DataFrame, metrics: Sequence[str], group: str = "all") -> Figure:
    """Every method's value with its interval, one panel per metric; the model in the accent colour."""
    table = summary[summary["group"] == group]
    methods = list(dict.fromkeys(table["method"]))
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    size = (3.3 * columns + 1.2, (0.32 * len(methods) + 0.9) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    for axis in axes.flat[len(metrics) :]:
        axis.axis("off")
    for axis, metric in zip(axes.flat, metrics, strict=False):
        part = table[table["metric"] == metric].set_index("method").reindex(methods)
        for height, (method, row) in enumerate(part.iterrows()):
            colour = method_colour(str(method), methods)
            if np.isfinite(row["low"]):
                axis.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=2.5, alpha=0.5)
            axis.plot(row["value"], height, "o", color=colour, markersize=6)
            above = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "fontsize": 7}
            axis.annotate(number(row["value"]), (row["value"], height), **above)
        axis.set(title=metric, yticks=range(len(methods)), yticklabels=[m.replace("_", " ") for m in methods])
        axis.set_ylim(-0.6, len(methods) - 0.2)
        if part["value"].min() > 0 and part["value"].max() > WIDE * part["value"].min():
            axis.set_xscale("log")
        else:
            axis.locator_params(axis="x", nbins=5)
            axis.ticklabel_format(axis="x", scilimits=(-3, 4))
        axis.margins(x=0.15)
    return figure


def parts(table: pd.DataFrame, title: str) -> Figure:
    """One metric part by part for every method, as grouped bars; the share of each part in the data beside its name."""
    methods = list(dict.fromkeys(table["method"]))
    support = table.groupby("part", sort=False)["support"].max().sort_values(ascending=False, kind="stable")
    names = [name for name in support.index if support[name] > 0]
    share = support / support.sum()
    figure, axis = plt.subplots(figsize=(7.2, 0.24 * len(names) * len(methods) + 1.2))
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
    axis.set(xlabel="value", title=title)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def method_colour(method: str, methods: Sequence[str]) -> str:
    """Accent for the model, greys for baselines: the later (stronger) the darker."""
    if method == "model":
        return ACCENT
    others = [name for name in methods if name != "model"]
    shade = int(200 - 130 * others.index(method) / max(1, len(others) - 1))
    return f"#{shade:02x}{shade:02x}{shade:02x}"
