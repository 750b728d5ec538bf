"""Trainings in two processes of one group, many in a row, because each import of torch takes seconds.

`python -m tests.training.ranks FOLDER` is one of the processes: it makes the jobs of FOLDER/jobs.json in turn.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from stepladder import studies
from stepladder.core.run import Run
from stepladder.data import loading
from stepladder.data.sampling import slots
from stepladder.machine.signals import Preempted
from stepladder.training import contents, parallel, worker
from stepladder.training.loop import Training
from stepladder.training.parallel import DistributedContext
from stepladder.training.step import StepModule, make_train_state, train_step
from stepladder.training.trainable import set_trainable
from tests.training.networks import stage

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy"
SECONDS = 300


def in_two(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Make `jobs` in two processes; AssertionError with the log of one that fails."""
    folder.mkdir(parents=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join(map(str, (ROOT, *(p for p in sys.path if p))))
    command, children = [sys.executable, "-m", "tests.training.ranks", str(folder)], []
    for rank in range(2):
        with (folder / f"{rank}.log").open("w") as log:
            environment = {**os.environ, **place, "RANK": str(rank), "PYTHONPATH": path}
            children.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT))
    try:
        codes = [child.wait(SECONDS) for child in children]
    finally:
        for child in children:
            child.kill()
    assert codes == [0, 0], "\n".join((folder / f"{rank}.log").read_text()[-3000:] for rank in range(2))


def network_steps(job: dict[str, Any], distributed: DistributedContext) -> dict[str, Any]:
    """A few steps of a network's stage: losses, and the weights after them."""
    network, phase = stage(job["name"], job["phase"])
    values = {"batch": job["batch"], "accumulate": job["accumulate"], "shard": job["shard"], "learning_rate": 1e-3}
    training = network.params.training.model_copy(update=values)
    model, batch = network.model(), network.batch(job["batch"])
    if hasattr(network.study, "fit"):
        network.study.fit(phase, model, batch)
    set_trainable(model, phase)
    module = StepModule(network.study, model, phase)
    parallel.shard(module, training, distributed)
    train_state = make_train_state(parallel.replicate(module, distributed), model, training, 0, distributed)
    losses = []
    for step in range(job["steps"]):
        own = [
            slots(job["batch"], distributed.rank, distributed.world, m, job["accumulate"])
            for m in range(job["accumulate"])
        ]
        result = train_step(
            train_state, step, ({name: value[list(part)] for name, value in batch.items()} for part in own)
        )
        losses.append([float(distributed.total(result.loss.clone())), float(result.norm)])
    return {"losses": losses, "weights": contents.state_of(model, train_state)["model"]}


def training_of(run: Run, distributed: DistributedContext, until: int = 0) -> None:
    """A whole training of a run, or up to the checkpoint of step `until`."""
    study, params = worker.read_parameters(run)
    data = loading.datasets(run, study, params)
    job = Training(run, study, params, worker.in_force(run, params), data, distributed, lambda: 0 < until <= job.step)
    try:
        job.fit()
    except Preempted:
        assert until


def main(folder: Path) -> None:
    """One of the processes."""
    studies.__path__.append(str(TOY))
    torch.set_num_threads(1)
    distributed = DistributedContext.join()
    for number, job in enumerate(json.loads((folder / "jobs.json").read_text())):
        print(number, job, flush=True)  # which one it was that failed
        if "run" in job:
            training_of(Run(Path(job["run"])), distributed, job.get("until", 0))
        else:
            found = network_steps(job, distributed)
            if distributed.first:
                torch.save(found, folder / f"{number}.pt")
    distributed.leave()
    # What is asked is done and written. Threads of torch's own may still end while the interpreter does, which aborts
    # the process once in many hundred times ("terminate called without an active exception").
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
