"""The search on four sleep-emulated jobs with real loader processes, against the best cell of the grid.

Run `python tests/benchmarks/bench_emulated.py`. The grid is 7 numbers of workers x 4 batches, 40 steps a cell. It is
not run whole (93 to 376 s a job): its cost is steps over the theoretical rate of each cell, and its best cell is the
theoretical one, measured here over 80 steps and more beside the chosen one. Every trial is a process of its own, as for
a user; its cost is the trial's wall clock, start included. The record is tests/benchmarks/records/emulated.json.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ladder"))

from emulated import BATCHES, JOBS, WORKERS, Times

from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.dev import records
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.search import find_setting
from stepladder.training.setting import Setting

GRID_STEPS, CHECK_STEPS = 40, 80
LADDER = LadderParams(workers=WORKERS, batch=BATCHES, keep_global_batch=False, soak=20)


def main() -> None:
    """Measure, print, record."""
    rows = []
    for name in JOBS:
        rows.append(measure(name))
        print(rows[-1], flush=True)
    records.write(
        __file__, Path(__file__).with_name("records") / "emulated.json", {"grid_steps": GRID_STEPS, "jobs": rows}
    )


def measure(name: str) -> dict[str, Any]:
    """One job: what was chosen, how fast it is, and what finding it cost."""
    times = JOBS[name]
    with tempfile.TemporaryDirectory() as folder:
        measurer = ProcessMeasurer("emulated:job", {"name": name}, Path(folder), 60.0, 4e9)
        found = find_setting(measurer, LADDER, TrainingParams(steps=1000), cores=64.0)
        best = best_setting(times)
        checks = {setting: measurer.full(setting, CHECK_STEPS, whole=True) for setting in (found.chosen, best)}
        measurer.close()
    soak = found.soak.trial.seconds if found.soak else 0.0
    grid = grid_seconds(times)
    return {
        "job": name,
        "chosen": str(found.chosen),
        "best": str(best),
        "chosen_rate": checks[found.chosen].probe.rate,
        "best_rate": checks[best].probe.rate,
        "share_of_best": checks[found.chosen].probe.rate / checks[best].probe.rate,
        "full_trials": len(found.rungs),
        "forecast_errors": [r.rate / r.forecast.rate - 1 for r in found.rungs if r.rate],
        "search_s": found.seconds - soak,
        "soak_s": soak,
        "grid_s": grid,
        "cost": (found.seconds - soak) / grid,
        "cost_with_soak": found.seconds / grid,
    }


def best_setting(times: Times) -> Setting:
    """The fastest cell in theory; of equals, the one with most workers, which suffers least from uneven samples."""
    settings = [Setting(workers, batch) for workers in WORKERS for batch in BATCHES]
    return max(settings, key=lambda setting: (times.rate(setting), setting.workers))


def grid_seconds(times: Times) -> float:
    """Seconds of the whole grid: two rounds of warming up and `GRID_STEPS` a cell, without starting any process."""
    return sum(
        (GRID_STEPS + 2 * max(1, workers)) * batch / times.rate(Setting(workers, batch))
        for workers in WORKERS
        for batch in BATCHES
    )


if __name__ == "__main__":
    main()
