"""Every machine that was ever used from here, so that none is forgotten: `outputs/.machines.jsonl`, a line an event.

    taken        machine, job, run, price, hours    it costs from now on, and ends itself after so many hours
    checked      facts                              what its first minute told
    bad          why                                given back for a fault of its own; left out for some days
    lost         why                                it does not answer: nobody knows whether it still costs
    powered_off                                     it was switched off
    released     verified                           given back; verified: nothing of the job is left there

Decisions:
- A machine counts as ours from `taken` until it is released with nothing left there, or powered off. Everything else,
  a release that could not be verified too, stays on the list, and a lost one is counted as paid for until it ends
  itself, after the hours that it was given.
- Anything but a well-formed list of what runs on a machine is an error, never "none"; and nothing new is taken while
  something unknown runs there: that is how people come to pay for a machine for weeks.
- A bad machine is remembered for days, not for ever: a driver is updated, an address goes to another machine.
- Lines are only appended, each by one write, so that several supervisors may share the file.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from stepladder.core import jsonlines
from stepladder.core.config import ParameterError
from stepladder.core.files import Json
from stepladder.core.paths import command, outputs_root
from stepladder.core.progress import duration
from stepladder.core.provenance import now
from stepladder.core.records import is_event, seconds
from stepladder.core.secrets import redacted
from stepladder.launch.policy import HOUR, Hazard

NAME = ".machines.jsonl"
KINDS = ("taken", "checked", "bad", "lost", "powered_off", "released")
BAD_DAYS = 3.0  # days that a bad machine is left out
OVER = ("done", "failed", "oom", "preempted", "lost", "timeout", "stuck", "budget", "hours", "stopped", "ended")


def path(root: Path) -> Path:
    """The ledger of a project."""
    return outputs_root(root) / NAME


def note(root: Path, kind: str, machine: str, job: str, **fields: Any) -> None:
    """Add a line: what became of `machine` (TARGET/HOST) under the job with this id (see the module)."""
    assert kind in KINDS, kind
    path(root).parent.mkdir(parents=True, exist_ok=True)
    told = {"time": now(), "kind": kind, "machine": machine, "job": job, **fields}
    jsonlines.append(path(root), redacted(told))


@dataclass
class Use:
    """One use of a machine by a job.

    Attributes:
        machine, job, run: TARGET/HOST, the job's id, STUDY/RUN.
        price: dollars per hour.
        hours: hours after which it ends itself; None: never.
        since, until: seconds since 1970; `until` is None while it may still cost.
        state: `taken`, `lost`, `not verified`, `released` or `powered off`.
        lost: seconds since 1970 when it was last given up; None where it never was.
        facts, why: what its first minute told, and what was wrong with it.
        seconds: that it worked at least, by clocks that nobody can set: this machine's may have been set back.
    """

    machine: str
    job: str
    run: str
    price: float
    hours: float | None
    since: float
    until: float | None = None
    state: str = "taken"
    lost: float | None = None
    facts: Json = field(default_factory=dict[str, Any])
    why: str = ""
    seconds: float = 0.0

    def counted(self, at: float | None = None) -> float:
        """Hours that are paid for up to `at` (now); of one that nobody has given back, at most its own limit."""
        end = self.until if self.until is not None else (time.time() if at is None else at)
        hours = max(0.0, end - self.since, self.seconds) / HOUR
        return hours if self.until is not None or self.hours is None else min(hours, self.hours)

    def cost(self, at: float | None = None) -> float:
        """Dollars up to `at` (now), as `counted` counts them."""
        return self.price * self.counted(at)

    def words(self, at: float | None = None) -> str:
        """How it stands: `lost: counted until its own limit of 12 h, $3.10 so far`."""
        told = f"{self.state}, {duration(HOUR * self.counted(at))}, ${self.cost(at):.2f}"
        if self.state not in ("lost", "not verified"):
            return told
        limit = f"its own limit of {self.hours:g} h" if self.hours is not None else "somebody looks: it has no limit"
        return f"{told} so far, counted until {limit}" + (f" ({self.why})" if self.why else "")


def uses(root: Path) -> list[Use]:
    """Every use of every machine, in order.

    Raises:
        ParameterError: the ledger is damaged, so that machines may be missing.
    """
    found: list[Use] = []
    open_: dict[tuple[str, str], Use] = {}
    records = jsonlines.read(path(root))
    if records.unreadable:
        raise ParameterError(f"{path(root)} {records.unreadable}: the machines in use are unknown; mend it first")
    for record in filter(is_event, records):
        _follow(record, found, open_)
    return found


def _follow(record: Json, found: list[Use], open_: dict[tuple[str, str], Use]) -> None:
    """Put what one line says into the uses so far."""
    kind, at, key = record["kind"], seconds(record), (str(record.get("machine")), str(record.get("job")))
    if kind == "taken":
        earlier = open_.get(key)
        if earlier is not None and earlier.until is None:
            earlier.until = at  # taken again by the same job: it goes on counting below
        price, hours = float(record.get("price") or 0.0), record.get("hours")
        use = Use(*key, str(record.get("run", "")), price, None if hours is None else float(hours), at)
        found.append(use)
        open_[key] = use
    elif (use := open_.get(key)) and use.until is None:  # what is given back twice was given back the first time
        _end(use, kind, at, record)


def _end(use: Use, kind: str, at: float, record: Json) -> None:
    """What a line says of a machine that is in use."""
    use.seconds = max(use.seconds, float(record.get("seconds") or 0.0))
    if kind == "checked":
        use.facts = dict(record.get("facts") or {})
    elif kind in ("bad", "lost"):
        use.why = str(record.get("why", ""))
        if kind == "lost":
            use.state, use.lost = "lost", at
    elif kind == "powered_off" or (kind == "released" and record.get("verified")):
        use.state, use.until = "powered off" if kind == "powered_off" else "released", at
    elif kind == "released":
        use.state, use.why = "not verified", str(record.get("why", use.why))


def living(root: Path) -> list[Use]:
    """Machines that were taken and not given back for certain."""
    return [use for use in uses(root) if use.until is None]


def hazards(root: Path, prior: Mapping[str, float | None]) -> dict[str, Hazard]:
    """How often each machine that was used is lost, by what was said of it and what was seen.

    Args:
        root: the project.
        prior: mean hours until it is taken, as was said of a machine or its target; None: never.
    """
    found: dict[str, Hazard] = {}
    for use in uses(root):
        target = use.machine.partition("/")[0]
        known = found.get(use.machine) or Hazard(prior.get(use.machine, prior.get(target)))
        end = use.lost if use.lost is not None else use.until
        hours = use.counted() if end is None else (end - use.since) / HOUR
        found[use.machine] = known.seen(max(0.0, hours), int(use.lost is not None))
    return found


def known_bad(root: Path, target: str, at: float | None = None) -> dict[str, str]:
    """Machines of a target that were found bad in the last days: TARGET/HOST -> why, and how long ago."""
    at = time.time() if at is None else at
    found: dict[str, str] = {}
    for record in filter(is_event, jsonlines.read(path(root))):
        machine = str(record.get("machine"))
        if machine.partition("/")[0] != target or record.get("kind") not in ("bad", "checked"):
            continue
        found.pop(machine, None)  # it was looked at again
        ago = at - seconds(record)
        if record["kind"] == "bad" and ago < BAD_DAYS * 24 * HOUR:
            found[machine] = f"found bad {duration(max(0.0, ago))} ago: {record.get('why', '')}"
    return found


class Told(NamedTuple):
    """A job as the machine it is on tells it."""

    id: str
    name: str
    state: str
    since: str


def well_formed(text: str) -> list[Told]:
    """The jobs that `box list` printed on a machine.

    Raises:
        ParameterError: it is anything but a whole list of jobs. That is never taken for an empty one.
    """
    try:
        found: Any = json.loads(text)
    except ValueError:
        raise ParameterError(f"the list of its jobs is no JSON but {text[:80]!r}") from None
    if not isinstance(found, list):
        raise ParameterError(f"the list of its jobs is no list but {text[:80]!r}")
    return [_told(item) for item in cast(list[Any], found)]


def _told(item: Any) -> Told:
    values = [cast(Json, item).get(name) for name in Told._fields] if isinstance(item, dict) else []
    if not values or not all(isinstance(value, str) and value for value in values):
        raise ParameterError(f"the list of its jobs holds what is no job: {str(item)[:80]!r}")
    return Told(*cast(list[str], values))


Answer = Sequence[Told] | str | None  # its jobs; or why what it said is no such list; or it does not answer


class Differences(NamedTuple):
    """What the ledger and the machines say of each other.

    Attributes:
        unknown: jobs that live on a machine, and which the ledger does not have there: (machine, job).
        forgotten: what the ledger has, and the machine does not know.
        silent: what the ledger has on machines that do not answer.
        wrong: machine -> why what it said cannot be believed.
    """

    unknown: list[tuple[str, Told]]
    forgotten: list[Use]
    silent: list[Use]
    wrong: dict[str, str]


def compare(root: Path, told: Mapping[str, Answer]) -> Differences:
    """What the ledger says beside what the machines say themselves, by TARGET/HOST (see `well_formed`)."""
    ours = living(root)
    here = {(use.machine, use.job) for use in ours}
    wrong = {machine: answer for machine, answer in told.items() if isinstance(answer, str)}
    lists = {machine: answer for machine, answer in told.items() if answer is not None and not isinstance(answer, str)}
    alive = {(machine, job.id): job for machine, jobs in lists.items() for job in jobs if job.state not in OVER}
    return Differences(
        unknown=[(key[0], job) for key, job in alive.items() if key not in here],
        forgotten=[use for use in ours if use.machine in lists and (use.machine, use.job) not in alive],
        silent=[use for use in ours if use.machine not in lists],
        wrong=wrong,
    )


def refuse_unknown(root: Path, told: Mapping[str, Answer]) -> None:
    """`ParameterError` where a job lives that was not launched from here, or where what a machine says makes no sense.

    Nothing is taken then. A machine that does not answer is no reason: what runs there is in the ledger, and ends
    itself after its own hours.
    """
    found = compare(root, told)
    for machine, why in found.wrong.items():
        raise ParameterError(
            f"{machine} does not say what runs there: {why}; nothing is taken while that is unknown: look at it "
            f"(`{command()} machines`)"
        )
    for machine, job in found.unknown:
        raise ParameterError(
            f"{machine} runs job {job.id} ({job.name}, {job.state} since {job.since}), which was not launched from "
            "here: nothing is taken while it lives; end it there, or from where it was launched"
        )
