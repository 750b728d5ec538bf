"""The ladder of a run: search the settings of its real training, write `ladder.json`, say what limits this machine.

Decisions:
- `ladder.json` holds what was measured, what was forecast and the chosen setting. A person may edit `chosen`;
  05_training obeys the file, and is stale when it changes.
- Utilisation is reported against its target and never fails the stage: on a machine without an accelerator the best
  setting may well load in the training process itself. What fails the stage is that nothing runs, or memory that fills.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.types import Check
from stepladder.ladder import search
from stepladder.ladder.diagnosis import Diagnosis, diagnose
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.records import Candidate, SearchResult
from stepladder.machine import limits

JOB = "stepladder.ladder.measure.study_job:open"


def run_ladder(
    run: Run, params: Parameters, folder: Path, on_candidate: Callable[[Candidate], None] = lambda candidate: None
) -> tuple[SearchResult, Diagnosis]:
    """Search the settings of the training of `run` and leave `ladder.json` beside `folder`.

    Args:
        run: the run; its conversion is done.
        params: its parameters.
        folder: where every trial leaves its specification, log and result.
        on_candidate: called with every candidate as soon as it is judged.
    """
    ladder = params.ladder
    memory = ladder.memory_fraction * limits.memory_free()
    job = {"run": str(run.folder), "values": params.model_dump(mode="json")}
    measurer = ProcessMeasurer(JOB, job, folder, ladder.seconds, memory, ladder.batch)

    def told(candidate: Candidate) -> None:
        rate = candidate.rate if candidate.rate is None or math.isfinite(candidate.rate) else None
        run.event("rung", setting=str(candidate.setting), rate=rate, verdict=candidate.verdict, reason=candidate.reason)
        on_candidate(candidate)

    try:
        found = search.find_setting(measurer, ladder, params.training, limits.cpus(), told)
        device = measurer.device_limit()
        found = replace(
            found,
            fake_bytes=measurer.fake_bytes(found.chosen) if found.chosen else None,
            device_limit=None if device is None else ladder.memory_fraction * device,
        )
    finally:
        measurer.close()
    said = diagnose(found, ladder, limits.cpus())
    save(found, said, folder.parent / "ladder.json")
    return found, said


def save(found: SearchResult, said: Diagnosis, path: Path) -> None:
    """Write `ladder.json`; numbers that are not finite become null."""
    files.write_json(path, {"chosen": found.chosen and asdict(found.chosen), **asdict(said), "climb": asdict(found)})


def checks(found: SearchResult) -> list[Check]:
    """The gates of the stage: a setting runs to its end, and nothing gives way when it runs for longer."""
    chosen = found.chosen is not None
    gates = [Check("a setting runs to its end", chosen, f"{found.chosen}: {found.why}" if chosen else found.why)]
    if found.soak:
        held = found.soak.verdict != "refused"
        gates.append(Check("it holds for longer", held, f"{found.soak.setting}: {found.soak.reason}"))
    return gates
