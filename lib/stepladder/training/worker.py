"""The training process: `python -m stepladder.training.worker outputs/<study>/<run>`.

Decisions:
- Called plainly it is the agent: it starts torchrun with `training.processes` workers (also when that is one) and
  turns what became of them into a true exit code: 0 done, 143 preempted, 137 killed, 1 failed. Called by torchrun it is
  one worker. So one command does for a notebook, a terminal and a cluster's job script.
- A worker that a signal stops saves and exits 143, never 0: with 0 the other nodes would believe training complete.
- `05_training/outcome.json` says how it ended, and why, to whoever did not wait for it. The first to fail tells.
- Rank 0 tells when it starts, and on which device, whoever started it: progress and bill tell attempts apart by that.
- SIGTERM only raises a flag; the loop sees it after the step. A worker whose agent dies gets SIGTERM from Linux.
- Last comes `os._exit`: a loader process in the middle of a slow sample must not delay the end (it notices, and goes).
"""

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepladder.core import files, lock, records
from stepladder.core.config import check, read_yaml
from stepladder.core.errors import Damaged
from stepladder.core.provenance import environment
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.secrets import redact
from stepladder.core.stages import hidden, readable
from stepladder.data.loading import datasets
from stepladder.machine import oom, signals
from stepladder.training.setting import Setting

if TYPE_CHECKING:  # the agent trains nothing: it starts without the studies and their packages
    from stepladder.core.study import Study

DONE, FAILED, KILLED, PREEMPTED = 0, 1, 137, 143
SAVE_SECONDS = 600  # torchrun kills workers that take longer over SIGTERM; who started us decides what is too long
LINES = 20  # of a traceback kept in the outcome
PARENT = "STEPLADDER_PARENT"  # environment variable: pid of who started this process, where it is not to outlive that
# Rank 0 caches the store of the first rendezvous and never publishes it again, so a node that comes back cannot
# rejoin (pytorch #135712). The workers inherit it from the agent.
# SAVE_SECONDS go this way because torchrun has an option for them only since torch 2.13.
ENVIRONMENT = {
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SAVE_SECONDS),
}


def main(arguments: list[str] | None = None) -> None:
    """Entry of agent and workers; ends the process."""
    told = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m stepladder.training.worker", description=told)
    parser.add_argument(
        "run", type=Path, help="run folder, outputs/<study>/<run>"
    )  # torchrun would take a --run for its own
    parser.add_argument("parameters", type=Path, nargs="?", help="YAML of the parameters; the run's params.yaml")
    given = parser.parse_args(arguments)
    run = Run(given.run.resolve())
    parameters = given.parameters or run.folder / "params.yaml"
    code = work(run, parameters) if "RANK" in os.environ else lead(run, parameters)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def lead(run: Run, parameters: Path) -> int:
    """The agent: torchrun around `training.processes` workers; returns the exit code that tells how they ended."""
    if parent := os.environ.get(PARENT):
        signals.die_with_parent(signal.SIGTERM, int(parent))
    os.environ[PARENT] = str(os.getpid())
    run.refuse_claimed()
    with lock.hold(run.folder / "05_training", f"training of {run.study}/{run.name}"):
        return _lead(run, parameters)


def _lead(run: Run, parameters: Path) -> int:
    outcome_path(run).unlink(missing_ok=True)
    processes = read_yaml(parameters)["training"]["processes"]
    os.environ.update(ENVIRONMENT)

    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    own = ["-m", "stepladder.training.worker", str(run.folder), str(parameters)]
    options = ["--standalone", f"--nproc-per-node={processes}"]
    try:
        torchrun.run(torchrun.parse_args([*options, *own]))
        return DONE
    except SignalException:
        codes = {-signal.SIGTERM}
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
    return _judge(run, codes)


def _judge(run: Run, codes: set[int]) -> int:
    """Exit code of the whole from those of the failed workers; says so where no worker could."""
    if -signal.SIGKILL in codes or KILLED in codes:
        outcome_path(run).unlink(missing_ok=True)  # what the other ranks say is only that one is gone
        write_outcome(run, "failed", "a training process was killed (SIGKILL), perhaps for lack of memory")
        return KILLED
    by_state = {"done": DONE, "preempted": PREEMPTED, "failed": FAILED, "oom": FAILED}
    if told := outcome(run):
        return by_state.get(told["state"], FAILED)
    if codes & {-signal.SIGTERM, PREEMPTED}:
        write_outcome(run, "preempted", "stopped by a signal before training began")
        return PREEMPTED
    write_outcome(run, "failed", f"a training process ended with code {sorted(codes)}")
    return FAILED


def work(run: Run, parameters: Path) -> int:
    """One worker: train, and return the exit code."""
    parent = os.environ.pop(PARENT, "")  # a cluster's torchrun tells none
    signals.die_with_parent(signal.SIGTERM, int(parent) if parent else None)
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: told.append(signum))
    try:
        step = _train(run, parameters, lambda: bool(told))
        write_outcome(run, "done", f"all {step} steps are done")
        return DONE
    except signals.Preempted as stop:
        print(stop, flush=True)
        write_outcome(run, "preempted", str(stop))
        return PREEMPTED
    except Exception as error:
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        expected = isinstance(error, ValueError)
        reason = str(error) if expected else "\n".join(text.splitlines()[-LINES:])
        # Python's, torch's and a loader's way to say that memory ran out: by the name of the error, or in its text.
        for_memory = oom.said(f"{type(error).__name__}: {error}") is not None
        write_outcome(run, "oom" if for_memory else "failed", reason)
        return FAILED


def _train(run: Run, parameters: Path, stop: Any) -> int:
    import torch

    from stepladder.training.loop import Training
    from stepladder.training.parallel import DistributedContext

    study, params = read_parameters(run, parameters)
    training = in_force(run, params)
    if training.threads:
        torch.set_num_threads(training.threads)
    distributed = DistributedContext.join()
    try:
        print(f"rank {distributed.rank} of {distributed.world} on {distributed.device}", flush=True)
        if distributed.rank == 0:
            run.event("training_started", processes=distributed.world, device=environment().get("device"))
        return Training(run, study, params, training, datasets(run, study, params), distributed, stop).fit().step
    finally:
        if sys.exc_info()[0] is None:
            distributed.leave()  # after an error the others may never come


def read_parameters(run: Run, path: Path | None = None, stage: str = "05_training") -> "tuple[Study, Parameters]":
    """The study of a run, and what `stage` may read of the parameters in `path` (the run's `params.yaml`)."""
    from stepladder.core.study import find

    values = read_yaml(path or run.folder / "params.yaml")
    study = find(values["study"])
    return study, check(study.Params, values).only(readable(stage), hidden(stage))


def in_force(run: Run, params: Parameters) -> TrainingParams:
    """The training parameters, with the setting of `ladder.json` where there is one and the run obeys it."""
    chosen = run.chosen if params.training.use_ladder else None
    return Setting(**chosen).applied(params.training) if chosen else params.training


def outcome_path(run: Run) -> Path:
    """Where the end of a training is told."""
    return run.stage_folder("05_training") / "outcome.json"


def outcome(run: Run) -> dict[str, str]:
    """How a training has ended, `state` and `reason`; empty where nothing that can be read tells."""
    try:
        return records.read(outcome_path(run)) or {}
    except Damaged:
        return {}


def write_outcome(run: Run, state: str, reason: str) -> None:
    """Tell how training ended, unless another process has told already."""
    path = outcome_path(run)
    if not path.exists():
        files.write_json(path, {"state": state, "reason": redact(reason)})


if __name__ == "__main__":
    main()
