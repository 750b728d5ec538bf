"""The template as the study `discs`, in a copy of the project: walked to its end through a fault in every stage."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from tests import pipeline

ROOT = Path(__file__).parents[2]
RUN = ("run", "discs")


class Project:
    """A project folder of its own, with its code, and the run `discs/quick`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.run = Run(folder / "outputs" / "discs" / "quick", folder)

    def environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.folder / "lib"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return {
            **os.environ,
            **own,
            "STEPLADDER_ROOT": str(self.folder),
            "STEPLADDER_OUTPUTS": str(self.folder / "outputs"),
        }

    def start(self, *command: str) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([sys.executable, *command], cwd=self.folder, env=self.environment(), **pipes)

    def cli(self, *arguments: str) -> tuple[int, str]:
        """Exit code of a `stepladder` command, and what it said."""
        process = self.start("-m", "stepladder.cli", *arguments)
        said, _ = process.communicate(timeout=600)
        return process.returncode, said

    def states(self) -> str:
        """One letter per stage, as `stepladder status` shows it: done, stale, missing."""
        code, said = self.cli("status", "discs")
        row = next(line for line in said.splitlines() if "discs/quick" in line)
        cells = [cell.strip() for cell in row.split("│")]
        assert code == 0
        return "".join({"done": "d", "stale": "s", "-": "m"}.get(cell, "?") for cell in cells[4:11])

    def left(self) -> dict[str, str]:
        """Content of everything the run left but its logs."""
        logs = ("events.jsonl", "run.json")
        paths = [p for p in self.run.folder.rglob("*") if p.is_file() and ".lock" not in p.parts and p.name not in logs]
        paths = [path for path in paths if ".aside" not in path.as_posix()]
        return {path.relative_to(self.run.folder).as_posix(): files.file_sha256(path) for path in paths}


def kernel_of(process: subprocess.Popen) -> psutil.Process:
    """The kernel that runs the cells."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if any("ipykernel" in word for word in child.cmdline()))


def kill_kernel(process: subprocess.Popen) -> None:
    """As the out-of-memory killer does."""
    kernel_of(process).kill()


def send(signum: int) -> Callable[[subprocess.Popen], None]:
    """A signal to the runner."""
    return lambda process: process.send_signal(signum)


PREEMPTED, KILLED, GONE = ("preempted", 75), ("failed", 137), ("stale", -signal.SIGKILL)
FAULTS = dict(
    zip(
        (stage.name for stage in STAGES),
        [
            (send(signal.SIGTERM), PREEMPTED),
            (kill_kernel, KILLED),
            (send(signal.SIGINT), PREEMPTED),
            (send(signal.SIGKILL), GONE),
            (send(signal.SIGTERM), PREEMPTED),
            (send(signal.SIGHUP), PREEMPTED),
            (kill_kernel, KILLED),
        ],
        strict=True,
    )
)


def in_the_midst(run: Run, stage: str) -> bool:
    """Whether the third cell of the stage has begun, since it was last started."""
    begun = 0
    for event in run.events():
        if event["kind"] == "stage_start":
            begun = 0
        begun += event["kind"] == "cell_start" and event["stage"] == stage
    return begun >= 3


@dataclass
class Survived:
    """What became of a run: of every stage the state, the exit code and whether it left a result when it was cut."""

    project: Project
    cut: dict[str, tuple[str, int, bool]] = field(default_factory=dict)
    code: int | None = None
    said: str = ""


@pytest.fixture(scope="session")
def survived(tmp_path_factory) -> Survived:
    """The run, cut once in every stage and then let go on to its end."""
    folder = tmp_path_factory.mktemp("discs") / "project"
    for name in ("lib", "notebooks", "params"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    home = folder / "lib" / "stepladder" / "studies" / "discs"
    shutil.copytree(folder / "lib" / "stepladder" / "testing" / "template", home)
    shutil.move(home / "params", folder / "params" / "discs")
    for profile in (folder / "params" / "discs").glob("*.yaml"):
        profile.write_text(profile.read_text().replace("study: template", "study: discs"))
    found = Survived(Project(folder))
    run = found.project.run
    for stage, (fault, _) in FAULTS.items():
        process = found.project.start("-m", "stepladder.cli", *RUN)
        pipeline.wait_for(lambda: process.poll() is not None or in_the_midst(run, stage))  # noqa: B023
        fault(process)
        process.communicate(timeout=pipeline.PATIENCE)
        found.cut[stage] = (run.status()["state"], process.returncode, run.result(stage) is not None)
    found.code, found.said = found.project.cli(*RUN)
    return found
