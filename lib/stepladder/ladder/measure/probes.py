"""The three probes of a job: its loader alone, its step alone, and both together. They run inside a trial's process.

Decisions:
- *loader*: two loader processes, one after the other, draw the same samples in the order of training. The first finds
  the files cold; the second finds them in the page cache but, like every new loader process, its own caches empty.
  What a process pays once, with its first samples (compiling, opening files), is told apart and in no sample's time.
- *step*: batches are made once, of few samples, and used again; the optimizer's state exists before the clock starts.
- *full*: a real loader feeds the real step. Timing begins after two rounds of the loader processes, goes by whole
  rounds, and ends as soon as the rate is known well enough and memory stands still (a soak asks for every pass).
  A round holds whole optimizer steps too, so that each is paid in full.
- Memory is read between passes, for a small share of the time (`levels.py`); the clock stands still meanwhile.
"""

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, default_collate

from stepladder.data.sampling import loader
from stepladder.ladder.measure import profiler
from stepladder.ladder.measure.estimate import relative_half_width, settled, throughput
from stepladder.ladder.measure.job import Job, Key
from stepladder.ladder.measure.levels import Levels, Queue, growth
from stepladder.ladder.records import FullProbe, LoaderProbe, StepProbe
from stepladder.machine import limits
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

LEAST_ROUNDS = 3
DISTINCT = 8  # samples that cached batches are made of
WARM_PASSES = 2


def loader_probe(job: Job, samples: int, seconds: float = math.inf) -> LoaderProbe:
    """The loader alone: `samples` samples by one process with cold files, by another with warm ones; then a profile.

    Args:
        job: whose samples.
        samples: how many, in the order of training.
        seconds: what the probe may take; slow samples are fewer, at least one of each kind.
    """
    dataset, part = job.samples(), seconds / 4
    # The same samples twice: first their files are cold, then they lie in the page cache.
    keys = [key for batch in job.order(1, samples) for key in batch]
    cold = _draw(dataset, keys, part)
    warm = _draw(dataset, keys[: len(cold)], part)
    seen = profiler.profile(dataset, keys[: len(cold)], min(part, profiler.SECONDS))
    steady = _steady(warm)
    times, mean = [reading.seconds for reading in steady], float(np.mean([reading.seconds for reading in steady]))
    begin = time.perf_counter()
    batch = default_collate(seen.samples)
    collating = (time.perf_counter() - begin) / len(seen.samples)
    return LoaderProbe(
        sample_seconds=tuple(times),
        cold_seconds=float(np.mean([reading.seconds for reading in _steady(cold)])),
        collate_seconds=collating,
        cpu_share=_computing(steady),
        sample_bytes=_tensor_bytes(batch) // len(seen.samples),
        process_bytes=max(0, warm[-1].bytes - warm[0].bytes_before),
        growth_bytes_per_sample=growth(range(len(warm)), [reading.resident for reading in warm]),
        stages={name: share * mean for name, share in seen.stages.items()},
        hot=seen.hot,
        hot_share=seen.hot_share,
        first_seconds=max(0.0, warm[0].seconds - mean),
    )


def step_probe(job: Job, setting: Setting, steps: int, seconds: float = math.inf) -> StepProbe:
    """The step alone, on batches already in memory: at least `steps` passes, in whole optimizer steps.

    Args:
        job: whose step.
        setting: at which batch, precision and so on; the caller has set the threads.
        steps: forward passes to time.
        seconds: what the probe may take; a slow step is timed less often, one optimizer step at least.
    """
    begin, cuda = time.perf_counter(), job.device.type == "cuda"
    batches = itertools.cycle(_cached(job, setting.batch, seconds / 4))
    limits.forget_peak()
    stepper, clock = job.stepper(setting), Clock(job.device)
    group = setting.accumulate
    # Whole optimizer steps only, or the price of one would be shared out wrongly.
    warm = group * math.ceil(WARM_PASSES / group)
    for number in range(warm):
        float(stepper(number, next(batches), clock))
    clock.seconds.clear()
    clock.start()
    times, cpu = [], time.process_time()
    for first in range(warm, warm + group * max(LEAST_ROUNDS, math.ceil(steps / group)), group):
        start = time.perf_counter()
        for number in range(first, first + group):
            float(stepper(number, next(batches), clock))
        times.append((time.perf_counter() - start) / group)
        if time.perf_counter() - begin > 0.8 * seconds:
            break
    mean, passes = float(np.mean(times)), len(times) * group
    return StepProbe(
        seconds=mean,
        half_width=mean * min(1.0, relative_half_width(times)),
        phases={phase: spent / passes for phase, spent in clock.seconds.items()},
        device_bytes=torch.cuda.max_memory_allocated() if cuda else 0,
        process_bytes=limits.peak_resident(),
        cpu_seconds=(time.process_time() - cpu) / passes,
    )


