"""A sixth study is two folders and nothing else, and the road survives a fault in each of its stages.

The template walks the whole road in a copy of the project. While each stage runs, something is killed: the next call
goes on from there, and the end is what it would have been.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.stages import STAGES
from tests import pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    """A copy of the project in which the template has become the study `discs`."""
    copy = tmp_path / "project"
    for folder in ("lib", "notebooks", "params"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    template = copy / "lib" / "stepladder" / "testing" / "template"
    shutil.copytree(template, copy / "lib" / "stepladder" / "studies" / "discs")
    shutil.move(copy / "lib" / "stepladder" / "studies" / "discs" / "params", copy / "params" / "discs")
    for profile in (copy / "params" / "discs").glob("*.yaml"):
        profile.write_text(profile.read_text().replace("study: template", "study: discs"))
    return copy


def start(project: Path) -> subprocess.Popen:
    """`stepladder run discs` in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(project / "lib"), "OMP_NUM_THREADS": "1"}
    environment |= {"STEPLADDER_ROOT": str(project), "STEPLADDER_OUTPUTS": str(project / "outputs")}
    command = [sys.executable, "-m", "stepladder.cli", "run", "discs"]
    with (project / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)


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


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("template")
def test_the_template_becomes_a_study_and_walks_on_after_a_fault_in_every_stage(project):
    run = Run(project / "outputs" / "discs" / "quick")
    for stage, (fault, (state, code)) in FAULTS.items():
        process = start(project)
        pipeline.wait_for(lambda: process.poll() is not None or in_the_midst(run, stage))  # noqa: B023
        fault(process)
        assert process.wait(pipeline.PATIENCE) == code, (project / "log.txt").read_text()[-3000:]
        assert run.status()["state"] == state, run.status()
        assert run.result(stage) is None, f"{stage} was cut and yet left a result"

    process = start(project)
    assert process.wait(2 * pipeline.PATIENCE) == 0, (project / "log.txt").read_text()[-3000:]
    assert run.status()["state"] == "done"
    metrics = files.read_json(run.folder / "06_evaluation" / "result.json")["metrics"]
    assert metrics["model"]["IoU"] > metrics["all_background"]["IoU"]
    assert (run.folder / "report.html").exists()


def in_the_midst(run: Run, stage: str) -> bool:
    """Whether the third cell of the stage has begun, since it was last started."""
    begun = 0
    for event in run.events():
        if event["kind"] == "stage_start":
            begun = 0
        begun += event["kind"] == "cell_start" and event["stage"] == stage
    return begun >= 3
