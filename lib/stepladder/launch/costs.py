"""The bill of a launched run: what each machine cost, for how many hours of use, beside what 04 had predicted.

Decisions:
- Hours are paid from `taken` until `released`; until it was given up where the machine was lost (what it may cost after
  that, the ledger tells). Setting up, and closing (fetching, cleaning, silence before it was given up), are paid and of
  no use.
- A step is lost that a later machine did again, or that nobody did again but whose checkpoint never came back. What it
  took is told by the seconds per step of its own attempt.
- Work without steps (conversion, evaluation) counts as of use where its attempt came to an end by itself.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from stepladder.core import jsonlines
from stepladder.core.files import Json
from stepladder.core.records import seconds
from stepladder.core.run import Run
from stepladder.core.units import digits
from stepladder.cost import bill
from stepladder.launch.history import Attempt, attempts
from stepladder.launch.policy import HOUR

NOTE = (
    "Paid from taking a machine to giving it back, of a lost one until it was given up. Of use: work that was kept. "
    "Repeated: work that is lost or was done again. A machine that is kept after the end goes on costing: not here."
)
SUMS = ["paid", "of use", "setting up", "repeated", "closing", "GPU $", "disk $", "traffic $", "dollars", "bytes"]
FORECAST = {"GPU", *(f"{what}{end}" for what in ("hours", "dollars") for end in ("", " low", " high"))}
COLUMNS = ["machine", "ending", *SUMS]
TIMES = ["paid", "of use", "setting up", "repeated", "closing"]
SAVED = ("done", "preempted", "stopped", "budget", "hours")  # endings whose last step is in a checkpoint


def table(run: Run, at: float | None = None) -> pd.DataFrame:
    """The bill: a row an attempt and one of all, with hours, dollars and bytes; empty where nothing was launched.

    Args:
        run: the run.
        at: until when an attempt under way is counted, in seconds since 1970; now by default.
    """
    at = time.time() if at is None else at
    told = attempts(run)
    rows = [_row(attempt, _kept(told, number), at) for number, attempt in enumerate(told)]
    if rows:
        number = f"{len(rows)} machine{'s' if len(rows) > 1 else ''}"
        ending = rows[-1]["ending"]
        rows.append({"machine": number, "ending": ending} | {name: sum(row[name] for row in rows) for name in SUMS})
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(attempt: Attempt, kept: int | None, at: float) -> Json:
    hours = attempt.hours(at)
    working = hours.pop("working")
    repeated = min(working, attempt.repeated(kept))
    if attempt.begin is None and attempt.ending not in ("", *SAVED):
        repeated = working  # no step, and no end of its own: nothing is known to be left of it
    gpu, disk = hours["paid"] * attempt.price, hours["paid"] * attempt.disk
    traffic = attempt.bytes / 1e9 * attempt.traffic
    dollars = {"GPU $": gpu, "disk $": disk, "traffic $": traffic, "dollars": gpu + disk + traffic}
    told = {"machine": attempt.machine, "ending": attempt.ending or "running", "bytes": attempt.bytes}
    return told | hours | {"of use": working - repeated, "repeated": repeated} | dollars


def _kept(told: Sequence[Attempt], number: int) -> int | None:
    """The step up to which an attempt's steps were kept; None where all are, or none was made."""
    attempt = told[number]
    later = next((one.begin for one in told[number + 1 :] if one.begin is not None), None)
    if later is not None or attempt.ending in ("", *SAVED):
        return later
    return attempt.saved if attempt.saved is not None else attempt.begin


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The bill for people: times in the unit they are read in, dollars to the cent, bytes in GB."""
    shown = frame.astype(object)
    for name in TIMES:
        shown[name] = frame[name].map(bill.time_of)
    for name in [name for name in SUMS if "$" in name or name == "dollars"]:
        shown[name] = frame[name].map(lambda value: f"{value:.2f}")
    shown["bytes"] = frame["bytes"].map(lambda value: digits(value / 1e9))
    shown = shown.rename(columns={"bytes": "GB"})
    free = [name for name in ("disk $", "traffic $") if not frame[name].any()]
    return shown.drop(columns=free)


def compare(predicted: pd.DataFrame | Sequence[Mapping[str, Any]], run: Run, at: float | None = None) -> pd.DataFrame:
    """What 04 predicted for the machines a run was launched on, beside what they cost; columns as `cost.bill`'s.

    Each machine is held against its own row of the prediction, scaled to the steps it was kept for; one that was
    predicted by no row, or made no step that was kept, adds to what it really cost alone.

    Args:
        predicted: the table of `project.project`, or its rows as `04_scaling/result.json` keeps them.
        run: a launched run.
        at: as in `table`.
    """
    frame, told, paid = pd.DataFrame(predicted), attempts(run), table(run, at)
    if frame.empty or paid.empty:
        return pd.DataFrame(columns=bill.COLUMNS)
    if not told[-1].ending:  # under way: as far as its metrics are here
        told[-1].last = max((line["step"] for line in jsonlines.last(run.folder / "metrics.jsonl", 1)), default=None)
    total = max((event.get("total") or 0 for event in run.events("training_stage")), default=0)
    shares = [_steps(attempt, _kept(told, number)) / max(total, 1) for number, attempt in enumerate(told)]
    processes = int(run.values().get("training", {}).get("processes", 1))
    found = [(bill.row_of(frame, one.device, processes), share) for one, share in zip(told, shares, strict=True)]
    known = [(row, share) for row, share in found if row is not None and share]
    last = paid.iloc[-1]
    lines = [_against(known, "hours", last["paid"]), _against(known, "dollars", last["dollars"])]
    lines += [{"quantity": f"hours of {name}", "real": last[name]} for name in ("setting up", "repeated", "closing")]
    lost = sum(attempt.ending not in ("", *SAVED) for attempt in told)
    if others := _other_stages(run, told[0].taken):
        lines.append({"quantity": "hours of other stages", "real": others})
    lines += [{"quantity": "hours of use", "real": last["of use"]}, {"quantity": "machines lost", "real": lost}]
    return pd.DataFrame(lines, columns=bill.COLUMNS)


def _other_stages(run: Run, since: float) -> float:
    """Hours of stages beside the training, which alone is predicted, as far as a job has walked them."""
    ends = [event for event in run.events("stage_end") if event.get("stage") != "05_training"]
    return sum(float(event.get("seconds") or 0.0) for event in ends if seconds(event) >= since) / HOUR


def beside_forecast(run: Run, at: float | None = None) -> pd.DataFrame:
    """`compare` with what 04 forecast in this run, for people, every cell as text; empty where it forecast nothing.

    Args:
        run: a launched run.
        at: as in `table`.

    Raises:
        Damaged: a file that is needed to compare cannot be read.
    """
    prices = (run.result("04_scaling") or {}).get("prices") or []
    table = bill.readable(compare([row for row in prices if row.keys() >= FORECAST], run, at))
    rows = [[_cell(row[0], value) for value in row] for row in table.itertuples(index=False)]
    return pd.DataFrame(rows, columns=table.columns)


def _cell(quantity: str, value: Any) -> str:
    """One cell: dollars to the cent, nothing where nothing is known."""
    if value is None or isinstance(value, str):
        return value or ""
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if quantity == "dollars" else digits(value)


def _against(known: Sequence[tuple[pd.Series, float]], name: str, real: float) -> Json:
    """A row of what was predicted for these shares of the training; without a prediction where nothing was."""
    if not known:
        return {"quantity": name, "real": real}
    rows, shares = zip(*known, strict=True)
    return bill.compared(name, bill.scaled(rows, shares, name), real)


def _steps(attempt: Attempt, kept: int | None) -> int:
    """Steps of an attempt that were kept."""
    if attempt.begin is None or attempt.last is None:
        return 0
    return max(0, (attempt.last if kept is None else min(attempt.last, kept)) - attempt.begin)