def full_probe(
    job: Job,
    setting: Setting,
    steps: int,
    root: int | None = None,
    whole: bool = False,
    seconds: float = math.inf,
    expected: float | None = None,
) -> FullProbe:
    """Loader and step together, as training runs them.

    Args:
        job: whose samples and step.
        setting: with how many workers, at which batch and so on; the caller has set the threads.
        steps: forward passes to time at most; fewer once the rate is `estimate.settled`.
        root: process whose tree is weighed, this one by default.
        whole: time every pass, as a search for leaks needs it.
        seconds: what the probe may take.
        expected: the forecast of the rate.

    Raises:
        ValueError: the job ends before there is one whole round to time.
    """
    # A round: one batch of every worker, and whole optimizer steps.
    began, group = time.perf_counter(), math.lcm(max(1, setting.workers), setting.accumulate)
    warm = group * math.ceil(2 * max(1, setting.workers) / group)
    timed = group * max(LEAST_ROUNDS, math.ceil(steps / group))
    spare = setting.workers * setting.prefetch + group  # else the loader would have less to do towards the end
    cuda = job.device.type == "cuda"
    batches = loader(
        job.samples(), job.order(setting.batch, warm + timed + spare), setting.workers, setting.prefetch, cuda
    )
    course = _Course(Clock(job.device), Levels(root or os.getpid(), job.device))
    with _source(batches) as source:
        walk = _walk(job, setting, source, course)
        for _ in range(warm):
            next(walk)
        queue = Queue.now(course.levels.root)
        course.begin()
        for count, _ in enumerate(itertools.islice(walk, timed), 1):
            if count % group == 0 and count >= LEAST_ROUNDS * group:
                # Every whole round asks: would more of them change the verdict?
                rate, width = throughput(course.ends, course.began, setting.batch, group)
                sure = settled(rate, width, expected) and not course.levels.grow() and not whole
                if sure or time.perf_counter() - began > 0.8 * seconds:
                    break
        rate, width = throughput(course.ends, course.began, setting.batch, group)
        return course.probe(rate, width, queue.contended())


# The loader ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """Of one sample, in the process that drew it: wall, CPU and run-queue seconds; memory before and after."""

    seconds: float
    cpu: float
    queue: float
    bytes_before: int  # proportional set size
    bytes: int
    resident: int


