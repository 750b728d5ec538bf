"""What limits a job on this machine, the stage behind it, and the next move: one sentence from what a search measured.

Decisions:
- Rules are asked in the order of what hurts most: nothing runs; memory grows until it is full; memory keeps a faster
  setting away; the step waits for data; a step is mostly the price of starting it; the step itself. A job whose loader
  and step are within `BALANCE` of each other, and whose step is busy, is told that it is healthy.
- The next move names the parameter to turn. It is in the order of what it gains: once at conversion before every time
  in the reader, code before knobs, knobs before machines.
- Every number of the sentence was measured, and stands in the search.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stepladder.core.schema import LadderParams
from stepladder.core.units import digits
from stepladder.ladder.forecast.loader_model import kind
from stepladder.ladder.records import Candidate, FullProbe, LoaderProbe, SearchResult, Trial
from stepladder.training.setting import Setting

Limit = Literal["data", "compute", "memory", "launch", "leak", "none"]

BALANCE = 2.0  # the faster of loader and step may be so much faster
DOMINATES = 0.5  # share from which one stage is to blame
COMPUTES = 0.5  # CPU share from which a loader computes rather than waits


@dataclass(frozen=True)
class Diagnosis:
    """What limits the job, the stage behind it, both and the next move in one sentence, and the next move alone."""

    limit: Limit
    stage: str
    sentence: str
    move: str


def diagnose(result: SearchResult, ladder: LadderParams, cores: float) -> Diagnosis:
    """The diagnosis of a search.

    Args:
        result: the search.
        ladder: what it was allowed to try, and its targets.
        cores: CPUs the job may use.
    """
    candidate = _chosen(result)
    if found := _leak(result, candidate) or _memory(result, candidate, ladder):
        return found
    if candidate is None:
        return _made(
            "none",
            "",
            f"Nothing ran to its end ({result.why})",
            "read the log of the first trial in 04_scaling/kept/trials",
        )
    probe, loader = candidate.trial.measured, result.loader.probe if result.loader else None
    if probe.busy < ladder.busy:
        return _data(candidate.setting, probe, loader, ladder, cores)
    return _launch(result, candidate.setting) or _compute(candidate.setting, probe, loader)


def _chosen(result: SearchResult) -> Candidate | None:
    """The rung that measured the chosen setting, the soak before all; without a choice the last that measured any."""
    measured = [candidate for candidate in (*result.rungs, result.soak) if candidate and candidate.trial.probe]
    chosen = [candidate for candidate in measured if candidate.setting == result.chosen]
    return (chosen or measured or [None])[-1]


def _leak(result: SearchResult, candidate: Candidate | None) -> Diagnosis | None:
    """Memory that grows until it is full."""
    loader = result.loader.probe if result.loader else None
    kept = loader.growth_bytes_per_sample if loader else 0.0
    grown = [r for r in (*result.rungs, result.soak) if r and r.verdict == "refused" and r.trial.probe]
    grown = [r for r in grown if max(r.trial.measured.host_growth, r.trial.measured.device_growth) > 0]
    if not grown:
        return None
    worst, said = grown[-1], grown[-1].reason.split("; ")[0]  # without remarks on the trial
    if loader and kept > 0:
        where = f" ({loader.hot})" if loader.hot else ""
        text = f"Leak: every loader process keeps {kept / 1e6:.1f} MB of each sample it draws{where}; {said}"
        return _made("leak", "loader", text, "bound its cache, or map the data instead of keeping it")
    device = worst.trial.measured.device_growth > 0
    text = f"Leak: the training process keeps more {'device ' if device else ''}memory after every pass; {said}"
    return _made("leak", "step", text, "keep no tensor with its graph: log `loss.detach()` or `float(loss)`")


def _memory(result: SearchResult, candidate: Candidate | None, ladder: LadderParams) -> Diagnosis | None:
    """Memory that keeps a faster setting away, or every setting."""
    trials: list[Trial] = [*result.steps, *(r.trial for r in result.rungs)]
    died = [trial for trial in trials if trial.ending == "oom"]
    chosen = next((cell.rate for cell in result.cells if candidate and cell.setting == candidate.setting), 0.0)
    barred = [c for c in result.cells if not c.fits and c.rate > chosen * (1 + ladder.gain)]
    larger = [trial for trial in died if candidate is None or trial.setting.batch > candidate.setting.batch]
    if not barred and not larger:
        return None
    if barred:
        top = max(barred, key=lambda cell: cell.rate)
        setting, reason = top.setting, f"{top.reason} (forecast {digits(top.rate)} samples/s)"
    else:
        setting, reason = larger[0].setting, larger[0].reason
    rate = candidate.rate if candidate and result.chosen else None
    kept = f"; {candidate.setting} runs at {digits(rate)} samples/s" if candidate and rate is not None else ""
    text = f"Memory-bound: {setting} does not fit: {reason}{kept}"
    return _made("memory", str(setting), text, _memory_move(setting, candidate))


def _memory_move(setting: Setting, candidate: Candidate | None) -> str:
    """What makes room."""
    if candidate and setting.workers > candidate.setting.workers and setting.batch == candidate.setting.batch:
        return "prefetch fewer batches, or make the samples smaller"
    ways = ["recompute activations (ladder.checkpointing: [true])"] if not setting.checkpointing else []
    ways += ["try bfloat16 (ladder.precision)"] if setting.precision == "float32" else []
    return " or ".join(ways or ["use smaller samples or a larger device"])


def _data(
    setting: Setting, probe: FullProbe, loader: LoaderProbe | None, ladder: LadderParams, cores: float
) -> Diagnosis:
    """The step waits for its data."""
    idle = f"the step waits {1 - probe.busy:.0%} of the time"
    if loader is None:
        return _made("data", "loader", f"Data-bound: with {setting} {idle}", "try more workers, or climb by `jump`")
    seconds = _mean(loader.sample_seconds)
    if loader.hot and loader.hot_share >= DOMINATES and loader.cpu_share >= COMPUTES:
        text = f"Data-bound: {loader.hot} is {_of(loader.hot_share * seconds, seconds)} per sample, and {idle}"
        return _made("data", loader.hot, text, "more workers only hide it: do it once at conversion")
    stage, share = _largest(loader)
    said = f"{stage} is {_of(share, seconds)} per sample" if stage else f"a sample takes {_time(seconds)}"
    if loader.cpu_share < COMPUTES:
        text = f"Data-bound: {said}, {1 - loader.cpu_share:.0%} of it waiting for storage, and {idle}"
        return _made(
            "data", stage or "storage", text, "copy the shards to a local disk, or read ahead with more workers"
        )
    wanted = math.ceil(seconds / probe.step_seconds * setting.batch) if probe.step_seconds else 0
    text = f"Data-bound: {said}, and with {setting} {idle}"
    if max(ladder.workers) < wanted <= cores:
        return _made("data", stage or "loader", text, f"allow {wanted} workers (ladder.workers)")
    if wanted > cores:
        move = f"{wanted} workers would keep up, but there are {cores:g} CPUs: move work into the conversion"
    else:
        shared = f"they share {cores:g} CPUs with the step"
        move = f"{wanted} workers should keep up and do not, for {shared}: move work into the conversion"
    return _made("data", stage or "loader", text, move)


def _launch(result: SearchResult, setting: Setting) -> Diagnosis | None:
    """A step that takes as long with few samples as with many."""
    alike = [t for t in result.steps if t.probe and kind(t.setting) == kind(setting)]
    by_batch = {trial.setting.batch: trial.measured for trial in alike}
    if len(by_batch) < 2:
        return None
    small, large = min(by_batch), max(by_batch)
    few, many = by_batch[small], by_batch[large]
    slope = max(0.0, many.seconds + many.half_width - few.seconds + few.half_width) / (large - small)  # at most
    fixed = few.seconds - slope * small
    share = fixed / (fixed + slope * setting.batch)
    if share < DOMINATES:
        return None
    text = (
        f"Launch-bound: a pass takes {_time(few.seconds)} with {_samples(small)} and {_time(many.seconds)} with "
        f"{large}, so at least {share:.0%} of it at {setting} is the price of starting it"
    )
    return _made(
        "launch",
        _largest_phase(few.phases),
        text,
        "use larger batches (ladder.batch), or compile the model (ladder.compile: [true])",
    )


def _compute(setting: Setting, probe: FullProbe, loader: LoaderProbe | None) -> Diagnosis:
    """The step itself; or nothing at all."""
    stage = _largest_phase(probe.phases)
    share = probe.phases.get(stage, 0.0) / probe.step_seconds if probe.step_seconds else 0.0
    step = f"with {setting} the step is busy {probe.busy:.0%} of the time"
    if loader is None:
        text = f"Compute-bound: {step}, {share:.0%} of it in {stage}"
        return _made("compute", stage, text, "a faster device helps, more workers do not")
    makes = max(1, setting.workers) / _mean(loader.sample_seconds)
    takes = setting.batch / probe.step_seconds
    both = f"the loader could make {digits(makes)} samples/s and the step take {digits(takes)}"
    if makes <= BALANCE * takes:
        return _made(
            "none",
            "",
            f"Healthy: {step}; {both}",
            "nothing to repair: run 05_training; a faster device would need a faster loader too",
        )
    bfloat16 = "bfloat16 (ladder.precision) or " if setting.precision == "float32" else ""
    faster = f"{bfloat16}a faster device helps"
    text = f"Compute-bound: {step}, {share:.0%} of it in {stage}; {both}"
    return _made("compute", stage, text, f"{faster}, more workers do not")


def _made(limit: Limit, stage: str, text: str, move: str) -> Diagnosis:
    return Diagnosis(limit, stage, f"{text}; {move}.", move)


def _largest(loader: LoaderProbe) -> tuple[str, float]:
    """The largest named stage of a sample and its seconds."""
    named = {name: seconds for name, seconds in loader.stages.items() if name != "other"}
    return max(named.items(), key=lambda item: item[1], default=("", 0.0))


def _largest_phase(phases: Mapping[str, float]) -> str:
    spent = {name: seconds for name, seconds in phases.items() if name != "load"}
    return max(spent, key=lambda name: spent[name], default="")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"


def _time(seconds: float) -> str:
    """`14.0 s`, `320 ms`, `85 us`."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def _of(part: float, whole: float) -> str:
    """`14.0 of 15.7 s`."""
    number, unit = _time(whole).split()
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    return f"{part * scale:.3g} of {number} {unit}"
