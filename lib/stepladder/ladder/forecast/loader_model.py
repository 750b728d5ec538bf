"""The loader model: what loader and step, probed apart, would do together at a setting that was never tried.

Decisions:
- PyTorch's loader hands batches out in turn and in order, so its timing is a recurrence of a few lines (`step_ends`).
  It is fed with the measured sample times in random order: a wide spread then costs what it costs in truth, because a
  slow batch holds up the faster ones behind it. Each time is drawn equally often, so that the mean stays the measured.
- A step takes a + c x batch, fitted to the step probes of the same kind (threads, precision, checkpointing, compile).
- CPU time is conserved: no setting is faster than the cores divided by the CPU time of a sample, in loader and step.
- What the loader model cannot know (cores that share caches, a disk that saturates) it learns from what is measured in
  full: `refit` slows loading down by number of workers and steps by kind and batch, until it says what was measured.
- Memory of a step is the forecast by fake tensors plus the largest offset seen between it and a measurement. A line
  through two measurements of host memory was up to 97 % off; it serves only where no fake forecast exists.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from stepladder.ladder.forecast import memory
from stepladder.ladder.records import FullProbe, LoaderProbe, StepProbe, Trial
from stepladder.training.setting import Setting

Kind = tuple[int, str, bool, bool]  # threads, precision, checkpointing, compile: what changes the step itself

# Handing a batch from a loader process to the training process: CPU time measured with torch 2.13, 1 kB to 64 MB. The
# loader process writes into shared memory what it would have written anyway; the training process maps and frees it.
HANDOVER_SECONDS = 5e-4  # on either side
HANDOVER_BYTES_PER_SECOND = 5e9  # in the training process
FORKED_BYTES, LEAST_FORKED_BYTES = 65e6, 20e6  # private pages of an idle loader process (PSS 30 to 65 MB were seen)
LEAST_STEPS, LEAST_ROUNDS = 64, 16
SEED = 20
BUSY = 0.95  # share of time in the step from which on waiting tells nothing of the loader
UNSURE = 0.1  # relative standard error of a forecast
SLOWEST = 20.0  # slowdowns beyond this are not sought


def kind(setting: Setting) -> Kind:
    """What of a setting changes the step itself."""
    return setting.threads, setting.precision, setting.checkpointing, setting.compile


def step_ends(prep_J: Sequence[float], step: float, workers: int, prefetch: int) -> list[float]:
    """When each step ends, in seconds after the loader was opened.

    Batch j belongs to worker j mod k. It is asked for when batch j - k x prefetch is received, prepared when its worker
    is free, and received when it is ready, the step before has ended, and the batches before it were received.

    Args:
        prep_J: seconds to prepare each batch.
        step: seconds of one step.
        workers: loader processes k; 0 prepares in the training process.
        prefetch: batches each of them prepares ahead.
    """
    if workers == 0:
        return np.cumsum(np.asarray(prep_J) + step).tolist()
    # `free` is when each worker is free, `main` when the training process is: one pass over the batches is enough, for
    # nothing that happens to a batch depends on a later one.
    received, ends, free, main, ahead = [], [], [0.0] * workers, 0.0, workers * prefetch
    for j, prep in enumerate(prep_J):
        asked = received[j - ahead] if j >= ahead else 0.0
        ready = free[j % workers] = max(free[j % workers], asked) + prep
        received.append(max(main, ready))
        main = received[-1] + step
        ends.append(main)
    return ends


def shuffled(values_N: np.ndarray, count: int) -> np.ndarray:
    """(count,) of `values_N` in random order, one permutation after the other; the same for the same count."""
    # Whole permutations, so that a rare slow sample comes as often as it was measured and not as luck has it.
    rounds = -(-count // len(values_N))
    rows_RN = np.tile(values_N, (rounds, 1))
    return np.random.default_rng(SEED).permuted(rows_RN, axis=1).ravel()[:count]


@dataclass(frozen=True)
class StepLine:
    """a + c x batch: seconds of one step, and the CPU seconds it takes."""

    fixed: float
    per_sample: float
    cpu_fixed: float
    cpu_per_sample: float

    @classmethod
    def fit(cls, trials: Sequence[Trial[StepProbe]]) -> "StepLine":
        """The line through the step probes of one kind."""
        batches = [trial.setting.batch for trial in trials]
        seconds = line(batches, [trial.measured.seconds for trial in trials])
        return cls(*seconds, *line(batches, [trial.measured.cpu_seconds for trial in trials]))

    def seconds(self, batch: int) -> float:
        """Seconds of one step at `batch`."""
        return self.fixed + self.per_sample * batch

    def cpu_seconds(self, batch: int) -> float:
        """CPU seconds of one step at `batch`, over all its threads."""
        return self.cpu_fixed + self.cpu_per_sample * batch


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Offset and slope by least squares, neither below zero. From one place only: no offset, the dearer guess."""
    if len(set(x)) == 1:
        return 0.0, float(np.mean(y) / x[0])
    # Neither a step of negative length nor one that gets quicker with its batch: those are noise.
    slope, offset = np.polyfit(x, y, 1)
    if offset < 0:
        return 0.0, float(np.dot(x, y) / np.dot(x, x))
    return (float(offset), float(slope)) if slope > 0 else (float(np.mean(y)), 0.0)


