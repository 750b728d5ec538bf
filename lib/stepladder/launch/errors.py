"""Errors of a job since some time, in one view: what its events, its attempts and its log say went wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from stepladder.core import jsonlines
from stepladder.core.files import Json
from stepladder.core.run import Run
from stepladder.core.secrets import redact
from stepladder.launch import job as jobs
from stepladder.launch.stream import BOX_LOG

# Events that are errors as such.
KINDS = {
    *("alert", "alert_failed", "checkpoint_skipped", "checkpoints_set_aside", "damaged", "mirror_failed"),
    *("not_finite", "page_failed"),
}
LINE = re.compile(r"\b\w*(Error|Exception|Interrupt)\b:|^Traceback |\b(error|fatal|killed|out of memory)\b", re.I)
MOST = 50  # lines of the log


@dataclass(frozen=True)
class Fault:
    """Something that went wrong.

    Attributes:
        time: when, as the record says; empty for lines of a log, which tell none.
        where: the record it stands in.
        text: what.
    """

    time: str
    where: str
    text: str


def errors(run: Run, since: str = "") -> list[Fault]:
    """What went wrong in a launched run since an ISO time, oldest first, the log's last lines after all else.

    Args:
        run: whose.
        since: an ISO time; empty: since the last job began.
    """
    job = jobs.of(run)
    begin = _seconds(since or (job.created if job else ""))
    timed = [fault for fault in (*_events(run), *_attempts(run)) if _seconds(fault.time) >= begin]
    return [*sorted(timed, key=lambda fault: _seconds(fault.time)), *_log(run, begin)]


def _events(run: Run) -> Iterator[Fault]:
    for event in run.events():
        bad = event["kind"] == "stage_end" and event.get("state") != "done"
        bad |= event["kind"] in ("check", "gate") and event.get("ok") is False
        if bad or event["kind"] in KINDS:
            yield Fault(event["time"], "events.jsonl", _words(event))


def _attempts(run: Run) -> Iterator[Fault]:
    for line in jobs.attempts(run):
        cause = line.get("cause") or line.get("state")
        if line["kind"] in ("lost", "bad") or (line["kind"] in ("ended", "finished") and cause != "done"):
            yield Fault(line["time"], "attempts.jsonl", _words(line))


def _log(run: Run, begin: float) -> list[Fault]:
    """Lines of what the job printed that look like errors; its log tells no times, so all or none."""
    path = run.folder / BOX_LOG
    if not path.exists() or path.stat().st_mtime < begin:
        return []
    lines = (line.decode(errors="replace").rstrip() for line in jsonlines.lines(path))
    return [Fault("", "box.log", redact(line)) for line in lines if LINE.search(line)][-MOST:]


def _words(record: Json) -> str:
    """A record in words: its kind, then what belongs to it."""
    told = {name: value for name, value in record.items() if name not in ("time", "kind", "job") and value is not None}
    return ", ".join([str(record["kind"]), *(f"{name} {value}" for name, value in told.items())])


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
