"""The runs behind a scaling law: every size with every data size, each a JSON file beside the others.

Decisions:
- The profile says what is run (`ladder.scaling`); sizes and data sizes are refused by name before anything trains.
- A run is a process of its own, `processes` of them side by side, so that a crash or a lack of memory costs one run.
- A run's file is written when the run is over, and carries the hash of what decides it (parameters, data, code). Kill
  the grid and run it again: what is there with the same hash is kept, what is missing or different runs.
- A run that fails has no file. It is told with its last words, the others go on, and it is tried again next time.
- The largest runs go first: at the end no core waits for a long one.
"""

import multiprocessing
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from stepladder import studies
from stepladder.core import closure, files
from stepladder.core.config import ParameterError, check, nearest
from stepladder.core.run import Run
from stepladder.core.schema import Parameters, ScalingParams
from stepladder.core.study import Study, find
from stepladder.core.types import Dataset
from stepladder.cost.project import training_flops
from stepladder.data import loading
from stepladder.machine import limits, signals
from stepladder.scaling.trial import Schedule, Subset, metric_names, train
from stepladder.training import schedule
from stepladder.training.smoke import batch as plain_batch

BEYOND = "beyond"  # name of the size outside the grid
SHAPING = ("batch", "learning_rate", "weight_decay", "warmup", "clip_norm", "precision")  # of training, in a run here
TRIAL = "stepladder.scaling.trial"


@dataclass(frozen=True)
class Job:
    """One run: a size, a number of units of data, its budgets, and the file its losses go to."""

    run: Path
    values: dict[str, Any]
    size: str
    model: dict[str, Any]
    units: int
    budgets: tuple[int, ...]
    path: Path
    key: str

    @property
    def name(self) -> str:
        """The name of the run in tables and file names."""
        return f"{self.size} x {self.units}"

    def record(self) -> dict[str, Any] | None:
        """What the run left; None where it has to run."""
        found = files.read_json(self.path)
        return found if found and found["key"] == self.key else None


@dataclass(frozen=True)
class Plan:
    """Everything a scaling law asks for.

    Attributes:
        study: whose runs they are.
        wanted: the profile's section.
        sizes: name -> parameters that learn, in the order of the profile.
        jobs: the grid.
        beyond: the run outside it, of the longest budget alone.
        beyond_parameters: parameters of that run that learn.
    """

    study: Study
    wanted: ScalingParams
    sizes: dict[str, int]
    jobs: tuple[Job, ...]
    beyond: Job
    beyond_parameters: int


def plan(run: Run, params: Parameters, folder: Path) -> Plan:
    """The runs that `params.ladder.scaling` asks for.

    Raises:
        ParameterError: a size the model refuses, more data than there is, an unknown metric, a budget or number of
            units twice, or a run beyond that lies inside the grid.
    """
    study, wanted = find(params.study), params.ladder.scaling
    assert wanted is not None, "no scaling law is asked for"
    data, cases = datasets(run, study, params)
    sizes = {name: resized(study, params, model, name) for name, model in wanted.sizes.items()}
    outside = resized(study, params, wanted.beyond_model, BEYOND)
    for units in (*wanted.units, wanted.beyond_units):
        Subset(data, units, params.seed)
    known = metric_names(study, params, cases)
    for metric in wanted.metrics:
        if metric not in known:
            raise ParameterError(f"ladder.scaling.metrics: no metric {metric!r}{nearest(metric, known)}")

    # Everything that decides the losses of a run: its record is good as long as none of it changes.
    decides = [params.seed, schedule.data(run), code(study.name)]
    decides += [wanted.cooldown, wanted.seconds, wanted.samples]
    decides.append(params.evaluation.model_dump(exclude={"samples", "bootstrap", "confidence"}))
    decides += [getattr(params.training, name) for name in SHAPING]

    values = params.model_dump(mode="json")

    def job(size: str, changed: Parameters, units: int, budgets: Sequence[int]) -> Job:
        model = changed.model.model_dump()
        key = files.fingerprint([model, units, budgets, decides])
        return Job(run.folder, values, size, model, units, tuple(budgets), folder / f"{size}_{units}.json", key)

    counts = {name: learning(study, changed) for name, changed in sizes.items()}
    beyond = learning(study, outside)
    _check_grid(wanted, counts, beyond)
    order = sorted(sizes, key=lambda name: -counts[name])
    jobs = [job(name, sizes[name], units, wanted.budgets) for name in order for units in sorted(wanted.units)[::-1]]
    last = job(BEYOND, outside, wanted.beyond_units, [max(wanted.budgets)])
    return Plan(study, wanted, counts, tuple(jobs), last, beyond)


