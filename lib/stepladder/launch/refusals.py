"""Whether a job can be launched at all, asked before anything is paid: every reason at once, each with its way out.

Decisions:
- All reasons are told together, because each try costs a person a minute.
- What only the machine can tell (its card, its disk) is asked there, in its first minute (see `examination`).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from stepladder.core import study
from stepladder.core.config import ParameterError, merge, nested
from stepladder.core.paths import outputs_root
from stepladder.core.run import Run
from stepladder.core.stages import STAGES, before, stage
from stepladder.cost.offers import read_prices
from stepladder.launch import code, environment, examination
from stepladder.launch import job as jobs
from stepladder.launch.job import Job
from stepladder.launch.targets import LOCAL, Target

ALONE = {"train": "05_training", "ladder": "04_scaling"}  # what walks no stages -> the stage it is of
OURS = "lib/stepladder/launch/box.py"  # without it nothing runs on a machine
RAW = "02_conversion"  # the last stage that reads raw files


def first_stage(job: Job) -> str:
    """Full name of the first stage that a job needs something for."""
    if job.what in ALONE:
        return ALONE[job.what]
    return min((stage(name).name for name in job.stages), default=STAGES[0].name)


def refusals(root: Path, job: Job, target: Target) -> list[str]:
    """Why a job cannot be launched on a target, in sentences; empty where it can.

    Args:
        root: the project.
        job: what is asked for.
        target: where, by the name in the job.
    """
    run = Run(outputs_root(root) / job.study / job.run, root)
    looks: list[Callable[[], object]] = [lambda: study.schema(job.study), lambda: jobs.refuse_claimed(run)]
    tellers = [_limits(job), _variables(job, target), _standing(run, job)]
    if target.kind != "local":
        tellers.append(_code(root))
        looks += [
            lambda: environment.index(target),
            lambda: target.python or environment.needs(root, target, job.study),
            lambda: examination.promised(target, read_prices(root / "params" / "gpu_prices.yaml")),
        ]
    found = [reason for look in looks for reason in _raised(look)]
    return list(dict.fromkeys([*found, *(reason for teller in tellers for reason in _told(teller))]))


def _raised(look: Callable[[], object]) -> list[str]:
    """The error that a look ends with, as a reason."""
    try:
        look()
    except ParameterError as error:
        return [str(error)]
    return []


def _told(teller: Iterator[str]) -> Iterator[str]:
    """The reasons that are told, the error that ends it among them."""
    try:
        yield from teller
    except ParameterError as error:
        yield str(error)


def _limits(job: Job) -> Iterator[str]:
    for name in ("budget", "hours"):
        value = getattr(job, name)
        if value is not None and not value > 0:
            yield f"{name} = {value:g}: nothing can be done with that; leave it out for no limit"
    if job.restarts < 0 or not job.stuck_minutes > 0:
        yield f"restarts = {job.restarts}, stuck_minutes = {job.stuck_minutes:g}: at least 0, and more than 0"


def _variables(job: Job, target: Target) -> Iterator[str]:
    for name in dict.fromkeys((*job.secrets, *target.secrets)):
        if not os.environ.get(name):
            yield f"secrets: the environment variable {name} is not set, or empty"


def _standing(run: Run, job: Job) -> Iterator[str]:
    """What of the run itself stands in the way."""
    given = merge({}, *(nested(name, value) for name, value in job.settings.items()))
    checked = run.resolve(job.profile, given)[0]
    first = first_stage(job)
    states = run.states(checked.model_dump(mode="json"))
    behind = [states[part.name] for part in before(first) if states[part.name].state != "done"]
    if behind:
        yield run.refusal(behind[0], before(first)[-1].name)
    mirror = checked.data.mirror if checked.data.source == "mirror" else None
    made = states[RAW].state != "done" or (job.force and first <= RAW)
    if job.target != LOCAL and made and mirror and (mirror.startswith("file:") or "://" not in mirror):
        yield (
            f"data.mirror = {mirror!r} is a folder of this machine, and raw data is not sent: "
            "walk stages 1-2 here, and launch from 3 on"
        )
    if job.target != LOCAL and (named := checked.training.start_from):
        yield f"training.start_from = {named!r} lies on this machine, and is not sent: train from it here"


def _code(root: Path) -> Iterator[str]:
    tree = code.look(root)
    if OURS not in tree.names:
        yield f"git ignores {OURS} of this project, so nothing could run there: see `git check-ignore -v {OURS}`"
    for flaw in code.secrets_in(tree):
        yield f"{flaw}; it would be sent with the code: name it in .gitignore, or take the secret out"
