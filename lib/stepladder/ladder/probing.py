"""The probes before the first trial: the loader alone, and the step alone at the fewest settings that tell its line.

Decisions:
- A step takes a + c x batch, so each kind of step is probed at its smallest batch and at the largest that surely fits
  in memory and in time; between them lies everything that will be forecast.
- Activations are recomputed only where some batch does not fit without: that costs time and gains only memory.
- A probe that fails is an answer: its kind of step is left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stepladder.ladder.records import Bench, LoaderProbe, Setting, StepProbe, Trial
from stepladder.ladder.twin import Kind, Limits, Twin, forecast, kind

LOADER_SAMPLES = (24, 4, 1)  # fewer where a probe of more took too long
USABLE_SECONDS = 0.5  # share of the time limit that the passes of a trial may be planned to take
NO_LOADER = LoaderProbe((0.0,), 0.0, 0.0, 0.0, 0, 0, 0.0)


class Fakes:
    """The bench's fake-tensor forecasts, each asked for once: they take seconds."""

    def __init__(self, bench: Bench):
        self._bench, self._known = bench, {}

    def __call__(self, setting: Setting) -> int | None:
        """Bytes of the step at `setting`; None where unknown."""
        bare = replace(setting, workers=0, prefetch=2, threads=1)
        if bare not in self._known:
            self._known[bare] = self._bench.fake_bytes(bare)
        return self._known[bare]


def probe_loader(bench: Bench) -> Trial[LoaderProbe]:
    """The loader alone; over fewer samples where many take too long."""
    for samples in LOADER_SAMPLES:
        trial = bench.loader(samples)
        if trial.ending != "timeout":
            break
    return trial


class StepProbing:
    """Probes of the step alone, under the limits of one search.

    Args:
        bench: makes the probes.
        passes: forward passes of one probe.
        seconds: a trial that takes longer is stopped.
        limits: what a setting may use.
        fakes: forecast of memory by fake tensors.
    """

    def __init__(self, bench: Bench, passes: int, seconds: float, limits: Limits, fakes: Fakes):
        self.bench, self.passes, self.seconds, self.limits, self.fakes = bench, passes, seconds, limits, fakes

    def trials(self, settings: Sequence[Setting]) -> list[Trial[StepProbe]]:
        """For each kind of step among `settings`, plain ones before those that recompute activations."""
        found: list[Trial[StepProbe]] = []
        kinds = sorted(dict.fromkeys(kind(setting) for setting in settings), key=lambda key: key[2])
        for key in kinds:
            plain = (key[0], key[1], False, key[3])
            if key[2] and plain in kinds and self._all_fit(found, plain, settings):
                continue
            batches = {setting.batch: replace(setting, workers=0) for setting in settings if kind(setting) == key}
            first = self.bench.step(batches[min(batches)], self.passes)
            found.append(first)
            found += self._largest(first, batches) if first.probe else []
        return found

    def _largest(self, first: Trial[StepProbe], batches: dict[int, Setting]) -> list[Trial[StepProbe]]:
        """The probe of the largest batch that fits in memory and in time, after those of larger ones that failed.

        Where memory can be forecast none of these fails; where it cannot, trying is the only way to know.
        """
        twin, found = Twin(NO_LOADER, (first,), 1.0, self.fakes), []
        for batch in sorted((batch for batch in batches if batch > first.setting.batch), reverse=True):
            in_time = twin.step_seconds(batches[batch]) * self.passes < USABLE_SECONDS * self.seconds
            if in_time and not self.limits.objection(twin, batches[batch], 0):
                found.append(self.bench.step(batches[batch], self.passes))
                if found[-1].ending == "ok":
                    break
        return found

    def _all_fit(self, trials: Iterable[Trial[StepProbe]], key: Kind, settings: Iterable[Setting]) -> bool:
        """Whether every setting of this kind fits in memory, from what was probed of it."""
        good = tuple(trial for trial in trials if trial.probe and kind(trial.setting) == key)
        return bool(good) and all(
            cell.fits for cell in forecast(Twin(NO_LOADER, good, 1.0, self.fakes), settings, self.limits, 0)
        )
