"""The ladder of a run: search the settings of its real training, write `ladder.json`, say what limits this machine.

    python -m stepladder.ladder.run_ladder outputs/<study>/<run>     the search alone, into 04_scaling/kept

Decisions:
- `ladder.json` holds what was measured, what was forecast and the chosen setting. A person may edit `chosen`;
  05_training obeys the file, and is stale when it changes.
- With several training processes one of them is measured, on its share of the CPUs and of the memory: each is to get
  what the chosen setting says. What they wait for each other is not in it.
- A notebook that has the search run on another machine reads it from there (`read`): the file says which machine was
  measured, and what it allows.
- Other models that `ladder.variants` names are measured at the chosen setting afterwards; nothing is chosen by them.
- Utilisation is reported against its target and never fails the stage: on a machine without an accelerator the best
  setting may well load in the training process itself. What fails the stage is that nothing runs, or memory that fills.
"""

import argparse
import math
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.config import ParameterError, merge
from stepladder.core.errors import Damaged
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.types import Check
from stepladder.ladder import search, variants
from stepladder.ladder.diagnosis import Diagnosis, diagnose
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.measure.runner import Runner
from stepladder.ladder.records import Candidate, Machine, SearchResult, read_search
from stepladder.machine import limits
from stepladder.training import worker

JOB = "stepladder.ladder.measure.study_job:open"


def run_ladder(
    run: Run,
    params: Parameters,
    folder: Path,
    trials: Path,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
) -> tuple[SearchResult, Diagnosis]:
    """Search the settings of the training of `run` and leave `ladder.json` in `folder`.

    Args:
        run: the run; its conversion is done.
        params: its parameters.
        folder: what the stage leaves.
        trials: where every trial leaves its specification, log and result, of a search that finds nothing too; those
            of an earlier search are removed.
        on_candidate: called with every candidate as soon as it is judged.
    """
    models = variants.combinations(params)  # refused before anything is measured
    shutil.rmtree(trials, ignore_errors=True)
    ladder, processes = params.ladder, params.training.processes
    allowed = limits.read()
    memory, cores = ladder.memory_fraction * allowed.memory_free / processes, allowed.cpus / processes
    runner = Runner()

    def measurer_of(model: Mapping[str, Any], number: int = 0) -> ProcessMeasurer:
        job = {"run": str(run.folder), "values": merge(params.model_dump(mode="json"), {"model": dict(model)})}
        place, batches = (trials / f"variant_{number}", ()) if number else (trials, ladder.batch)
        return ProcessMeasurer(JOB, job, place, ladder.seconds, memory, batches, runner, processes)

    measurer = measurer_of({})

    def told(candidate: Candidate) -> None:
        rate = candidate.rate if candidate.rate is None or math.isfinite(candidate.rate) else None
        run.event("rung", setting=str(candidate.setting), rate=rate, verdict=candidate.verdict, reason=candidate.reason)
        on_candidate(candidate)

    try:
        found = search.find_setting(measurer, ladder, params.training, cores, told)
        device = measurer.device_limit()
        found = replace(
            found,
            fake_bytes=measurer.fake_bytes(found.chosen) if found.chosen else None,
            device_limit=None if device is None else ladder.memory_fraction * device,
            machine=Machine(_device(), allowed),
        )
        if found.chosen:
            found = replace(found, variants=variants.measured(models, found.chosen, ladder, measurer_of))
    finally:
        runner.close()
    said = diagnose(found, ladder, cores)
    save(found, said, folder / "ladder.json")
    return found, said


def save(found: SearchResult, said: Diagnosis, path: Path) -> None:
    """Write `ladder.json`; numbers that are not finite become null."""
    files.write_json(path, {"chosen": found.chosen and asdict(found.chosen), **asdict(said), "climb": asdict(found)})


def read(path: Path) -> tuple[SearchResult, Diagnosis]:
    """What `save` has written.

    Raises:
        Damaged: there is no such search.
    """
    record = files.read_object(path) or {}
    try:
        said = Diagnosis(**{name: record[name] for name in ("limit", "stage", "sentence", "move")})
        return read_search(record["climb"]), said
    except (KeyError, TypeError) as error:
        raise Damaged(path, f"holds no search ({error})") from None


def checks(found: SearchResult) -> list[Check]:
    """The gates of the stage: a setting runs to its end, and nothing gives way when it runs for longer."""
    chosen = found.chosen is not None
    gates = [Check("a setting runs to its end", chosen, f"{found.chosen}: {found.why}" if chosen else found.why)]
    if found.soak:
        held = found.soak.verdict != "refused"
        gates.append(Check("it holds for longer", held, f"{found.soak.setting}: {found.soak.reason}"))
    return gates


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process that searches alone; exit code 143 where it was stopped by a signal."""
    parser = argparse.ArgumentParser(prog="python -m stepladder.ladder.run_ladder", description="Search settings.")
    parser.add_argument("run", type=Path, help="run folder, outputs/<study>/<run>")
    run = Run(parser.parse_args(arguments).run.resolve())
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(worker.PREEMPTED))
    kept = run.stage_folder("04_scaling") / "kept"
    try:
        run.refuse_claimed()
        _, params = worker.read_parameters(run, stage="04_scaling")
        _, said = run_ladder(run, params, kept, kept / "trials", lambda tried: print(tried.setting, tried.reason))
    except ParameterError as error:
        sys.exit(str(error))
    print(said.sentence)


def _device() -> str:
    """Name of the accelerator that torch finds; `cpu` without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
