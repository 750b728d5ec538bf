"""Training curves, drawn from the metrics of a run; a loss has the colour of its split.

Where tasks of a study were measured against each other (see `task_gradients`), two panels below show how.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepladder.training.tracking import COSINE, GRADIENT
from stepladder.view.style import MUTED, SPLIT_COLOURS

DASHES = ("-", "--", ":")  # after six lines the colours come again
TRAIN, VALIDATION = SPLIT_COLOURS["train"], SPLIT_COLOURS["validation"]


def training_curve(metrics: Sequence[dict[str, Any]]) -> Figure:
    """Losses against the optimizer step, and the learning rate below; stages have curves of their own."""
    train, validation = (_steps(metrics, name) for name in ("loss", "validation_loss"))
    tasks = {name: validation.filter(like=name) for name in (GRADIENT, COSINE)}
    panels = [name for name, values in tasks.items() if values.size]
    heights, size = [3, 1, *[2] * len(panels)], (9.0 if panels else 7.2, 4.6 + 2.1 * len(panels))
    figure, (upper, lower, *others) = plt.subplots(len(heights), 1, sharex=True, height_ratios=heights, figsize=size)
    for place, (_, part) in enumerate(train.groupby("stage", sort=False)):  # losses of two stages do not mix
        smooth = part["loss"].ewm(halflife=max(1, len(part) / 40)).mean()
        upper.plot(part["step"], part["loss"], color=TRAIN, alpha=0.25, linewidth=1)
        upper.plot(part["step"], smooth, color=TRAIN, label=None if place else "training loss, smoothed")
    for place, (_, part) in enumerate(validation.groupby("stage", sort=False) if len(validation) else []):
        label = None if place else "validation loss"
        upper.plot(part["step"], part["validation_loss"], "o-", color=VALIDATION, markersize=4, label=label)
    upper.set(ylabel="loss", title="Training")
    if train["loss"].min() > 0 and train["loss"].max() / train["loss"].min() > 20:
        upper.set_yscale("log")
    upper.legend()
    lower.plot(train["step"], train["lr"], color=MUTED)
    lower.set(ylabel="learning rate")
    for axis, name in zip(others, panels, strict=True):
        _draw_tasks(axis, name, validation["step"], tasks[name])
    [*_, last] = figure.axes
    last.set(xlabel="optimizer step")
    for phase, rows in train.groupby("stage", sort=False):
        if train["stage"].nunique() > 1:
            upper.axvline(rows["step"].min(), color="#9ca3af", linewidth=0.8)
            upper.text(
                rows["step"].min(), 1.0, f" {phase}", transform=upper.get_xaxis_transform(), va="top", fontsize=8
            )
    return figure


def _draw_tasks(axis: Axes, name: str, steps: pd.Series, values: pd.DataFrame) -> None:
    """A line for every task's gradient, or for every pair's cosine."""
    for number, column in enumerate(values):
        told = column.removeprefix(name).replace("~", " and ")
        known = values[column].notna()  # where nothing was labelled there is no value
        style = {"marker": "o", "markersize": 3, "linestyle": DASHES[number // 6 % 3]}
        axis.plot(steps[known], values[column][known], label=told, **style)
    if name == GRADIENT:
        axis.set(ylabel="gradient norm", yscale="log", title="Gradient of each task in what all share")
    else:
        axis.axhline(0, color=MUTED, linewidth=0.8)
        axis.set(
            ylabel="cosine", ylim=(-1.05, 1.05), title="Between those gradients; below zero tasks hinder each other"
        )
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 + len(values.columns) // 11)


def _steps(metrics: Sequence[dict[str, Any]], name: str) -> pd.DataFrame:
    """The lines that hold `name`, a row per step: where training was resumed, the later line counts."""
    return pd.DataFrame(list({line["step"]: line for line in metrics if name in line}.values()))


def loss_curve(losses: Sequence[float], enough: float, title: str) -> Figure:
    """One loss against the step, and the loss that is `enough`."""
    figure, axis = plt.subplots(figsize=(6.0, 3.2))
    axis.plot(np.arange(1, len(losses) + 1), losses, color=TRAIN, label="loss of a batch of them")
    axis.axhline(enough, color=MUTED, linestyle="--", linewidth=1, label="what the gate asks for")
    axis.set(xlabel="optimizer step", ylabel="loss", title=title, ylim=(0, None))
    axis.legend()
    return figure
