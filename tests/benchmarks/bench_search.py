"""The search on 200 simulated jobs, beside the grid and the ways peers search.

Run `python tests/benchmarks/bench_search.py`. No clock is read: the jobs are discrete-event simulations with noise,
outliers, contention and memory edges (tests/ladder/simulated.py), and the true rate of every cell is known without
noise. Costs are simulated seconds, start-up of every trial included, against a grid of 100 steps a cell. The record is
tests/benchmarks/records/search.json.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ladder"))

from simulated import Job, SimulatedMeasurer, params

from stepladder.dev import records
from stepladder.ladder.search import find_setting
from stepladder.training.setting import Setting

JOBS = 200
GRID_STEPS, SHORT_GRID_STEPS = 100, 40
Search = Callable[[SimulatedMeasurer], tuple[Setting | None, float]]  # chosen, and seconds that were a soak


def main() -> None:
    """Measure, print, record."""
    methods: dict[str, Search] = {
        "stepladder, jump": jump,
        "Lightning: batch doubled until out of memory, 4 workers": doubling,
        "hill climb: workers, then batch, doubled while it helps": hill_climb,
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    skipped = 0
    for seed in range(JOBS):
        job = Job.draw(seed)
        truth = {setting: job.true_rate(setting) for setting in job.settings()}
        if not max(truth.values()):
            skipped += 1
            continue
        for name, method in methods.items():
            results[name].append(measure(job, truth, method))
    record = {"jobs": JOBS, "nothing_fits": skipped, "grid_steps": GRID_STEPS}
    record["methods"] = {name: summary(rows) for name, rows in results.items()}
    for name, row in record["methods"].items():
        print(name, row)
    records.write(__file__, record)


def measure(job: Job, truth: dict[Setting, float], method: Search) -> dict[str, float]:
    """One job, one method."""
    measurer = SimulatedMeasurer(job)
    chosen, soak = method(measurer)
    grid = grid_seconds(job, truth, GRID_STEPS)
    return {
        "share": truth.get(chosen, 0.0) / max(truth.values()),
        "cost": measurer.spent / grid,
        "cost_without_soak": (measurer.spent - soak) / grid,
        "cost_of_short_grid": measurer.spent / grid_seconds(job, truth, SHORT_GRID_STEPS),
        "trials": measurer.trials,
        "ooms": measurer.ooms,
    }


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """What the table says of one method."""
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {
        "jobs_at_95_percent": float((column["share"] >= 0.95).mean()),
        "jobs_at_90_percent": float((column["share"] >= 0.90).mean()),
        "mean_share_of_best": float(column["share"].mean()),
        "median_cost": float(np.median(column["cost"])),
        "p90_cost": float(np.quantile(column["cost"], 0.9)),
        "median_cost_without_soak": float(np.median(column["cost_without_soak"])),
        f"median_cost_of_{SHORT_GRID_STEPS}_step_grid": float(np.median(column["cost_of_short_grid"])),
        "mean_trials": float(column["trials"].mean()),
        "ooms_per_job": float(column["ooms"].mean()),
    }


def grid_seconds(job: Job, truth: dict[Setting, float], steps: int) -> float:
    """Seconds of a trial of every cell; a cell that does not fit costs its start-up and a second."""
    seconds = 0.0
    for setting, rate in truth.items():
        passes = steps + 2 * max(1, setting.workers)
        seconds += job.start_up + 0.05 * setting.workers + (passes * setting.batch / rate if rate else 1.0)
    return seconds


def jump(measurer: SimulatedMeasurer) -> tuple[Setting | None, float]:
    """Ours."""
    ladder, training = params(measurer.job)
    found = find_setting(measurer, ladder, training, measurer.job.cores)
    return found.chosen, found.soak.trial.seconds if found.soak else 0.0


def doubling(measurer: SimulatedMeasurer) -> tuple[Setting | None, float]:
    """The largest power of two that ran three steps: what a batch-size finder does, which never looks at speed."""
    workers, chosen = min(4, measurer.job.cores), None
    for batch in measurer.job.space["batch"]:
        trial = measurer.full(Setting(workers, batch), 3)
        if trial.ending != "ok":
            break
        chosen = trial.setting
    return chosen, 0.0


def hill_climb(measurer: SimulatedMeasurer) -> tuple[Setting | None, float]:
    """Double the workers while samples per second grow, then the batch, then the workers again."""
    best, rate = None, 0.0
    at = Setting(1, 1)
    for axis in ("workers", "batch", "workers"):
        candidates = [value for value in measurer.job.space[axis] if value >= max(1, getattr(at, axis))]
        for value in candidates:
            if not math.log2(value).is_integer():
                continue
            setting = Setting(value, at.batch) if axis == "workers" else Setting(at.workers, value)
            if setting == best:
                continue
            trial = measurer.full(setting, 12)
            if trial.probe is None or trial.probe.rate < 1.03 * rate:
                break
            best, rate = setting, trial.probe.rate
        at = best or at
    return best, 0.0


if __name__ == "__main__":
    main()
