"""A run folder for the toy study, and ways to train it: in this process, in a worker, or through the launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from stepladder import studies
from stepladder.core.config import check, merge
from stepladder.core.run import Run
from stepladder.core.stages import before
from stepladder.core.study import find
from stepladder.core.types import ShardContent
from stepladder.data import loading, shards
from stepladder.training import worker
from stepladder.training.loop import Training

TOY = Path(__file__).parent / "toy"
QUICK = {
    "study": "toy",
    "training": {
        "steps": 30,
        "batch": 4,
        "warmup": 3,
        "ema": 0.9,
        "validate_every": 7,
        "checkpoint_every": 5,
        "validation_batches": 1,
        "threads": 1,
    },
}


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The toy study is found here and by child processes."""
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(TOY)])
    library = Path(studies.__file__).parents[2]  # of this checkout, whichever is installed
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TOY, library))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(find("toy"), "validations", 0, raising=False)  # it counts them, whoever trains
    torch.set_num_threads(1)


@pytest.fixture
def make_run(tmp_path):
    """`make_run(name, {"training": {...}})`: a run of the toy study, or the `study` in the values, ready to train."""

    def make(name="run", values=None):
        values = merge(QUICK, {"run": name}, values or {})
        run = Run(tmp_path / values["study"] / name)
        params = check(find(values["study"]).Params, values)
        run.begin(params)
        for asset in ("train", "validation"):
            shards.write(run.data / f"{asset}.h5", ShardContent({"x": np.zeros(1)}), recipe="r")
        result = {
            "shards": {"t": "_data/train.h5", "v": "_data/validation.h5"},
            "splits": {"train": ["t"], "validation": ["v"], "test": []},
        }
        for part in before("05_training"):
            run.finish_stage(part.name, params, [], **(result if part.name == "02_conversion" else {}))
        return run

    return make


def train_here(run, stop=lambda: False):
    """Train in this process; returns the finished Training."""
    study, params = worker.read_parameters(run)
    data = loading.datasets(run, study, params)
    job = Training(run, study, params, worker.in_force(run, params), data, stop=stop)
    job.fit()
    return job


def begin_worker(run, **environment):
    """Start one training process without an agent."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", **environment}
    return _begin(run, alone)


def begin_job(run, **environment):
    """Start an agent with its training processes, as a terminal would."""
    return _begin(run, environment)


def _begin(run, environment):
    command = [sys.executable, "-m", "stepladder.training.worker", str(run.folder)]
    environment = {**os.environ, **environment}
    with (run.stage_folder("05_training") / "train.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def log_of(run):
    """What the training processes of a run printed."""
    return (run.folder / "05_training" / "train.log").read_text()


def wait_for_step(run, step, child, seconds=120):
    """Wait until the metrics of a run tell of `step`."""
    end = time.monotonic() + seconds
    while max([m["step"] for m in run.metrics()], default=0) < step:
        assert child.poll() is None, f"ended with {child.returncode}: {log_of(run)}"
        assert time.monotonic() < end, log_of(run)
        time.sleep(0.005)


def kill_all(child):
    """SIGKILL a training process and its loaders."""
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def weights(run):
    """All tensors of the newest checkpoint."""
    newest = sorted(run.checkpoints.glob("step_*/COMMITTED"))[-1].parent
    return torch.load(newest / "state.pt", weights_only=True)


def flat(state):
    """name -> tensor of everything in a checkpoint."""
    if isinstance(state, torch.Tensor):
        return {"": state}
    if isinstance(state, dict):
        return {f"{k}/{name}": v for k, item in state.items() for name, v in flat(item).items()}
    return {}


def untimed(run):
    """Metrics without what the clock decides."""
    from stepladder.training.tracking import WALL

    return [{k: v for k, v in record.items() if k not in WALL} for record in run.metrics()]
