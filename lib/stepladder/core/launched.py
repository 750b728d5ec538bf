"""What a launched run is doing on its machine, told from the files that came back; nothing of it has to live here.

Decisions:
- The claim (`launch/state.json`) says where the run is, and its records, as they come from there, what it does.
- They bear the clock of that machine, `clock` seconds ahead of this one. What is older than the job's beginning on this
  machine is not of it: the run may have trained before, here or elsewhere.
- How long a training is silent is said as of when its machine was heard last: what a cut link keeps back is no silence.
- Who follows a job may be gone while the job is not: that is said beside the state, with the way back.
"""

import socket
import time
from pathlib import Path

from stepladder.core import claim, progress, records
from stepladder.core.files import Json
from stepladder.core.paths import command
from stepladder.core.progress import Training, duration
from stepladder.core.records import Status
from stepladder.core.units import counted
from stepladder.machine import processes

SEARCH = "04_scaling"


def status(folder: Path, record: Status | None, now: float | None = None) -> Status | None:
    """The state of a run that a job has, in words; None where none has it.

    Args:
        folder: the run's.
        record: its `run.json`, where there is one.
        now: the time, in seconds since 1970 by this machine's clock.
    """
    job = claim.of(folder)
    if job is None:
        return None
    now = time.time() if now is None else now
    parts = [_doing(folder, job, now), *([job.get("reason")] if job["state"] != "running" else [])]
    parts += [_heard(job, now), _followed(job)]
    empty: Status = {"state": "", "reason": ""}
    return {**(record or empty), "state": job["state"], "reason": "; ".join(part for part in parts if part)}


def training(folder: Path, job: Json, now: float | None = None) -> Training | None:
    """How far the training of a launched run is on its machine; None while it does not train.

    Args:
        folder: the run's.
        job: how its job stands (see `claim.of`).
        now: the time, in seconds since 1970 by this machine's clock.
    """
    asked, began = claim.asked(folder), _since(folder, job)
    if asked.get("what") == "walk":
        begun = _training_begun(folder)
        if begun is None or begun < began:
            return None
        began = begun
    elif asked.get("what") != "train":
        return None
    now = time.time() if now is None else now
    return progress.trained(folder, began, min(now, job.get("heard") or now) + _clock(job))


def _training_begun(folder: Path) -> float | None:
    """When the cell in which a walk trains began to; None where it is in another cell or stage."""
    for last in progress.told(folder, "training_started", "stage_start", "cell_start", "stage_end")[-1:]:
        if last["kind"] == "training_started":
            return records.seconds(last)
    return None


def _since(folder: Path, job: Json) -> float:
    """When the job began on its machine, or else was asked for, in seconds since 1970 by the clock of that machine."""
    try:
        asked = records.seconds({"time": claim.asked(folder)["created"]})
        return max(asked, float(job.get("began") or 0.0)) + _clock(job)
    except (KeyError, TypeError, ValueError):
        return 0.0


def _clock(job: Json) -> float:
    return float(job.get("clock") or 0.0)


def _doing(folder: Path, job: Json, now: float) -> str:
    """Where the run is, what it does there, and what that has cost."""
    machine, doing = str(job.get("machine") or ""), str(job.get("doing") or "")
    if job["state"] == "running":
        does = work(folder, job, now)
        machine = f"on {machine}" if machine else ""
        doing = "; ".join(part for part in (does, doing) if part)
    elif job["state"] == "queued":
        doing = doing or "waits for a machine"
    spent = float(job.get("spent") or 0.0)
    words = ": ".join(part for part in (machine, doing) if part)
    return f"{words}, ${spent:,.2f} so far" if spent or job.get("price") else words


def work(folder: Path, job: Json, now: float | None = None) -> str:
    """What a launched run that is running does, in words: how far its training is, or else its stage and cell."""
    found = training(folder, job, now)
    return f"{progress.TRAINING}: {found}" if found else _under_way(folder, _since(folder, job))


def _under_way(folder: Path, since: float) -> str:
    """What else than training is under way, in words: the cell of a walk, or how far a search of settings is."""
    if claim.asked(folder).get("what") != "ladder":
        return progress.under_way(folder, since)
    tried = [event for event in progress.told(folder, "rung") if records.seconds(event) >= since]
    return f"{SEARCH}: {counted(len(tried), 'setting')} tried, the last {tried[-1].get('setting')}" if tried else ""


def _heard(job: Json, now: float) -> str:
    """How long the machine has said nothing, where that is long."""
    heard = job.get("heard")
    return f"last heard {duration(now - heard)} ago" if heard and now - heard > progress.SILENT else ""


def _followed(job: Json) -> str:
    """What is to be known of the process that follows the job: nothing while it lives here."""
    process: Json = job.get("supervisor") or {}
    if not process or processes.is_alive(process):
        return ""
    if not processes.is_here(process) and process.get("host") != socket.gethostname():
        return f"followed from {process.get('host')}"
    return f"its supervisor is gone: `{command()} launch` the same again to follow it"
