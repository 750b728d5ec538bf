"""A training killed by SIGKILL and resumed, beside two that were not: are the weights the same, bit for bit?

Where two undisturbed trainings already differ, the card's kernels are to blame and not the checkpoint: then the resumed
one must lie as near as they do, and it is said which kernels torch calls nondeterministic and which switch helps.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import yaml
from torch import Tensor

from stepladder.core import files
from stepladder.core.config import dump, merge
from stepladder.core.run import Run
from stepladder.ladder.measure.study_job import StudyJob
from stepladder.machine import limits
from stepladder.training import checkpoint
from stepladder.training.setting import Setting
from stepladder.training.step import train_step
from tests.gpu import place as p
from tests.gpu.parts.precision import made

WALKS = 4
STEPS, EVERY = 400, 50
TINY_STEPS, TINY_EVERY = 24, 6
AS_NEAR = 10  # times the difference of two undisturbed trainings that a resumed one may have
DATA = "_data"  # of a study, for all its runs
LEAVE = shutil.ignore_patterns("05_*", "06_*", "07_*", "checkpoints", "metrics.jsonl", "*.html")
REPEATED = 20  # steps that are made twice to find out which switch helps


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Per study: differences of weights, and what breaks bit-exactness."""
    figures, checks = {}, []
    for study in place.in_time(place.studies):
        figures[study], check = one(place, study)
        checks.append(check)
    done = len(figures) == len(place.studies)
    return figures, [p.Check("all studies", done, ", ".join(figures)), *checks]


def one(place: p.Place, study: str) -> tuple[dict[str, Any], p.Check]:
    """Three trainings of one study, one of them killed."""
    whole, again, killed = (copied(place, study, name) for name in ("whole", "again", "killed"))
    steps = STEPS if place.cuda else TINY_STEPS
    undisturbed = [started(whole)] + ([started(again)] if place.cuda else [])
    victim = started(killed)
    reached = kill(killed, victim)
    for child in (*undisturbed, started(killed)):
        p.finish(child, f"training of {study}")
    resumed = [event["step"] for event in killed.events("resumed")]
    ours = apart(whole, killed, steps)
    natural = apart(whole, again, steps) if place.cuda else 0.0
    found = {"killed after": reached, "resumed at": resumed, "apart": ours, "undisturbed apart": natural}
    if ours:
        found["kernels"], found["exact with"] = blame(place, study)
    exact = "bit-exact" if not ours else f"{ours:.1e} apart, {natural:.1e} without a kill; {found.get('kernels')}"
    ok = bool(resumed) and (ours == 0 or ours <= AS_NEAR * natural)
    return found, p.Check(f"{study}: resumed", ok, f"killed after step {reached}, resumed at {resumed}; {exact}")


def copied(place: p.Place, study: str, name: str) -> Run:
    """A copy of the smoke run before its training, with more steps to be killed in."""
    source = place.shards(study, "1-4").folder
    run = Run(place.outputs / study / name, p.ROOT)
    shutil.rmtree(run.folder, ignore_errors=True)
    shutil.copytree(source, run.folder, ignore=LEAVE)
    steps, every = (STEPS, EVERY) if place.cuda else (TINY_STEPS, TINY_EVERY)
    data = place.outputs / study / DATA
    if source.parent != place.outputs / study and not data.exists():
        data.symlink_to(source.parent / DATA)  # the shards, which are only read
    values = yaml.safe_load((source / "params.yaml").read_text())
    training = {"steps": steps, "checkpoint_every": every, "validate_every": steps, "keep": 100}
    files.write_text(run.folder / "params.yaml", dump(merge(values, {"run": name, "training": training})))
    return run


def started(run: Run) -> "subprocess.Popen[str]":
    """The training process of a run."""
    command = [sys.executable, "-m", "stepladder.training.worker", str(run.folder)]
    return subprocess.Popen(command, cwd=p.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill(run: Run, child: "subprocess.Popen[str]") -> int:
    """SIGKILL for all processes of a training once it has saved twice; the step it had reached."""
    while child.poll() is None and len(checkpoint.committed(run.checkpoints)) < 2:
        time.sleep(0.005)
    for pid in limits.family(child.pid) if child.poll() is None else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.communicate()
    return max((line["step"] for line in run.metrics()), default=0)


def apart(one: Run, other: Run, steps: int) -> float:
    """Largest difference of the weights after the last step, relative to the largest weight; 0 for equal bits."""
    a, b = (dict(tensors(checkpoint.read(run.checkpoints, steps)["model"])) for run in (one, other))
    assert a.keys() == b.keys(), "the checkpoints hold other weights"
    if all(torch.equal(a[name], b[name]) for name in a):
        return 0.0
    largest = max(float(value.abs().max()) for value in a.values())
    return max(float((a[name] - b[name]).abs().max()) for name in a) / largest


def tensors(state: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """All tensors of numbers in a model's state, on the CPU."""
    for name, value in state.items():
        if isinstance(value, Tensor) and value.numel():
            yield name, value.detach().cpu().double()


def blame(place: p.Place, study: str) -> tuple[list[str], str]:
    """The kernels that torch names as nondeterministic, and the first switch under which two runs are equal."""
    job = place.job(study)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        steps(place, study, job, 1, deterministic=True)
    kernels = sorted({str(one.message).split(" does not")[0][:80] for one in told if "determin" in str(one.message)})
    switches = {
        "nothing": {},
        "cudnn.deterministic": {"cudnn": True},
        "deterministic algorithms": {"deterministic": True},
    }
    for name, switch in switches.items():
        if torch.equal(*(steps(place, study, job, REPEATED, **switch) for _ in range(2))):
            return kernels, name
    return kernels, "none of them"


def steps(
    place: p.Place, study: str, job: StudyJob, count: int, cudnn: bool = False, deterministic: bool = False
) -> Tensor:
    """All weights after some steps under a switch, in one tensor."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = cudnn
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        batches = made(job, place.batch(study))
        state = job.train_state(Setting(batch=place.batch(study)))
        for number in range(count):
            train_step(state, number, [batches[number % 2]])
        return torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])
    finally:
        torch.backends.cudnn.deterministic = before
        torch.use_deterministic_algorithms(False)
