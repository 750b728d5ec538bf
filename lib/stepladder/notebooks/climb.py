"""The search of 04 from its notebook: here, or on the machine that the parameters `launch` name.

Where it ran elsewhere, everything that the notebook shows is of that machine: its limits, its rates, its costs.
"""

from dataclasses import replace

from stepladder.ladder import run_ladder
from stepladder.ladder.diagnosis import Diagnosis
from stepladder.ladder.records import SearchResult
from stepladder.notebooks import lab, live


async def climb(stage: lab.StageContext) -> tuple[SearchResult, Diagnosis]:
    """Search the settings of the training and leave `ladder.json`; the logs of all trials stay in `kept/trials`.

    Raises:
        Preempted, TrainingFailed: the search on another machine did not come to its end.
    """
    if stage.launch.on is None:
        with live.interruptible():
            return run_ladder.run_ladder(stage.run, stage.params, stage.folder, stage.kept / "trials")
    from stepladder.launch import training

    job = training.search(stage.run, stage.params, stage.launch)
    await lab.follow(job, stage)
    print(f"searched on {job.state.machine}")
    found, said = run_ladder.read(stage.kept / "ladder.json")
    found = replace(found, machine=found.machine and replace(found.machine, name=job.state.machine or ""))
    run_ladder.save(found, said, stage.folder / "ladder.json")
    return found, said
