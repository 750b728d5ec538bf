"""200 jobs with a budget each on a fake market of rented machines: the policy of `launch` beside simpler ones.

Run `python tests/benchmarks/bench_launch_market.py`. No clock is read: prices move, machines vanish and checkpoints
take their time in simulated hours (tests/launch/market.py), the same for every strategy. The best fixed policy is the
order of machines and the interval between checkpoints that finish jobs for the fewest dollars each on 100 other seeds,
found by changing one place of the order, or the interval, at a time. When to stop and when to give up, `launch.policy`
decides for all. Ours is what the supervisor does; what leaving a running machine for a cheaper one would add has a row,
and is not built. All are told each card's speed as 04 forecasts it, until it was measured there.
The record is tests/benchmarks/records/launch_market.json.
"""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stepladder.dev import records
from tests.launch import market
from tests.launch.market import Fate, Job, Strategy

JOBS, SEARCHED = 200, 100
SPARSE = 600.0  # seconds of a heartbeat while fixed policies are searched, which is ten times faster
INTERVALS = (120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)  # seconds


def main() -> None:
    """Simulate, print, record."""
    jobs = [Job.draw(seed) for seed in range(JOBS)]
    order, interval = best_fixed([Job.draw(10_000 + seed) for seed in range(SEARCHED)])
    strategies: dict[str, Strategy] = {
        "stepladder": market.OURS,
        "best fixed policy": market.fixed(order, interval),
        "cheapest first": market.CHEAPEST_FIRST,
        "on demand only": market.ON_DEMAND_ONLY,
    }
    bounds = [market.hindsight(job) for job in jobs]
    fates = {name: [market.walk(job, strategy) for job in jobs] for name, strategy in strategies.items()}
    moving = summary(jobs, bounds, [market.walk(job, market.MOVING) for job in jobs], fates["stepladder"])
    record: dict[str, Any] = {
        "jobs": JOBS,
        "finishable": sum(bound <= job.budget for bound, job in zip(bounds, jobs, strict=True)) / JOBS,
        "fixed_order": list(order),
        "fixed_interval": interval,
        "strategies": {name: summary(jobs, bounds, found, fates["stepladder"]) for name, found in fates.items()},
        "leaving_for_cheaper": moving,
    }
    print(f"with hindsight {record['finishable']:.0%} could at most be finished within their budgets")
    print(f"best fixed policy: {', '.join(order)}; a checkpoint every {interval:.0f} s")
    for name, row in [*record["strategies"].items(), ("leaving for a cheaper one, which is not built", moving)]:
        print(name, row)
    records.write(__file__, record)


def summary(jobs: list[Job], bounds: list[float], fates: list[Fate], ours: list[Fate]) -> dict[str, Any]:
    """What the table says of one strategy; where both finished a job, its dollars over ours."""
    finished = np.array([fate.finished for fate in fates])
    spent = np.array([fate.spent for fate in fates])
    both = finished & np.array([fate.finished for fate in ours])
    gaps = spent[finished] / np.array(bounds)[finished] - 1
    return {
        "finished": float(finished.mean()),
        "dollars_a_finished_job": float(spent.sum() / max(1, finished.sum())),
        "dollars_over_ours": float(spent[both].sum() / sum(np.array([fate.spent for fate in ours])[both])),
        "median_gap_to_hindsight": float(np.median(gaps)),
        "mean_gap_to_hindsight": float(np.mean(gaps)),
        "heartbeats_over_budget": max(float(fate.over / fate.beat) if fate.beat else 0.0 for fate in fates),
        "moves_a_job": float(np.mean([fate.moves for fate in fates])),
        "losses_a_job": float(np.mean([fate.losses for fate in fates])),
        "hours_a_finished_job": float(np.mean([fate.at for fate in fates if fate.finished])),
    }


def best_fixed(jobs: list[Job]) -> tuple[tuple[str, ...], float]:
    """Order and interval that finish these jobs for the fewest dollars each, from the best of several beginnings."""
    names = [offer.name for offer in jobs[0].offers]
    spot = sorted(names, key=lambda name: (not name.endswith("spot"), names.index(name)))
    starts = [(tuple(spot), 600.0), (tuple(names[::-1]), 600.0)]
    found = [_climb(jobs, order, interval) for order, interval in starts]
    return min(found)[1:]


def _climb(jobs: list[Job], order: tuple[str, ...], interval: float) -> tuple[float, tuple[str, ...], float]:
    """Change a place of the order, or the interval, as long as that helps."""
    cost = _cost(jobs, order, interval)
    while True:
        near = [(order, other) for other in INTERVALS if other != interval]
        near += [(_moved(order, a, b), interval) for a in range(len(order)) for b in range(min(a, 3))]
        best = min((_cost(jobs, *one), *one) for one in near)
        if best[0] >= cost:
            return cost, order, interval
        cost, order, interval = best


def _moved(order: tuple[str, ...], a: int, b: int) -> tuple[str, ...]:
    """The order with its entry `a` put at place `b`."""
    rest = [*order[:a], *order[a + 1 :]]
    return (*rest[:b], order[a], *rest[b:])


def _cost(jobs: list[Job], order: tuple[str, ...], interval: float) -> float:
    """Dollars a finished job."""
    fates = [market.walk(job, market.fixed(order, interval), SPARSE) for job in jobs]
    count = sum(fate.finished for fate in fates)
    return sum(fate.spent for fate in fates) / count if count else math.inf


if __name__ == "__main__":
    main()