@dataclass(frozen=True)
class LoaderModel:
    """The forecast of one job.

    Args:
        loader: the loader alone.
        steps: step probes that ended well.
        cores: CPUs all processes may use together.
        fakes: forecast of a step's memory by fake tensors, None where unknown; see `Measurer.fake_bytes`.
        loading: workers -> how many times slower than alone each loads; straight lines between, level
            beyond the last: hope that costs a trial, where despair would cost the best setting.
        stepping: kind -> batch -> how many times slower than the line a step is beside the loader; between batches as
            between numbers of workers. A step is no line where a library changes its algorithm with the batch.
        forked_bytes: private pages of a loader process before it loads anything.
        measured_bytes: largest memory of a process tree that was measured in full; forecasts are sure up to there.
    """

    loader: LoaderProbe
    steps: tuple[Trial[StepProbe], ...]
    cores: float
    fakes: Callable[[Setting], int | None] = lambda setting: None
    loading: Mapping[int, float] = field(default_factory=dict)
    stepping: Mapping[Kind, Mapping[int, float]] = field(default_factory=dict)
    forked_bytes: float = FORKED_BYTES
    measured_bytes: int = 0

    @cached_property
    def _trials(self) -> Mapping[Kind, list[Trial[StepProbe]]]:
        grouped = defaultdict(list)
        for trial in self.steps:
            grouped[kind(trial.setting)].append(trial)
        return grouped

    @cached_property
    def _lines(self) -> Mapping[Kind, StepLine]:
        return {key: StepLine.fit(trials) for key, trials in self._trials.items()}

    @property
    def kinds(self) -> set[Kind]:
        """The kinds of step it can forecast."""
        return set(self._lines)

    @property
    def measured_device_bytes(self) -> int:
        """Largest memory of the accelerator that was measured."""
        return max(trial.measured.device_bytes for trial in self.steps)

    def rate(self, setting: Setting, reserve: float = 1.0) -> float:
        """Samples per second of loader and step together; were loading `reserve` times slower than it is thought."""
        return self._rate(setting, reserve * self.slowdown(setting.workers), self.step_seconds(setting))

    def step_seconds(self, setting: Setting) -> float:
        """Seconds of one step beside the loader."""
        known = self.stepping.get(kind(setting), {setting.batch: 1.0})
        at = sorted(known)
        slowdown = float(np.interp(setting.batch, at, [known[batch] for batch in at]))
        return slowdown * self._lines[kind(setting)].seconds(setting.batch)

    def slowdown(self, workers: int) -> float:
        """How many times slower than alone each of `workers` loader processes loads."""
        known = {0: 1.0, 1: 1.0, **self.loading}
        if workers == 0:
            return known[0]
        at = sorted(count for count in known if count)
        return float(np.interp(workers, at, [known[count] for count in at]))

    def refit(self, trial: Trial[FullProbe]) -> "LoaderModel":
        """The loader model that says at a setting what was measured there: times and memory of the loader processes.

        Times count by their precision: a measurement as unsure as the forecast moves it half of the way. The
        share of time not spent waiting gives the step's slowdown; where there was waiting, the loader's slowdown is
        sought by bisection, for the rate falls as it grows.
        """
        setting, probe = trial.setting, trial.measured
        # The weighted geometric mean of forecast and measurement is what the loader model shall say from here on.
        doubt = probe.half_width / 2 / probe.rate
        weight = UNSURE**2 / (UNSURE**2 + doubt**2)
        rate = self.rate(setting) ** (1 - weight) * probe.rate**weight
        waits = probe.busy < BUSY
        # The step's time: its busy share of a pass where the loader was waited for; otherwise the step alone sets the
        # rate, and its time is put right by the ratio of the two rates.
        seconds = probe.busy * setting.batch / rate if waits else self.step_seconds(setting) * self.rate(setting) / rate
        factor = seconds / self._lines[kind(setting)].seconds(setting.batch)
        known = {**self.stepping.get(kind(setting), {}), setting.batch: factor}
        loader_model = replace(self._weighed(trial), stepping={**self.stepping, kind(setting): known})
        if not waits:
            return loader_model
        # Bisection of the loader's slowdown on a logarithmic scale; 20 halvings leave less than a thousandth of a per
        # cent.
        low, high = 1 / SLOWEST, SLOWEST
        for _ in range(20):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if loader_model._rate(setting, middle, seconds) > rate else (low, middle)
        return replace(loader_model, loading={**self.loading, setting.workers: low})

    def device_bytes(self, setting: Setting) -> int:
        """Bytes of the accelerator that `setting` takes; 0 without one."""
        return self._step_bytes(setting, lambda probe: probe.device_bytes)

    def host_bytes(self, setting: Setting, samples: int) -> int:
        """Bytes of the process tree after `samples` samples: training and loader processes, batches prepared ahead."""
        # With an accelerator the process holds no activations, so its memory hardly changes with the batch.
        on_device = any(trial.measured.device_bytes for trial in self.steps)
        trials = self._trials[kind(setting)]
        if on_device:
            main = max(trial.measured.process_bytes for trial in trials)
        else:
            main = self._step_bytes(setting, lambda probe: probe.process_bytes)
        # Without workers the training process loads, and what loading needs is its own.
        processes = setting.workers * (self.forked_bytes + self.loader.process_bytes) or self.loader.process_bytes
        # Batches prepared ahead, and the one in the step.
        ahead = (setting.workers * setting.prefetch + 1) * setting.batch * self.loader.sample_bytes
        return int(main + processes + ahead + self.loader.growth_bytes_per_sample * samples)

    def _weighed(self, trial: Trial[FullProbe]) -> "LoaderModel":
        """With the memory of a full trial: what exceeds the forecast is put down to the loader processes.

        They are taken to be smaller than thought only as far as they must be if no batch had been prepared ahead, for
        where the step waits for data there may be none.
        """
        setting, level = trial.setting, max(trial.peak_bytes, trial.measured.host_bytes)
        forked = self.forked_bytes
        if setting.workers:
            ahead = setting.workers * setting.prefetch * setting.batch * self.loader.sample_bytes
            excess = level - self.host_bytes(setting, 0)
            forked += (max(0.0, excess) + min(0.0, excess + ahead)) / setting.workers
        measured = max(self.measured_bytes, level)
        return replace(self, forked_bytes=max(LEAST_FORKED_BYTES, forked), measured_bytes=measured)

    def _rate(self, setting: Setting, slowdown: float, step: float) -> float:
        workers, batch = setting.workers, setting.batch
        sending = HANDOVER_SECONDS if workers else 0.0
        receiving = sending + batch * self.loader.sample_bytes / HANDOVER_BYTES_PER_SECOND if workers else 0.0
        # The queue of batches must first settle: those drawn until then are not counted.
        ahead = max(1, workers) * setting.prefetch
        warm = 2 * ahead
        count = max(LEAST_STEPS, LEAST_ROUNDS * max(1, workers))
        sample = np.asarray(self.loader.sample_seconds)
        drawn_JB = shuffled(sample, (warm + count) * batch).reshape(-1, batch)
        # Collating and sending are done by the loader process, so whatever slows loading down slows them too.
        prep_J = slowdown * (drawn_JB.sum(axis=1) + batch * self.loader.collate_seconds + sending)
        ends = step_ends(prep_J.tolist(), step + slowdown * receiving, workers, setting.prefetch)
        # Two bounds: the queue of batches, and the CPU time that all processes share.
        by_time = count * batch / (ends[-1] - ends[warm - 1])
        return min(by_time, self._rate_by_cpu(setting, slowdown * sample.mean()))

    def _rate_by_cpu(self, setting: Setting, sample_seconds: float) -> float:
        loading = self.loader.cpu_share * (sample_seconds + self.loader.collate_seconds)
        stepping = self._lines[kind(setting)].cpu_seconds(setting.batch) / setting.batch
        return self.cores / max(1e-12, loading + stepping)

    def _step_bytes(self, setting: Setting, measured: Callable[[StepProbe], int]) -> int:
        """Memory of a step at any batch, from what `measured` takes from the probes of its kind."""
        seen = sorted((trial.setting.batch, measured(trial.measured)) for trial in self._trials[kind(setting)])
        if not any(size for _, size in seen):
            return 0
        fakes = {batch: self.fakes(replace(setting, batch=batch)) for batch in (setting.batch, *(b for b, _ in seen))}
        # A forecast by fake tensors knows the shape of the curve; without one a straight line has to do.
        known = {batch: size for batch, size in fakes.items() if size is not None}
        if known == fakes:
            return memory.forecast(known, dict(seen), setting.batch)
        return straight_up(seen, setting.batch)


def straight_up(seen: Sequence[tuple[int, int]], batch: int) -> int:
    """Bytes at `batch` from bytes at smaller batches: the last one, and the steepest slope from there.

    From one measurement only, everything is taken to grow with the batch.
    """
    last_batch, last_size = seen[-1]
    slopes = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(seen) if x1 > x0] or [last_size / last_batch]
    return int(last_size + max(0.0, max(slopes)) * max(0, batch - last_batch))
