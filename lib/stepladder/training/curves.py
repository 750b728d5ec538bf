"""Charts of records that every study shares: training curves, metrics with intervals, a metric part by part.

The model is always the accent colour, baselines are greys (the strong one darkest), so a glance says who wins.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stepladder.core.study import Check
from stepladder.evaluation.metrics import number

ACCENT = "#d98e04"
WIDE = 30  # between the values of a metric: its axis is logarithmic
WORSE = 1.05  # a last validation loss above the first by more than this fails the gate
NAVY = "#1f3a5f"


def training_curve(metrics: Sequence[dict[str, Any]]) -> Figure:
    """Losses against the optimizer step, and the learning rate below; stages have curves of their own."""
    train = pd.DataFrame([line for line in metrics if "loss" in line])
    validation = pd.DataFrame([line for line in metrics if "validation_loss" in line])
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, height_ratios=[3, 1], figsize=(7.2, 4.6))
    for place, (_, part) in enumerate(train.groupby("stage", sort=False)):  # losses of two stages do not mix
        smooth = part["loss"].ewm(halflife=max(1, len(part) / 40)).mean()
        upper.plot(part["step"], part["loss"], color=NAVY, alpha=0.25, linewidth=1)
        upper.plot(part["step"], smooth, color=NAVY, label=None if place else "training loss, smoothed")
    for place, (_, part) in enumerate(validation.groupby("stage", sort=False) if len(validation) else ()):
        label = None if place else "validation loss"
        upper.plot(part["step"], part["validation_loss"], "o-", color=ACCENT, markersize=4, label=label)
    upper.set(ylabel="loss", title="Training")
    if train["loss"].min() > 0 and train["loss"].max() / train["loss"].min() > 20:
        upper.set_yscale("log")
    upper.legend()
    lower.plot(train["step"], train["lr"], color="#6b7280")
    lower.set(xlabel="optimizer step", ylabel="learning rate")
    for stage, rows in train.groupby("stage", sort=False):
        if train["stage"].nunique() > 1:
            upper.axvline(rows["step"].min(), color="#9ca3af", linewidth=0.8)
            upper.text(
                rows["step"].min(), 1.0, f" {stage}", transform=upper.get_xaxis_transform(), va="top", fontsize=8
            )
    return figure


def training_checks(metrics: Sequence[dict[str, Any]], steps: int) -> list[Check]:
    """The gates of training: it reached its last step, every loss is finite, validation of no stage gets worse."""
    losses = {line["step"]: line["loss"] for line in metrics if "loss" in line}
    finite = all(loss is not None and np.isfinite(loss) for loss in losses.values())
    validation = _validation(metrics)
    reached = max(losses, default=0)
    said = {stage: f"{values[0]:.4f} -> {values[-1]:.4f}" for stage, values in validation.items()}
    last = "; ".join(said.values() if len(said) == 1 else (f"{stage} {text}" for stage, text in said.items()))
    better = bool(validation) and all(values[-1] <= WORSE * values[0] for values in validation.values())
    return [
        Check("training reached its last step", reached >= steps, f"step {reached} of {steps}"),
        Check("every loss is finite", finite, f"{len(losses)} steps"),
        Check("validation does not get worse", better, last or "no validation"),
    ]


def last_losses(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Last training loss, and last and best validation loss, of the last stage."""
    train = [line["loss"] for line in metrics if "loss" in line]
    *_, validation = _validation(metrics).values()
    return {"loss": train[-1], "validation_loss": validation[-1], "best_validation_loss": min(validation)}


def stage_verdicts(events: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What the gates between the stages of training said: `stage, gate, verdict, reason`, each gate's last word."""
    said = {(event["stage"], event["check"]): event for event in events}
    rows = [(stage, gate, "yes" if event["ok"] else "no", event["reason"]) for (stage, gate), event in said.items()]
    return pd.DataFrame(rows, columns=["stage", "gate", "verdict", "reason"])


def _validation(metrics: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Validation losses of every stage, in order."""
    found: dict[str, list[float]] = {}
    for line in metrics:
        if "validation_loss" in line:
            found.setdefault(line["stage"], []).append(line["validation_loss"])
    return found


def loss_curve(losses: Sequence[float], title: str) -> Figure:
    """One loss against the step."""
    figure, axis = plt.subplots(figsize=(6.0, 3.2))
    axis.plot(np.arange(1, len(losses) + 1), losses, color=NAVY)
    axis.set(xlabel="optimizer step", ylabel="loss", title=title, ylim=(0, None))
    return figure


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
            axis.annotate(
                number(row["value"]),
                (row["value"], height),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
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