class Watched(Dataset):
    """A dataset whose items are readings of what drawing the sample took."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Reading:
        own = os.getpid()
        before, (cpu, queue) = limits.proportional_memory_of(own), limits.cpu_and_queue([own])
        begin = time.perf_counter()
        self.dataset[key]
        seconds, (cpu_after, queue_after) = time.perf_counter() - begin, limits.cpu_and_queue([own])
        after, resident = limits.proportional_memory_of(own), limits.resident_memory([own])
        return Reading(seconds, cpu_after - cpu, queue_after - queue, before, after, resident)


def _draw(dataset: Dataset, keys: list[Key], seconds: float) -> list[Reading]:
    """Readings of the samples `keys`, drawn by one new loader process until `seconds` are over."""
    readings, begin = [], time.perf_counter()
    batches = DataLoader(
        Watched(dataset), sampler=keys, batch_size=None, num_workers=1, collate_fn=lambda reading: reading
    )
    with _source(batches) as source:
        for reading in source:
            readings.append(reading)
            if time.perf_counter() - begin > seconds:
                break
    return readings


def _steady(readings: list[Reading]) -> list[Reading]:
    """Readings without the first ones of the process, a quarter of all at most; a single one stays."""
    return readings[max(1, min(profiler.FIRST, len(readings) // 4)) :] or readings


def _computing(readings: Sequence[Reading]) -> float:
    """Share of the time in which a process computed, of that in which it was not kept waiting for a CPU; at most 1."""
    cpu, wall = sum(r.cpu for r in readings), sum(r.seconds - r.queue for r in readings)
    return cpu / max(cpu, wall, 1e-9)


@contextlib.contextmanager
def _source(batches: DataLoader) -> Iterator[Iterator[Any]]:
    """The iterator of a loader whose processes are killed afterwards, whatever they are at.

    torch would wait for each to finish its batch, up to 5 s, and take their death for an accident meanwhile.
    """
    source: Any = iter(batches)
    try:
        yield source
    finally:
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for process in multiprocessing.active_children():
            process.kill()
        if batches.num_workers:
            source._shutdown_workers()
        signal.signal(signal.SIGCHLD, handler)


def _cached(job: Job, batch: int, seconds: float) -> list[Any]:
    """Two batches made of up to `DISTINCT` samples, as many as can be drawn in `seconds`."""
    dataset, begin, samples = job.samples(), time.perf_counter(), []
    for key in itertools.chain.from_iterable(job.order(1, DISTINCT)):
        samples.append(dataset[key])
        if time.perf_counter() - begin > seconds:
            break
    endless = itertools.cycle(samples)
    return [default_collate(list(itertools.islice(endless, batch))) for _ in range(2)]


def _tensor_bytes(batch: Any) -> int:
    """Bytes of all tensors in a collated batch."""
    leaves = tree_leaves(batch)
    return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor))


# Loader and step -----------------------------------------------------------------------------------------------------


@dataclass
class _Course:
    """What is noted along the passes of a full probe."""

    clock: Clock
    levels: Levels
    ends: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    began: float = 0.0
    pauses: float = 0.0  # spent on reading memory: taken out of every time

    def now(self) -> float:
        return time.perf_counter() - self.pauses

    def begin(self) -> None:
        """The passes from here on count."""
        self.ends.clear()
        self.clock.seconds.clear()
        self.clock.start()
        self.began = self.now()

    def note(self, loss: float) -> None:
        """One pass is over."""
        self.losses.append(loss)
        self.ends.append(self.now())
        if self.began and self.levels.due(self.ends[-1] - self.began):
            self.pauses += self.levels.read(len(self.ends))
            self.clock.start()

    def probe(self, rate: float, width: float, contended: float) -> FullProbe:
        """The record."""
        passes, total, levels = len(self.ends), sum(self.clock.seconds.values()), self.levels
        return FullProbe(
            rate=rate,
            half_width=width,
            busy=1 - self.clock.seconds["load"] / total,
            steps=passes,
            phases={phase: spent / passes for phase, spent in self.clock.seconds.items()},
            losses=(self.losses[0], self.losses[-1]),
            host_bytes=limits.proportional_memory(levels.root),
            host_growth=growth(levels.at, levels.host),
            device_bytes=torch.cuda.max_memory_allocated() if levels.cuda else 0,
            device_growth=growth(levels.at, levels.device),
            contended=contended,
        )


def _walk(job: Job, setting: Setting, source: Iterator[Any], course: _Course) -> Iterator[None]:
    """Pass after pass; everything is noted in `course`."""
    stepper, clock = job.stepper(setting), course.clock
    clock.start()
    for number in itertools.count():
        batch = next(source)
        clock.lap("load")
        loss = float(stepper(number, batch, clock))
        clock.lap("other")
        course.note(loss)
        yield
