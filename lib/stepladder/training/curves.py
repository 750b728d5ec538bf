"""Training curves, drawn from the metrics of a run; a loss has the colour of its split."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stepladder.view.style import MUTED, SPLIT_COLOURS

TRAIN, VALIDATION = SPLIT_COLOURS["train"], SPLIT_COLOURS["validation"]


def training_curve(metrics: Sequence[dict[str, Any]]) -> Figure:
    """Losses against the optimizer step, and the learning rate below; stages have curves of their own."""
    train, validation = (_steps(metrics, name) for name in ("loss", "validation_loss"))
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, height_ratios=[3, 1], figsize=(7.2, 4.6))
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
    lower.set(xlabel="optimizer step", ylabel="learning rate")
    for phase, rows in train.groupby("stage", sort=False):
        if train["stage"].nunique() > 1:
            upper.axvline(rows["step"].min(), color="#9ca3af", linewidth=0.8)
            upper.text(
                rows["step"].min(), 1.0, f" {phase}", transform=upper.get_xaxis_transform(), va="top", fontsize=8
            )
    return figure


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
