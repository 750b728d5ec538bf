"""What happened on each machine of a launched run, attempt by attempt, and what that teaches the next.

It is read from the lines of `launch/attempts.jsonl`; `taken` begins an attempt, the others belong to the last one:

    taken        machine, price, disk, traffic      dollars per hour of the machine and of its disk, dollars per GB
    sent         bytes, seconds, what               code, environment, data
    checked      facts                              its first minute; `cards` with the name that CUDA gives them
    started                                         the job's first process there
    first_step   step                               optimizer steps that were done before it
    pulled       bytes, seconds, what, step         brought back; of a checkpoint, its step
    lost         heard, step, saved, why            seconds since 1970 when it was heard last, the last step known then,
                                                    that of the newest checkpoint here
    bad          why                                not what was promised
    ended        ending, step, why                  see `policy.Ending`
    released     verified                           given back: from here on it is not paid for

Decisions:
- All times are those of who launched: a machine's own clock may be wrong.
- What a supervisor left open that died is closed at its last line.
"""

import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

from stepladder.core.files import Json
from stepladder.core.records import is_event, seconds
from stepladder.core.run import Run
from stepladder.launch import job, policy
from stepladder.launch.policy import HOUR

RECENT = 20  # checkpoints that tell how long the next one takes


@dataclass
class Attempt:
    """What happened on one machine; times are seconds since 1970.

    Attributes:
        machine: TARGET/HOST.
        price, disk, traffic: dollars per hour, per hour of disk, per GB.
        taken, started, first, end, over: when it was taken; its job began; made its first step; said its last word, or
            ended; was given back or given up. None where that has not come.
        ending: how it ended, in a word; empty while it goes on.
        begin, last, saved: steps done before it, at its end, and in the last checkpoint that came back.
        bytes: moved to it and from it.
        device: CUDA's name of its card, `cpu` where it has none; empty while that is unknown.
    """

    machine: str
    taken: float
    price: float = 0.0
    disk: float = 0.0
    traffic: float = 0.0
    started: float | None = None
    first: float | None = None
    end: float | None = None
    over: float | None = None
    ending: str = ""
    begin: int | None = None
    last: int | None = None
    saved: int | None = None
    bytes: int = 0
    device: str = ""
    latest: float = field(default=0.0, repr=False)  # time of its last line

    def hours(self, at: float) -> dict[str, float]:
        """Hours paid up to `at`, and those of setting up, working and closing that they are made of."""
        over = max(self.taken, at if self.over is None else self.over)
        started = min(over, self.started if self.started is not None else (self.end or over))
        end = min(over, max(started, self.end if self.end is not None else over))
        spans = {"paid": over - self.taken, "setting up": started - self.taken}
        return {name: span / HOUR for name, span in (spans | {"working": end - started, "closing": over - end}).items()}

    def repeated(self, kept: int | None) -> float:
        """Hours of its steps past step `kept`, by its own seconds per step."""
        if None in (self.begin, self.last, self.first, self.end) or kept is None:
            return 0.0
        assert self.begin is not None and self.last is not None and self.first is not None and self.end is not None
        lost = min(max(0, self.last - kept), max(0, self.last - self.begin))
        return lost / max(1, self.last - self.begin) * max(0.0, self.end - self.first) / HOUR


def attempts(run: Run) -> list[Attempt]:
    """The machines that a run was launched on, in order."""
    found: list[Attempt] = []
    for line in filter(is_event, job.attempts(run)):
        if line["kind"] == "taken":
            price, disk, traffic = (float(line.get(name) or 0.0) for name in ("price", "disk", "traffic"))
            found.append(Attempt(str(line.get("machine", "")), seconds(line), price, disk, traffic))
        elif found:
            _follow(found[-1], line)
    for earlier in found[:-1]:  # a supervisor that died wrote no end
        earlier.over = earlier.latest if earlier.over is None else earlier.over
        earlier.ending = earlier.ending or "lost"
    return found


def _follow(attempt: Attempt, line: Json) -> None:
    """Put what one line says into its attempt."""
    at, kind = seconds(line), line["kind"]
    attempt.latest = max(at, attempt.latest)
    if kind in ("sent", "pulled"):
        attempt.bytes += int(line.get("bytes") or 0)
        attempt.saved = _told(line, "step", attempt.saved)
    elif kind == "checked":
        attempt.device = next((str(card["name"]) for card in (line.get("facts") or {}).get("cards", ())), "cpu")
    elif kind == "started":
        attempt.started = at
    elif kind == "first_step" and attempt.first is None:  # the next supervisor tells of its own first look
        attempt.first, attempt.begin = at, int(line.get("step") or 0)
    elif kind in ("lost", "ended"):
        attempt.ending = str(line.get("ending") or kind)
        attempt.end = min(at, float(line.get("heard") or at))
        attempt.last, attempt.saved = _told(line, "step", attempt.last), _told(line, "saved", attempt.saved)
        attempt.over = at if kind == "lost" else attempt.over
    elif kind == "bad":
        attempt.ending, attempt.end = "bad machine", at
    elif kind == "released":
        attempt.over, attempt.ending = at, attempt.ending or "never started"


def _told(line: Json, name: str, before: int | None) -> int | None:
    """A step that a line tells, or what was known before."""
    return before if line.get(name) is None else int(line[name])


def settled(run: Run, number: int) -> Json | None:
    """The line that tells how the job ended on its machine of this number; None unless all of it is home since then."""
    ended: Json | None = None
    home: Json | None = None
    for line in filter(is_event, job.attempts(run)):
        if line.get("attempt") == number:
            if line["kind"] in ("started", "ended"):
                ended, home = (line if line["kind"] == "ended" else None), None
            elif line["kind"] == "pulled" and line.get("what") == "the rest":
                home = ended
    return home


def losses(run: Run) -> int:
    """Machines lost in a row without a checkpoint won, as `policy.what_next` wants them counted."""
    count, best = 0, 0
    for one in attempts(run):
        if one.ending and one.ending != "done" and one.ending not in policy.OWN:
            count = policy.count(count, (one.saved or 0) > best)
        best = max(best, one.saved or 0)
    return count


def rates(run: Run) -> dict[str, float]:
    """Optimizer steps per second of each machine that made some, over all its attempts, saving among them."""
    made: dict[str, tuple[int, float]] = {}
    for one in attempts(run):
        if None not in (one.begin, one.last, one.first, one.end):
            assert one.begin is not None and one.last is not None and one.first is not None and one.end is not None
            steps, time = made.get(one.machine, (0, 0.0))
            made[one.machine] = steps + max(0, one.last - one.begin), time + max(0.0, one.end - one.first)
    return {name: steps / time for name, (steps, time) in made.items() if steps and time}


class Times(NamedTuple):
    """Seconds of one checkpoint, and from taking a machine to its first step."""

    save: float
    restart: float


def times(run: Run, save: float, restart: float) -> Times:
    """What saving and restarting takes in a run: measured where it has saved or started before, else as given."""
    saves = [float(event["seconds"]) for event in run.events("checkpoint") if "seconds" in event]
    starts = [one.first - one.taken for one in attempts(run) if one.first is not None]
    return Times(statistics.mean(saves[-RECENT:] or [save]), statistics.median(starts or [restart]))
