"""Climb the rungs, judge each by gates, choose a setting, and say in one sentence what limits this machine.

Decisions:
- Rungs are judged by samples per second, never by step time: a batch twice as large with steps 1.5 times as long is a
  win. A dearer rung must beat the best so far by more than the uncertainty of both and by `gain`.
- A setting that ran out of memory rules out every setting that needs more of the same (as many workers, as large a
  batch): those are passed over without a trial.
- The choice is the best passing rung, and among those within `gain` of it the cheapest (fewest workers, then the
  smallest batch). `ladder.json` holds rungs and choice; a person may edit it, 05_training obeys.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepladder import files
from stepladder.ladder import limits
from stepladder.ladder.runner import run_trial
from stepladder.params import LadderParams, Parameters
from stepladder.run import Run
from stepladder.study import Check


@dataclass(frozen=True)
class Rung:
    """One tried setting: what was measured and what the gates said. Rates in samples per second, memory in bytes."""

    workers: int
    batch: int
    outcome: str
    verdict: str
    reason: str
    rate: float | None = None
    rate_half_width: float | None = None
    cached_rate: float | None = None
    loader_rate: float | None = None
    busy: float | None = None
    peak_bytes: int = 0
    growth_bytes_per_step: float = 0.0
    phases: dict[str, float] | None = None
    seconds: float = 0.0

    @property
    def setting(self) -> str:
        """`2 workers, batch 4`."""
        return f"{self.workers} worker{'' if self.workers == 1 else 's'}, batch {self.batch}"


@dataclass(frozen=True)
class Ladder:
    """The rungs in the order they were tried, the chosen one, and the sentence."""

    rungs: list[Rung]
    chosen: Rung | None
    sentence: str

    def save(self, path: Path) -> None:
        """Write `ladder.json`."""
        files.write_json(path, asdict(self))


def climb(run: Run, params: Parameters, folder: Path, on_rung: Callable[[Rung], None] = lambda rung: None) -> Ladder:
    """Try every combination of `ladder.workers` and `ladder.batch`, cheapest first, each in its own process."""
    ladder, rungs = params.ladder, []
    folder.mkdir(parents=True, exist_ok=True)
    limit = ladder.memory_fraction * limits.memory_free()
    best: Rung | None = None
    for workers, batch in sorted((w, b) for w in set(ladder.workers) for b in set(ladder.batch)):
        rung = _ruled_out(rungs, workers, batch) or _try(run, params, folder, workers, batch, limit, best)
        if rung.verdict == "better":
            best = rung
        rungs.append(rung)
        run.event("rung", **{k: v for k, v in asdict(rung).items() if k != "phases"})
        on_rung(rung)
    chosen = choose(rungs, ladder)
    result = Ladder(rungs, chosen, diagnose(chosen, ladder))
    result.save(folder.parent / "ladder.json")
    return result


def choose(rungs: list[Rung], ladder: LadderParams) -> Rung | None:
    """The cheapest rung within `gain` of the best rate; None when no rung ran to its end."""
    ran = [rung for rung in rungs if rung.outcome == "ok" and rung.verdict != "refused"]
    if not ran:
        return None
    top = max(rung.rate for rung in ran)
    return min((r for r in ran if r.rate >= top * (1 - ladder.gain)), key=lambda r: (r.workers, r.batch))


def judge(
    measured: dict[str, Any], room: float, steps: int, best: Rung | None, ladder: LadderParams
) -> tuple[str, str]:
    """Verdict (`better`, `not better`, `refused`) and its reason for a rung that ran to its end.

    Args:
        measured: what the trial wrote.
        room: bytes left between its peak and the limit.
        steps: optimizer steps of the training to come, over which memory is extrapolated.
        best: best rung so far.
        ladder: the gates.
    """
    rate, width = measured["rate"], measured["rate_half_width"]
    if not all(loss is not None and math.isfinite(loss) for loss in measured["losses"]):
        return "refused", "the loss is not finite"
    growth = measured["growth_bytes_per_step"]
    if growth * steps > room:
        return (
            "refused",
            f"memory grows {growth / 1e6:.1f} MB per step: it would be full at step {room / growth:.0f} of {steps}",
        )
    if best is None:
        return "better", "the first rung that runs"
    gain, noise = rate / best.rate - 1, (width + best.rate_half_width) / best.rate
    if gain > max(ladder.gain, noise):
        return "better", f"{gain:+.0%} samples/s over {best.setting}, more than the noise of {noise:.0%}"
    if gain > ladder.gain:
        return "not better", f"{gain:+.0%} over {best.setting} lies within the noise of {noise:.0%}"
    return "not better", f"{gain:+.0%} samples/s against {best.setting}"


def diagnose(rung: Rung | None, ladder: LadderParams) -> str:
    """One sentence: what limits the chosen rung, the part behind it, and the next move."""
    if rung is None:
        return "No rung ran to its end: read the reasons above, then try smaller batches or fewer workers."
    phases = {name: seconds for name, seconds in (rung.phases or {}).items() if name != "load"}
    slowest = max(phases, key=phases.get)
    share = phases[slowest] / sum(phases.values())
    if rung.loader_rate < rung.cached_rate and rung.busy < ladder.busy:
        return (
            f"Data-bound: with {rung.setting} the loader delivers {rung.loader_rate:.1f} samples/s and the step could "
            f"take {rung.cached_rate:.1f}, so {1 - rung.busy:.0%} of the time is waiting: add workers, or move work "
            "into the conversion."
        )
    return (
        f"Compute-bound: with {rung.setting} the step takes {rung.cached_rate:.1f} samples/s and the loader could "
        f"deliver {rung.loader_rate:.1f}; {share:.0%} of the step is {slowest}: a faster device helps, more workers "
        "do not."
    )


def checks(ladder: Ladder, params: LadderParams) -> list[Check]:
    """The gates of the stage: a rung runs, its memory is safe, the device is busy."""
    chosen = ladder.chosen
    ran = Check("a rung runs to its end", chosen is not None, chosen.setting if chosen else ladder.sentence)
    if chosen is None:
        return [ran]
    limit = params.memory_fraction * limits.memory_limit()
    memory = Check(
        "memory is below the limit", chosen.peak_bytes < limit, f"{chosen.peak_bytes / 1e9:.2f} of {limit / 1e9:.1f} GB"
    )
    target = "reached" if chosen.busy >= params.busy else "missed"
    busy = Check("the step is busy", True, f"{chosen.busy:.0%} of the time, target {params.busy:.0%} {target}")
    return [ran, memory, busy]


def _try(run: Run, params: Parameters, folder: Path, workers: int, batch: int, limit: float, best: Rung | None) -> Rung:
    ladder = params.ladder
    trial = {
        "name": f"w{workers}_b{batch}",
        "run": str(run.folder),
        "workers": workers,
        "batch": batch,
        "steps": ladder.steps,
    }
    death, measured = run_trial(trial, folder, ladder.seconds, limit)
    cost = {"peak_bytes": death.peak_bytes, "seconds": death.seconds}
    if measured is None:
        return Rung(workers, batch, death.outcome, "refused", death.reason, **cost)
    verdict, reason = judge(measured, limit - death.peak_bytes, params.training.steps, best, ladder)
    shown = ("rate", "rate_half_width", "cached_rate", "loader_rate", "busy", "phases", "growth_bytes_per_step")
    return Rung(workers, batch, "ok", verdict, reason, **{key: measured[key] for key in shown}, **cost)


def _ruled_out(rungs: list[Rung], workers: int, batch: int) -> Rung | None:
    """A refusal without a trial, where a smaller setting already ran out of memory."""
    for rung in rungs:
        if rung.outcome == "oom" and rung.workers <= workers and rung.batch <= batch:
            return Rung(workers, batch, "skipped", "refused", f"{rung.setting} already ran out of memory")
    return None
