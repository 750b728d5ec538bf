"""What the full run really cost, beside what was predicted.

Decisions:
- Everything is read from what training leaves in the run: `metrics.jsonl` and `events.jsonl`. So it can be asked at any
  time, of a run that still goes on too: the prediction is then scaled to the steps it has done.
- Hours are wall time of all attempts, each from its start to its last record. What a prediction leaves out (saving,
  validation, interruptions) has rows of its own, so that a miss explains itself.
- The rate is samples over time, not a mean or median of rates. The first record of an attempt is left out of it: it
  holds the start of the loader.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from stepladder.core.config import ParameterError
from stepladder.core.run import Run
from stepladder.cost.offers import Span, read_prices
from stepladder.cost.project import HERE
from stepladder.training import worker
from stepladder.training.process import planned_steps

CONFIRMED = 0.1  # a real number this near to the predicted one confirms it, however narrow the interval was
TRAINING_EVENTS = ("training_started", "gate", "resumed", "training_stage", "checkpoint", "heartbeat", "not_finite")


def compare(predicted: pd.DataFrame | Sequence[Mapping[str, Any]], run: Run) -> pd.DataFrame:
    """What `project.project` predicted for the machine a run trained on, beside what the run's records say.

    Args:
        predicted: the table of `project.project`, or its rows as `04_scaling/result.json` keeps them.
        run: a run that has trained.

    Returns:
        Rows `quantity, predicted, low, high, real, verdict`; what nobody predicted has no verdict.

    Raises:
        ParameterError: the run has trained nothing, or on a machine that the table does not have.
    """
    trained = run.folder / "05_training" / "params.yaml"
    study, params = worker.read_parameters(run, trained if trained.exists() else None)
    lines, events = run.metrics(), _last_training(run.events())
    steps = [line for line in lines if "samples_per_s" in line]
    if not steps:
        raise ParameterError(f"run {run.name!r} has no metrics of training steps: run 05_training first")
    row = _row_of(pd.DataFrame(predicted), run, params.training.processes)
    done = steps[-1]["step"] / planned_steps(study, params)
    saves = [event["seconds"] for event in events if event["kind"] == "checkpoint"]
    validation = sum(line.get("seconds", 0.0) for line in lines if "validation_loss" in line)
    resumed = [event["step"] for event in events if event["kind"] == "resumed"]
    hours = _wall_seconds(events, lines) / 3600
    rate = Span(*(row["samples/s"] * row["hours"] / row[f"hours{end}"] for end in (" high", "", " low")))
    rows = [
        _compared("samples/s", rate, _real_rate(steps, resumed)),
        _compared("hours", _span(row, "hours").times(done), hours),
        _compared("dollars", _span(row, "dollars").times(done), hours * row["$/h"]),
        {"quantity": "hours of saving", "real": sum(saves) / 3600},
        {"quantity": "hours of validation", "real": validation / 3600},
        {"quantity": "seconds of one checkpoint", "real": sum(saves) / len(saves) if saves else None},
        {"quantity": "interruptions", "real": len(resumed)},
    ]
    return pd.DataFrame(rows, columns=["quantity", "predicted", "low", "high", "real", "verdict"])


def _compared(quantity: str, predicted: Span, real: float) -> dict[str, Any]:
    """A row; the verdict says whether the real number lies in the span or near the likely one, or how far off it is."""
    off = real / predicted.likely - 1
    inside = predicted.low <= real <= predicted.high or abs(off) <= CONFIRMED
    verdict = None if math.isnan(off) else "confirmed" if inside else f"{off:+.0%}"
    low, likely, high = predicted
    return {"quantity": quantity, "predicted": likely, "low": low, "high": high, "real": real, "verdict": verdict}


def _row_of(predicted: pd.DataFrame, run: Run, processes: int) -> pd.Series:
    """The row of the machine that a run trained on: the measured one, or the offer its device means."""
    device = run.status().get("device")
    name = f"{HERE} ({device})" if device else predicted["GPU"][0]
    if device and name not in set(predicted["GPU"]):
        offer = read_prices().match(device, processes)
        name = offer.name if offer else name
    if name not in set(predicted["GPU"]):
        known = ", ".join(predicted["GPU"])
        raise ParameterError(f"run {run.name!r} trained on {device!r}, which was not predicted (known: {known})")
    row = predicted.set_index("GPU").loc[name]
    return row.where(row.notna(), math.nan)  # a table that went through JSON holds None


def _last_training(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of training since its records were last set aside."""
    aside = max([number for number, event in enumerate(events) if event["kind"] == "checkpoints_set_aside"], default=-1)
    return [event for event in events[aside + 1 :] if event["kind"] in TRAINING_EVENTS]


def _wall_seconds(events: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]]) -> float:
    """Seconds of all attempts, each from `training_started` to the last record before the next."""
    starts = [_seconds(event) for event in events if event["kind"] == "training_started"]
    times = np.sort([*map(_seconds, events), *(line["time"] for line in lines)])
    attempts = np.split(times, np.searchsorted(times, starts))
    return float(sum(attempt[-1] - attempt[0] for attempt in attempts if len(attempt)))


def _seconds(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def _real_rate(steps: Sequence[dict[str, Any]], resumed: Sequence[int]) -> float:
    """Samples over the time of all records but the first of each attempt: a mean of rates weighted by time."""
    numbers = np.array([0, *(line["step"] for line in steps)])
    count, rate = np.diff(numbers), np.array([line["samples_per_s"] for line in steps])
    first = np.array([any(a <= begin < b for begin in (0, *resumed)) for a, b in itertools.pairwise(numbers)])
    kept = ~first if not first.all() else first
    return float(count[kept].sum() / (count[kept] / rate[kept]).sum())


def _span(row: pd.Series, name: str) -> Span:
    return Span(row[f"{name} low"], row[name], row[f"{name} high"])
