"""What the full run really cost, beside what was predicted.

Decisions:
- Everything is read from what training leaves in the run: `metrics.jsonl` and `events.jsonl`. So it can be asked at any
  time, of a run that still goes on too: the prediction is then scaled to the steps it has done.
- Hours are wall time of all attempts, each from its start to the last record that its own process left: the walk's
  heartbeats go on through other stages, and between attempts nothing is paid. An attempt on another machine is held
  against that machine's prediction, by the steps that were kept of it. What a prediction leaves out (saving,
  validation, interruptions) has rows of its own, so that a miss explains itself.
- The rate is samples over time, not a mean or median of rates. The first record of an attempt is left out of it: it
  holds the start of the loader.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stepladder.core.config import ParameterError
from stepladder.core.records import seconds
from stepladder.core.run import Run
from stepladder.cost.offers import Span, read_prices
from stepladder.training import worker
from stepladder.training.process import planned_steps

CONFIRMED = 0.1  # a real number this near to the predicted one confirms it, however narrow the interval was
STARTED, ASIDE = "training_started", "checkpoints_set_aside"
OWN_EVENTS = (STARTED, "gate", "resumed", "training_stage", "checkpoint", "not_finite")
NOTE = (
    "Time is wall time of all attempts, with what a prediction leaves out: starting, saving, validation. A training of "
    "seconds is mostly that."
)
COLUMNS = ["quantity", "predicted", "low", "high", "real", "verdict"]
FAR = 3  # a real number beyond this many times the predicted one is told as a factor


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
    attempts = _attempts(events, lines, run.status().get("device"))
    rows = [_row_of(pd.DataFrame(predicted), run, attempt.device, params.training.processes) for attempt in attempts]
    shares = [attempt.steps / planned_steps(study, params) for attempt in attempts]
    hours = [attempt.seconds / 3600 for attempt in attempts]
    rate = Span(*(_together(rows, shares, end) for end in (" high", "", " low")))
    saves = [event["seconds"] for event in events if event["kind"] == "checkpoint"]
    validation = sum(line.get("seconds", 0.0) for line in lines if "validation_loss" in line)
    resumed = [event["step"] for event in events if event["kind"] == "resumed"]
    dollars = sum(time * row["$/h"] for time, row in zip(hours, rows, strict=True))
    told = [
        compared("samples/s", rate, _real_rate(steps, resumed)),
        compared("hours", scaled(rows, shares, "hours"), sum(hours)),
        compared("dollars", scaled(rows, shares, "dollars"), dollars),
        {"quantity": "hours of saving", "real": sum(saves) / 3600},
        {"quantity": "hours of validation", "real": validation / 3600},
        {"quantity": "seconds of one checkpoint", "real": sum(saves) / len(saves) if saves else None},
        {"quantity": "interruptions", "real": len(resumed)},
    ]
    return pd.DataFrame(told, columns=COLUMNS)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `compare` for people: times in the unit they are read in, and a large miss as a factor."""
    timed = table["quantity"].str.startswith("hours")
    shown = table.astype(object)
    for column in ("predicted", "low", "high", "real"):
        shown.loc[timed, column] = table.loc[timed, column].map(time_of)
    shown["quantity"] = table["quantity"].str.replace("hours", "time")
    ratio = table["real"].astype(float) / table["predicted"].astype(float)
    far = ratio >= FAR
    shown.loc[far, "verdict"] = [f"{value:,.0f} times the prediction" for value in ratio[far]]
    return shown


def time_of(hours: float | None) -> str | None:
    """Hours with the unit they are read in; None where there is no number."""
    if hours is None or not math.isfinite(hours):
        return None
    unit, size = next(((u, s) for u, s in (("h", 1.0), ("min", 60.0)) if hours * s >= 1), ("s", 3600.0))
    return f"{hours * size:.3g} {unit}"


def compared(quantity: str, predicted: Span, real: float) -> dict[str, Any]:
    """A row; the verdict says whether the real number lies in the span or near the likely one, or how far off it is."""
    off = real / predicted.likely - 1
    inside = predicted.low <= real <= predicted.high or abs(off) <= CONFIRMED
    verdict = None if math.isnan(off) else "confirmed" if inside else f"{off:+.0%}"
    low, likely, high = predicted
    return {"quantity": quantity, "predicted": likely, "low": low, "high": high, "real": real, "verdict": verdict}


