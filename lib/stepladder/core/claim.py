"""Whether a run is at work on another machine, launched from here: then nothing else may walk it.

Decisions:
- The claim is `launch/state.json` (see `launch.job`): one record, written by who launched, under the run's lock. It
  holds across a closed laptop and a cut link, where no lock of this machine could; it ends when the job has ended and
  its files are here.
- The processes of the job itself know it by an environment variable, and pass.
- A claim that cannot be read is held to stand: two walks of one run cost more than a look at the file.
- What only reads the run, or writes beside its records (pages, sweeps, a person's remarks), asks nobody.
"""

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepladder.core import files, records
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.core.paths import command

FOLDER = "launch"
PATH = f"{FOLDER}/state.json"
STATES = ("queued", "running")  # in which a job has its run; between two machines it is queued
JOB = "STEPLADDER_JOB"


def of(folder: Path) -> Json | None:
    """How the job that has the run in `folder` stands; None where none has it, or the record is damaged."""
    with suppress(Damaged):
        return read(folder)
    return None


def read(folder: Path) -> Json | None:
    """As `of`.

    Raises:
        Damaged: the record cannot be read; says the way out.
    """
    try:
        found = records.read(folder / PATH)
    except Damaged as error:
        way_out = f"`{command()} jobs` shows what runs; delete the file where no machine is at work for this run"
        raise Damaged(error.path, error.why, way_out) from None
    return found if found and found["state"] in STATES and not is_anothers(folder) else None


def is_anothers(folder: Path) -> bool:
    """Whether a copied folder holds the job of another run."""
    told = asked(folder)
    return (told.get("study", folder.parent.name), told.get("run", folder.name)) != (folder.parent.name, folder.name)


def asked(folder: Path) -> dict[str, Any]:
    """What the run in `folder` was launched for last (see `launch.job.Job`); empty where nothing tells."""
    with suppress(Damaged):
        return files.read_object(folder / FOLDER / "job.json") or {}
    return {}


def refusal(folder: Path) -> str | None:
    """Why the run in `folder` may not be walked here, and the way out; None where it may."""
    name = shlex.quote(f"{folder.parent.name}/{folder.name}")
    try:
        found = read(folder)
    except Damaged as error:
        return f"whether a job of another machine has run {name} cannot be told: {error}"
    if found is None or os.environ.get(JOB) == found["job"]:
        return None
    place = f" on {found['machine']}" if found.get("machine") else ""
    return (
        f"run {name} is {found['state']}{place}, launched from here: `{command()} jobs` shows it, "
        f"`{command()} stop {name}` ends it (it saves first)"
    )
