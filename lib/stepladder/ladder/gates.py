"""The gates: what a trial must pass before its setting may be chosen, each with its reason in words.

Decisions:
- A setting is refused for how its trial ended, for a loss that is not finite, and for memory that would be full before
  the training ends. Memory is judged by level and slope: a leak that kills at step 700 must fail in a hundred steps.
- Gain is judged in samples per second, never in step time: a batch twice as large whose steps take 1.5 times as long is
  a win. A dearer setting must gain more than `gain` and more than both intervals together.
- A busy step is reported, not demanded: no setting helps a job whose samples are slow to make.
- A setting that ran out of memory rules out every setting that surely needs more.
"""

import math
from collections.abc import Iterable

from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.ladder.forecast.cells import Limits
from stepladder.ladder.records import Candidate, FullProbe, Trial, Verdict
from stepladder.training.setting import Setting

SURE = 0.05  # noise below which a loss of a per cent or two is believed to be no more
CONTENDED = 0.4  # share of run-queue wait; calm trials had 0 to 0.35, disturbed ones 0.6 to 0.9


def refusal(trial: Trial[FullProbe], limits: Limits, training: TrainingParams) -> str:
    """Why the setting of `trial` cannot be used; empty where it can."""
    probe = trial.probe
    if probe is None:
        return f"{trial.ending}: {trial.reason}"
    if not all(math.isfinite(loss) for loss in probe.losses):
        return "the loss is not finite"
    return filling(trial, limits, training)


def filling(trial: Trial[FullProbe], limits: Limits, training: TrainingParams) -> str:
    """At which forward pass memory would be full, where that is before the training ends; else empty."""
    probe, passes = trial.measured, training.steps * trial.setting.accumulate
    host = ("host", max(trial.peak_bytes, probe.host_bytes), probe.host_growth, limits.host)
    device = ("device", probe.device_bytes, probe.device_growth, limits.device)
    for name, level, growth, limit in (host, device):
        if limit is not None and level + growth * passes > limit:
            full = max(0.0, limit - level) / growth if growth else 0
            return (
                f"{name} memory grows {growth / 1e6:.2f} MB per forward pass from {level / 1e9:.2f} GB: it would be "
                f"full at pass {full:.0f} of {passes} (limit {limit / 1e9:.2f} GB)"
            )
    return ""


def compare(probe: FullProbe, best: Candidate, cheaper: bool, ladder: LadderParams) -> tuple[Verdict, str]:
    """Whether a trial beats the best rung so far.

    `tie` means a gain within the noise: only further trials can tell. A cheaper setting wins where it loses no more
    than `ladder.tie`.
    """
    other = best.trial.measured
    gain, noise = probe.rate / other.rate - 1, (probe.half_width + other.half_width) / other.rate
    said = f"{gain:+.0%} samples/s against {best.setting}"
    if cheaper and gain > -ladder.tie and noise < SURE:
        return "better", f"{said}, and cheaper"
    if gain > max(ladder.gain, noise):
        return "better", f"{said}, more than the noise of {noise:.0%}; {busy(probe, ladder)}"
    if gain > ladder.gain:
        return "tie", f"{said}, within the noise of {noise:.0%}"
    return "not better", said


def busy(probe: FullProbe, ladder: LadderParams) -> str:
    """How busy the step was, in words: `busy 93% of the time, target 90% reached`."""
    reached = "reached" if probe.busy >= ladder.busy else "missed"
    return f"busy {probe.busy:.0%} of the time, target {ladder.busy:.0%} {reached}"


def needs_more(setting: Setting, than: Setting) -> bool:
    """Whether `setting` surely needs at least the memory of `than`."""
    return (
        setting.workers >= than.workers
        and setting.batch >= than.batch
        and setting.prefetch >= than.prefetch
        and setting.checkpointing <= than.checkpointing
        and setting.precision in (than.precision, "float32")
        and setting.compile == than.compile
    )


def ruled_out(setting: Setting, trials: Iterable[Trial]) -> str:
    """Which of `trials` ran out of memory with less; empty where none did."""
    for trial in trials:
        if trial.ending == "oom" and needs_more(setting, trial.setting):
            return f"{trial.setting} already ran out of memory"
    return ""