def _check_grid(wanted: ScalingParams, counts: dict[str, int], beyond: int) -> None:
    """Refuse a grid with a line twice, and a test of it that is no test."""
    for name in ("units", "budgets"):
        values = getattr(wanted, name)
        if len(set(values)) < len(values):
            raise ParameterError(f"ladder.scaling.{name} = {values} names one twice")
    if beyond <= max(counts.values()) and wanted.beyond_units <= max(wanted.units):
        raise ParameterError(
            f"the run beyond ({beyond:,} parameters, {wanted.beyond_units} units) lies inside the grid (up to "
            f"{max(counts.values()):,} and {max(wanted.units)}): raise ladder.scaling.beyond_model or beyond_units"
        )


def resized(study: Study, params: Parameters, model: dict[str, Any], size: str) -> Parameters:
    """`params` with the overrides of a size; an error names the size and the parameter."""
    values = params.model_dump()
    values["model"] = values["model"] | model
    try:
        return check(study.Params, values)
    except ParameterError as error:
        raise ParameterError(f"size {size!r} of ladder.scaling: {error}") from None


def learning(study: Study, params: Parameters) -> int:
    """Parameters that learn in the first stage of training."""
    prefixes = tuple(study.phases(params)[0].trainable)
    return sum(p.numel() for name, p in study.model(params).named_parameters() if name.startswith(prefixes))


def code(study: str) -> str:
    """Hash of the code that decides what a run of the grid reaches."""
    return files.fingerprint(closure.of_modules(TRIAL, f"stepladder.studies.{study}.study"))


def datasets(run: Run, study: Study, params: Parameters) -> tuple[Dataset, Dataset]:
    """Training samples, and the validation cases that runs are scored on."""
    train_samples, _, cases = loading.datasets(run, study, params)
    return train_samples, cases


def runs(jobs: Sequence[Job], processes: int) -> Iterator[dict[str, Any]]:
    """Run what is missing, each in a process of its own; records as they come, `{"name", "failed"}` of those without.

    When the caller stops early, so do the processes.
    """
    found = [job.record() for job in jobs]
    missing = [job for job, record in zip(jobs, found, strict=True) if record is None]
    yield from filter(None, found)
    context = multiprocessing.get_context("forkserver")
    threads = max(1, int(limits.cpus() // processes))
    if missing:  # imports are paid once, not by every run
        context.set_forkserver_preload([__name__, f"{studies.__name__}.{missing[0].run.parent.name}.study"])
    running: dict[BaseProcess, Job] = {}
    try:
        while missing or running:
            while missing and len(running) < processes:
                job = missing.pop(0)
                child = context.Process(target=_work, args=(job, threads))
                child.start()
                running[child] = job
            # Sleeps until at least one run ends; then the finished ones make room.
            wait([child.sentinel for child in running])
            for child in [child for child in running if child.exitcode is not None]:
                yield _ended(running.pop(child), child)
    finally:
        for child in running:
            child.kill()
            child.join()


def measure(job: Job) -> None:
    """Train one job in this process and write its record."""
    run = Run(job.run)
    study = find(job.values["study"])
    params = resized(study, check(study.Params, job.values), job.model, job.size)
    wanted = params.ladder.scaling
    assert wanted is not None, "a run of no scaling law"
    data, cases = datasets(run, study, params)
    data = Subset(data, job.units, params.seed)
    # Operations of one sample, counted once: a point's compute is its samples times this.
    each, _ = training_flops(study, params, plain_batch(data, 2))
    cut = Schedule(job.budgets, wanted.cooldown, wanted.seconds, wanted.samples)
    points = [{**point, "flops": point["samples"] * each} for point in train(study, params, data, cases, cut)]
    record = {
        "key": job.key,
        "name": job.name,
        "size": job.size,
        "units": job.units,
        "parameters": learning(study, params),
        "training_samples": len(data),
        "flops_per_sample": each,
        "points": points,
    }
    files.write_json(job.path, record)


def _work(job: Job, threads: int) -> None:
    """The body of a run's process: Ctrl-C is for the parent, which ends us."""
    signals.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _log(job).unlink(missing_ok=True)
    try:
        measure(job)
    except Exception:
        files.write_text(_log(job), traceback.format_exc())
        raise SystemExit(1) from None


def _ended(job: Job, child: BaseProcess) -> dict[str, Any]:
    """The record of a process that ended, or why there is none."""
    child.join()
    found = job.record()
    if found is not None:
        return found
    status = child.exitcode or 0
    if status < 0:
        words = f"killed ({signal.Signals(-status).name}), perhaps for lack of memory"
    else:
        words = _log(job).read_text(encoding="utf-8").strip().splitlines()[-1][:300]
    return {"name": job.name, "failed": words}


def _log(job: Job) -> Path:
    return job.path.with_suffix(".error")