def row_of(predicted: pd.DataFrame, device: str | None, processes: int = 1) -> pd.Series | None:
    """The row of the machine with a device: the measured one, or the offer its device means; None where none is.

    Where nothing tells the device, it is the measured one, the first.
    """
    name = predicted["GPU"][0]
    if device and not name.endswith(f"({device})"):
        offer = read_prices().match(device, processes)
        name = offer.name if offer else device
    if name not in set(predicted["GPU"]):
        return None
    row = predicted.set_index("GPU").loc[name]
    return row.where(row.notna(), math.nan)  # a table that went through JSON holds None


def _row_of(predicted: pd.DataFrame, run: Run, device: str | None, processes: int) -> pd.Series:
    row = row_of(predicted, device, processes)
    if row is None:
        known = ", ".join(predicted["GPU"])
        raise ParameterError(f"run {run.name!r} trained on {device!r}, which was not predicted (known: {known})")
    return row


def scaled(rows: Sequence[pd.Series], shares: Sequence[float], name: str) -> Span:
    """Hours or dollars that were predicted, where each row's machine did so large a share of the training."""
    ends = (f"{name} low", name, f"{name} high")
    return Span(*(sum(row[end] * share for row, share in zip(rows, shares, strict=True)) for end in ends))


def _together(rows: Sequence[pd.Series], shares: Sequence[float], end: str) -> float:
    """Samples per second that machines are predicted to make which each did a share of them; of one, its own."""
    slow = sum(
        share * row[f"hours{end}"] / row["hours"] / row["samples/s"] for row, share in zip(rows, shares, strict=True)
    )
    return sum(shares) / slow


def _last_training(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the training said of itself since the start that set the records of another one aside."""
    numbers = {kind: [n for n, event in enumerate(events) if event["kind"] == kind] for kind in (STARTED, ASIDE)}
    aside = max(numbers[ASIDE], default=0)
    begin = max((number for number in numbers[STARTED] if number < aside), default=0)
    return [event for event in events[begin:] if _is_own(event)]


def _is_own(event: Mapping[str, Any]) -> bool:
    """Whether the training process wrote an event: of heartbeats its own tell a step, the walk's do not."""
    return event["kind"] in OWN_EVENTS or (event["kind"] == "heartbeat" and "step" in event)


class _Attempt(NamedTuple):
    """One start of the training: CUDA's name of its device, steps that were kept of it, seconds of wall time."""

    device: str | None
    steps: int
    seconds: float


def _attempts(events: Sequence[dict[str, Any]], lines: Sequence[dict[str, Any]], device: str | None) -> list[_Attempt]:
    """The starts of a training, in order, each with the records that its own process left.

    They are told apart by the order of events and by steps, for each machine has a clock of its own.

    Args:
        events: what the training said.
        lines: its metrics; those that a later start did again are cut from them.
        device: where the run was last; starts that name no device were there.
    """
    starts = [number for number, event in enumerate(events) if event["kind"] == STARTED]
    bounds = [*starts, len(events)] if starts else [0, len(events)]
    parts = [events[begin:end] for begin, end in itertools.pairwise(bounds)]
    begins = [_begin(part, None if number else 0) for number, part in enumerate(parts)]
    found = []
    for number, (part, begin) in enumerate(zip(parts, begins, strict=True)):
        end = min([later for later in begins[number + 1 :] if later is not None], default=math.inf)
        own = [line for line in lines if begin is not None and begin < line["step"] <= end]
        times = [*map(seconds, part), *(line["time"] for line in own if "time" in line)]
        steps = int(min(end, lines[-1]["step"])) - begin if begin is not None else 0
        found.append(
            _Attempt(part[0].get("device") or device, max(0, steps), max(times) - min(times) if times else 0.0)
        )
    return found


def _begin(events: Sequence[dict[str, Any]], unsaid: int | None) -> int | None:
    """The step that a start of the training went on from; `unsaid` where it died before it told."""
    told = [event["step"] for event in events if event["kind"] in ("resumed", "training_stage")]
    return told[0] if told else unsaid


def _real_rate(steps: Sequence[dict[str, Any]], resumed: Sequence[int]) -> float:
    """Samples over the time of all records but the first of each attempt: a mean of rates weighted by time."""
    numbers = np.array([0, *(line["step"] for line in steps)])
    count, rate = np.diff(numbers), np.array([line["samples_per_s"] for line in steps])
    first = np.array([any(a <= begin < b for begin in (0, *resumed)) for a, b in itertools.pairwise(numbers)])
    kept = ~first if not first.all() else first
    return float(count[kept].sum() / (count[kept] / rate[kept]).sum())
