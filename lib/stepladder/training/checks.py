"""The gates of a training and its last losses, read from its metrics and events."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from stepladder.core.types import Check

WORSE = 1.05  # a last validation loss above the first by more than this fails the gate


def training_checks(metrics: Sequence[dict[str, Any]], steps: int) -> list[Check]:
    """The gates of training: it reached its last step, every loss is finite, validation of no stage gets worse."""
    losses = {line["step"]: line["loss"] for line in metrics if "loss" in line}
    finite = all(loss is not None and np.isfinite(loss) for loss in losses.values())
    validation = _validation(metrics)
    reached = max(losses, default=0)
    said = {phase: f"{values[0]:.4f} -> {values[-1]:.4f}" for phase, values in validation.items()}
    last = "; ".join(said.values() if len(said) == 1 else (f"{phase} {text}" for phase, text in said.items()))
    better = bool(validation) and not any(above(values[-1], values[0], WORSE) for values in validation.values())
    return [
        Check("training reached its last step", reached >= steps, f"step {reached} of {steps}"),
        Check("every loss is finite", finite, f"{len(losses)} steps"),
        Check("validation does not get worse", better, last or "no validation"),
    ]


def above(value: float, other: float, factor: float) -> bool:
    """Whether a loss is above another by a factor; of one below zero, by as much of its size."""
    return value > other + (factor - 1) * abs(other)


def last_losses(metrics: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Last training loss, and last and best validation loss, of the last stage."""
    train = [line["loss"] for line in metrics if "loss" in line]
    *_, validation = _validation(metrics).values()
    return {"loss": train[-1], "validation_loss": validation[-1], "best_validation_loss": min(validation)}


def stage_verdicts(events: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What the gates between the stages of training said: `stage, gate, verdict, reason`, each gate's last word."""
    said = {(event["stage"], event["check"]): event for event in events}
    rows = [(phase, gate, "yes" if event["ok"] else "no", event["reason"]) for (phase, gate), event in said.items()]
    return pd.DataFrame(rows, columns=["stage", "gate", "verdict", "reason"])


def contract_rows(events: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """What the first optimizer step of every stage did: `stage, group, state, parameters, gradient, changed, verdict`.

    Args:
        events: those of the kind `parameter_contract`; of a stage that began several times the last counts.
    """
    last = {event["stage"]: event["rows"] for event in events}
    words = {True: "yes", False: "no"}
    rows = [
        {
            "stage": stage,
            "group": row["group"],
            "state": "trained" if row["trained"] else "frozen",
            "parameters": row["parameters"],
            "gradient": row["gradient"],
            "changed": words[row["changed"]],
            "verdict": row["verdict"],
        }
        for stage, rows in last.items()
        for row in rows
    ]
    return pd.DataFrame(rows, columns=["stage", "group", "state", "parameters", "gradient", "changed", "verdict"])


def _validation(metrics: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Validation losses of every stage, in order."""
    found: dict[str, list[float]] = {}
    for line in metrics:
        if "validation_loss" in line:
            found.setdefault(line["stage"], []).append(line["validation_loss"])
    return found
