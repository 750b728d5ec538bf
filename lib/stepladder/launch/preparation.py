"""What a machine needs before a job starts there: code, environment, a good look, data, in this order.

Decisions:
- The cheapest proof first: what is not the machine that was promised is given back before a byte of data has moved.
- The job runs the code as it was when it was launched (`launch/code`), on every machine: an edit meanwhile changes
  nothing.
"""

import json
import sys
import time
from dataclasses import asdict, replace

from stepladder.core.config import ParameterError, merge, nested
from stepladder.core.files import Json
from stepladder.core.paths import command
from stepladder.core.run import Run
from stepladder.cost.offers import read_prices
from stepladder.launch import blobs, code, data, environment, examination, ledger, survey
from stepladder.launch.attempt import JOBS, Attempt, Bad, Where
from stepladder.launch.blobs import Wanted
from stepladder.launch.code import Code
from stepladder.launch.hosts import Host
from stepladder.launch.mirror import saved
from stepladder.launch.refusals import first_stage
from stepladder.launch.stream import MERGED


def prepare(attempt: Attempt, host: Host) -> Where:
    """Make a machine ready for a job; how it is used from then on.

    Raises:
        Bad: it is not what was promised.
        Unreachable, HostError: see `Host.call`.
    """
    folder = f"{host.folder}/{JOBS}/{attempt.job.id}"
    if attempt.in_place:
        where = Where(attempt.name, attempt.machine, sys.executable, str(attempt.run.root.absolute()), folder)
    else:
        where = _far(attempt, host, folder)
    record = json.dumps(asdict(attempt.job), indent=1).encode()  # one field a line: see `survey`
    host.call(["sh", "-c", 'mkdir -p "$0" && cat > "$0/job.json"', folder], record)
    return where


def _far(attempt: Attempt, host: Host, folder: str) -> Where:
    """Bring everything to a machine that has nothing."""
    run, target, tell = attempt.run, attempt.target, attempt.tell
    tree = kept(run)
    tell(f"sending the code ({tree})")
    place = tree.send(host)
    tell("looking for the environment")
    wanted = environment.needs(run.root, target, run.study, tree.root)
    python = environment.prepare(host, target, wanted, place, tell)
    _settle_earlier(attempt, host, python.python, place)
    tell("trying the environment out: imports, one step")
    tried = environment.try_out(host, python, place, run.study)
    attempt.note("environment", hash=python.hash, torch=python.torch, seconds=python.seconds, tried=tried)
    facts = _examined(attempt, host, python.python, place)
    events = _send(attempt, host, python.python, place, folder)
    return Where(attempt.name, attempt.machine, python.python, place, folder, events, facts["clock_ahead"], facts)


def _settle_earlier(attempt: Attempt, host: Host, python: str, place: str) -> None:
    """End what earlier attempts at this run left there, and clear it away; what is newer than here comes home first.

    A machine that was lost may have gone on. What this very attempt has brought already stays.
    """
    run, job = attempt.run, attempt.job
    for told in survey.jobs_on(host):
        if told.name != job.name or (told.id == job.id and told.state == "new"):
            continue
        attempt.tell(f"ending what is left of an earlier attempt there ({told.id}, {told.state})")
        earlier = Attempt(run, replace(job, id=told.id), attempt.target, attempt.machine, 0, attempt.tell, attempt.note)
        earlier.where = Where("", attempt.machine, python, place, f"{host.folder}/{JOBS}/{told.id}")
        newer = earlier.end("another attempt at this run begins") > saved(run.folder)
        moved = earlier.settle() if newer else 0
        earlier.clean()
        attempt.note("earlier", job=told.id, state=told.state, bytes=moved)
        if told.id != job.id:
            ledger.note(run.root, "released", attempt.machine, told.id, verified=True)


def kept(run: Run) -> Code:
    """The code that a run was launched with."""
    found = code.kept(run.folder / code.KEPT)
    if found is None:
        again = f"`{command()} launch {run.study}/{run.name}`"
        raise ParameterError(f"launch/code of {run.study}/{run.name} is gone or was changed: {again} again")
    return found


def _wanted(attempt: Attempt) -> Wanted:
    """What the job needs of its run."""
    run, job = attempt.run, attempt.job
    given = merge({}, *(nested(name, value) for name, value in job.settings.items()))
    values = run.resolve(job.profile, given)[0].model_dump(mode="json")
    return data.wanted(run, first_stage(job), job.force, values)


def _examined(attempt: Attempt, host: Host, python: str, place: str) -> Json:
    """Look whether the machine is what was promised; `Bad` where it is not."""
    attempt.tell("examining the machine")
    facts = examination.of(host, python, place)
    size = sum(facts["bytes"] for facts in _wanted(attempt).values())
    checks = examination.judge(facts, attempt.target, read_prices(), disk=2 * size)
    attempt.note("checked", facts=facts, checks=[vars(check) for check in checks])
    if wrong := [f"{check.name}: {check.reason}" for check in checks if not check.ok]:
        raise Bad("; ".join(wrong))
    return facts


def _send(attempt: Attempt, host: Host, python: str, place: str, folder: str) -> int:
    """Bring the data that the job needs; bytes of `events.jsonl`, from where on its lines are the job's."""
    run, outputs = attempt.run, f"{folder}/outputs"
    asked = _wanted(attempt)
    planned = data.plan(host, attempt.target, python, place, outputs, asked)
    attempt.tell(str(planned))
    began = time.monotonic()
    came = blobs.fetch(host, python, place, outputs, asked, planned.stored, attempt.job.secrets)
    moved = data.send(host, run, [name for name in planned.missing if name not in came], outputs)
    growing = f"{run.study}/{run.name}/{MERGED}"  # who follows the job from a notebook writes it too
    lacking = [name for name in data.missing(host, python, place, outputs, asked) if name != growing]
    if lacking:
        raise ParameterError(f"{lacking[0]} did not arrive as it is here: it was changed meanwhile")
    attempt.note("sent", what="data", bytes=moved, seconds=time.monotonic() - began)
    return int(host.call(["sh", "-c", 'if [ -f "$0" ]; then wc -c <"$0"; else echo 0; fi', f"{outputs}/{growing}"]))
