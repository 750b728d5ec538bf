"""Memory that runs out in the step, in a loader process, in backward, by fragmentation: survived, named, given back?

Every fault is a trial of the ladder's own runner. After each the runner's warm process is alive, a healthy trial ends
well, and the card has as much memory free as before.
"""

import os
from typing import Any

import torch

from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.measure.runner import Runner
from stepladder.training.setting import Setting
from tests.gpu import place as p

FAULTS = {"main": "step", "worker": "full", "backward": "step", "fragmentation": "step"}
ON_CPU = ("main", "worker")
BACK = 64e6  # bytes that may be missing afterwards: a driver's own small change
HOST = 1.2e10  # bytes of the machine a trial may take
PASSES = 4


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Per fault: how it was told, why, and what is missing afterwards."""
    os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:False"  # which would mend what is to break here
    runner, figures, checks = Runner(), {}, []
    try:
        begin = trial(place, runner, "none", "step")
        checks.append(p.Check("a healthy trial", begin.ending == "ok", begin.reason))
        before, warm = free(place), runner.warm_pid
        wanted = [name for name in FAULTS if place.cuda or name in ON_CPU]
        for fault in place.in_time(wanted):
            found = trial(place, runner, fault, FAULTS[fault])
            after = trial(place, runner, "none", "step")
            missing = before - free(place)
            figures[fault] = {"ending": found.ending, "reason": found.reason, "missing_mb": missing / 1e6}
            checks += [
                p.Check(f"{fault}: told as oom", found.ending == "oom", f"{found.ending}: {found.reason}"),
                p.Check(f"{fault}: goes on", after.ending == "ok" and runner.warm_pid == warm, after.reason),
            ]
            if place.cuda:
                checks.append(p.Check(f"{fault}: given back", missing <= BACK, f"{missing / 1e6:.0f} MB are missing"))
    finally:
        runner.close()
    return figures, [p.Check("all faults tried", len(figures) == len(wanted), ", ".join(figures)), *checks]


def trial(place: p.Place, runner: Runner, fault: str, probe: str) -> Any:
    """One trial of the job with `fault`."""
    folder = place.folder / "trials" / fault
    measurer = ProcessMeasurer("tests.gpu.jobs:open", {"fault": fault}, folder, 60.0, HOST, runner=runner)
    setting = Setting(batch=1, workers=1 if fault == "worker" else 0)
    return measurer.full(setting, PASSES) if probe == "full" else measurer.step(setting, PASSES)


def free(place: p.Place) -> int:
    """Free bytes of the card; 0 without one."""
    return torch.cuda.mem_get_info()[0] if place.cuda else 0
