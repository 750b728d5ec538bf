"""Simulated jobs: a `Measurer` without a clock, for the proof of the search.

Decisions:
- A discrete-event simulation of processes and queues, written apart from the loader model's recurrence and with what
  that does not know: loader processes slow each other down along a curve, oversubscribed cores are shared, steps
  jitter, the first samples come from a cold cache, the first steps are slow, one sample in a hundred takes several
  times as long, and every trial has a luck of its own (3 %).
- Memory has edges on both sides: the accelerator's by batch, the host's by loader processes and batches prepared
  ahead. A trial beyond an edge ends out of memory and is counted.
- A trial costs its start-up and every second it would have run. The grid pays the same prices.
"""

import heapq
import math
from dataclasses import dataclass, field, replace

import numpy as np

from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.ladder.measure.estimate import relative_half_width, settled, throughput
from stepladder.ladder.records import FullProbe, LoaderProbe, StepProbe, Trial
from stepladder.training.setting import Setting

WORKERS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
BATCHES = (1, 2, 4, 8, 16, 32)
LUCK = 0.03  # standard deviation of a trial's speed, between trials
TRUTH_STEPS = 240


@dataclass(frozen=True)
class Job:
    """What is true of one job. Seconds and bytes."""

    seed: int
    cores: int
    sample: float  # mean seconds of one sample, alone
    spread: float  # its coefficient of variation
    cpu_share: float
    outliers: float  # a share of samples takes `outlier` times as long
    outlier: float
    contention: float  # slowdown of loading when all cores load
    bend: float  # exponent of that curve
    fixed: float  # of a step
    per_sample: float
    jitter: float
    step_cpu: float  # CPU seconds of a step over its seconds
    cold: float  # extra cost of the first samples, relative
    start_up: float
    sample_bytes: int
    worker_bytes: int
    device_fixed: int
    device_per_sample: int
    device_limit: int
    host_limit: int

    @classmethod
    def draw(cls, seed: int) -> "Job":
        """A job as they are met: 2 ms to 2 s a sample, 4 to 32 cores, balance anywhere between data and compute."""
        rng = np.random.default_rng(seed)

        def log(low: float, high: float) -> float:
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))

        cores = int(rng.choice([4, 6, 8, 12, 16, 24, 32]))
        sample = log(0.002, 2.0)
        step = sample / log(0.3, 2.0 * cores)  # seconds of computing per sample at batch 4
        share = rng.uniform(0.1, 0.9)
        device_per_sample = int(log(0.1e9, 4e9))
        device_fixed = int(log(0.5e9, 4e9))
        sample_bytes = int(min(log(1e5, 5e7), 5e8 * sample))  # nothing is made faster than 500 MB/s
        worker_bytes = int(log(5e7, 1.5e9))
        return cls(
            seed=seed,
            cores=cores,
            sample=sample,
            spread=rng.uniform(0.05, 0.6),
            cpu_share=float(rng.choice([1.0, 0.9, 0.3])),
            outliers=0.01,
            outlier=rng.uniform(3, 10),
            contention=rng.uniform(0, 0.6),
            bend=rng.uniform(1, 2.5),
            fixed=4 * step * share,
            per_sample=step * (1 - share),
            jitter=rng.uniform(0.01, 0.1),
            step_cpu=float(rng.choice([0.2, 1.0])),
            cold=rng.uniform(0, 1),
            start_up=rng.uniform(2, 5),
            sample_bytes=sample_bytes,
            worker_bytes=worker_bytes,
            device_fixed=device_fixed,
            device_per_sample=device_per_sample,
            device_limit=int(device_fixed + device_per_sample * log(1.3, 80)),
            host_limit=int(2e9 + log(2, 100) * (worker_bytes + 4 * sample_bytes)),
        )

    @property
    def space(self) -> dict[str, list]:
        """What the search may try: up to one and a half times as many loader processes as cores."""
        return {"workers": [w for w in WORKERS if w <= 1.5 * self.cores], "batch": list(BATCHES)}

    def settings(self) -> list[Setting]:
        """The grid."""
        return [Setting(workers, batch) for workers in self.space["workers"] for batch in self.space["batch"]]

    def device_bytes(self, batch: int) -> int:
        """Of the accelerator, with the few per cent by which allocators round."""
        rounding = 1 + 0.03 * math.sin(self.seed + 7 * batch)
        return int(self.device_fixed + self.device_per_sample * batch * rounding)

    def host_bytes(self, setting: Setting) -> int:
        """Of the process tree."""
        ahead = (setting.workers * setting.prefetch + 1) * setting.batch * self.sample_bytes
        return int(1.5e9 + max(1, setting.workers) * self.worker_bytes + setting.workers * 5e7 + ahead)

    def fits(self, setting: Setting) -> bool:
        """Whether a training at `setting` stays below both limits."""
        return self.host_bytes(setting) <= self.host_limit and self.device_bytes(setting.batch) <= self.device_limit

    def true_rate(self, setting: Setting) -> float:
        """Samples per second in the long run; 0 where it does not fit."""
        if not self.fits(setting):
            return 0.0
        rounds = max(1, setting.workers)
        steps = max(TRUTH_STEPS, 12 * rounds)
        run = Run(replace(self, cold=0.0), setting, np.random.default_rng(1), luck=(1.0, 1.0))
        ends = run.step_ends(4 * rounds + steps)
        return steps * setting.batch / (ends[-1] - ends[4 * rounds - 1])


@dataclass
class Run:
    """One training under way: loader processes with queues, and a training process that takes batches in order."""

    job: Job
    setting: Setting
    rng: np.random.Generator
    luck: tuple[float, float]  # of loading and of computing
    waited: float = 0.0
    asked: int = 0  # batches asked for
    taken: int = 0  # batches received
    free_at: float = 0.0
    queues: list[list[int]] = field(default_factory=list)
    loading: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    events: list[tuple[float, int, int]] = field(default_factory=list)  # when, worker (-1: a step ended), batch

    def step_ends(self, steps: int) -> list[float]:
        """When each of the first `steps` steps ended."""
        self.work = self._draw(steps)
        if not self.setting.workers:
            return self._alone(steps)
        self.queues = [[] for _ in range(self.setting.workers)]
        for _ in range(self.setting.workers * self.setting.prefetch):
            self._ask(0.0, steps)
        ends, stepping, idle_since = [], False, 0.0
        while len(ends) < steps:
            now, worker, batch = heapq.heappop(self.events)
            if worker < 0:
                ends.append(now)
                stepping, idle_since = False, now
            else:
                self.ready.add(batch)
                self.loading.discard(worker)
                self._begin(worker, now)
            if not stepping and self.taken in self.ready:
                self.ready.discard(self.taken)
                self.taken += 1
                self.waited += now - idle_since
                self._ask(now, steps)
                stepping = True
                heapq.heappush(self.events, (now + self._step(len(ends)), -1, 0))
        return ends

    def _draw(self, steps: int) -> list[float]:
        """Seconds to load each batch alone and undisturbed."""
        job, shape = self.job, (steps, self.setting.batch)
        width = math.sqrt(math.log(1 + job.spread**2))
        seconds = job.sample * self.rng.lognormal(-(width**2) / 2, width, shape)
        seconds *= np.where(self.rng.random(shape) < job.outliers, job.outlier, 1.0)
        first = np.arange(seconds.size).reshape(shape)
        seconds *= 1 + job.cold * np.exp(-first / 16)
        return (seconds.sum(axis=1) * self.luck[0]).tolist()

    def _alone(self, steps: int) -> list[float]:
        now, ends = 0.0, []
        for step in range(steps):
            load = self.work[step]
            self.waited += load
            now += load + self._step(step)
            ends.append(now)
        return ends

    def _ask(self, now: float, steps: int) -> None:
        if self.asked < steps:
            worker = self.asked % self.setting.workers
            self.queues[worker].append(self.asked)
            self.asked += 1
            self._begin(worker, now)

    def _begin(self, worker: int, now: float) -> None:
        if worker in self.loading or not self.queues[worker]:
            return
        batch = self.queues[worker].pop(0)
        self.loading.add(worker)
        job, busy = self.job, len(self.loading)
        crowd = 1 + job.contention * min(1.5, busy / job.cores) ** job.bend
        shared = max(1.0, (busy * job.cpu_share + job.step_cpu) / job.cores)
        handover = 1e-3 + self.setting.batch * job.sample_bytes / 2e10
        heapq.heappush(self.events, (now + self.work[batch] * crowd * shared + handover, worker, batch))

    def _step(self, number: int) -> float:
        job = self.job
        demand = len(self.loading) * job.cpu_share + job.step_cpu
        shared = max(1.0, demand / job.cores) if job.step_cpu == 1.0 else 1.0
        jitter = max(0.5, 1 + job.jitter * self.rng.standard_normal())
        warm_up = 2.0 if number < 2 else 1.0
        seconds = job.fixed + job.per_sample * self.setting.batch
        receiving = 3e-4 + self.setting.batch * job.sample_bytes / 8e9 if self.setting.workers else 0.0
        return seconds * self.luck[1] * jitter * shared * warm_up + receiving


class SimulatedMeasurer:
    """Trials of one simulated job; counts what they cost and how many ran out of memory."""

    def __init__(self, job: Job, seconds: float = 600.0):
        self.job, self.limit = job, seconds
        self.rng = np.random.default_rng([job.seed, 1])
        self.trials, self.ooms, self.spent = 0, 0, 0.0

    def loader(self, samples: int) -> Trial[LoaderProbe]:
        """See `Measurer`."""
        alone = Run(self.job, Setting(0, 1), self.rng, self._luck())
        times = np.array(alone._draw(2 * samples))
        cold, warm = times[:samples], times[samples:]
        probe = LoaderProbe(
            sample_seconds=tuple(warm.tolist()),
            cold_seconds=float(cold.mean()),
            collate_seconds=0.0,
            cpu_share=self.job.cpu_share,
            sample_bytes=self.job.sample_bytes,
            process_bytes=int(self.job.worker_bytes * self.rng.normal(1, 0.02)),
            growth_bytes_per_sample=0.0,
        )
        return self._trial(Setting(0, 1), float(times.sum()), probe)

    def step(self, setting: Setting, steps: int) -> Trial[StepProbe]:
        """See `Measurer`."""
        if self.job.device_bytes(setting.batch) > self.job.device_limit:
            return self._oom(setting)
        alone = Run(self.job, setting, self.rng, self._luck())
        seconds = np.array([alone._step(2 + number) for number in range(steps)])
        probe = StepProbe(
            seconds=float(seconds.mean()),
            half_width=float(seconds.mean() * relative_half_width(seconds)),
            device_bytes=self.job.device_bytes(setting.batch),
            process_bytes=int(1.5e9),
            cpu_seconds=float(seconds.mean() * self.job.step_cpu),
        )
        return self._trial(setting, float(seconds.sum()) * (steps + 2) / steps, probe)

    def full(
        self, setting: Setting, steps: int, whole: bool = False, expected: float | None = None
    ) -> Trial[FullProbe]:
        """See `Measurer`."""
        if not self.job.fits(setting):
            return self._oom(setting)
        rounds = max(1, setting.workers)
        warm, timed = 2 * rounds, max(3, math.ceil(steps / rounds)) * rounds
        run = Run(self.job, setting, self.rng, self._luck())
        ends = run.step_ends(warm + timed)
        begin = ends[warm - 1]
        for enough in range(3 * rounds, timed + 1, rounds):
            rate, half_width = throughput(ends[warm : warm + enough], begin, setting.batch, rounds)
            if settled(rate, half_width, expected) and not whole:
                break
        ends, timed = ends[: warm + enough], enough
        computing = timed * (self.job.fixed + self.job.per_sample * setting.batch) * run.luck[1]
        waiting = run.waited > 0.2 * ends[-1]
        probe = FullProbe(
            rate=rate,
            half_width=half_width,
            busy=min(1.0, computing / (ends[-1] - begin)),
            steps=timed,
            losses=(1.0, 0.9),
            host_bytes=self._level(setting, waiting),
            device_bytes=self.job.device_bytes(setting.batch),
        )
        return self._trial(setting, ends[-1], probe)

    def fake_bytes(self, setting: Setting) -> int:
        """See `Measurer`: without the context and the allocator's rounding."""
        self.spent += 1.5
        return int(self.job.device_fixed * 0.8 + self.job.device_per_sample * setting.batch)

    def memory_limit(self) -> int:
        """See `Measurer`."""
        return self.job.host_limit

    def device_limit(self) -> int:
        """See `Measurer`."""
        return self.job.device_limit

    def _luck(self) -> tuple[float, float]:
        load, step = np.exp(self.rng.normal(0, LUCK, 2))
        return float(load), float(step)

    def _level(self, setting: Setting, waiting: bool) -> int:
        """Memory as a trial sees it: where the loader cannot keep up, the batches ahead are not there."""
        missing = setting.workers * (setting.prefetch - 1) * setting.batch * self.job.sample_bytes if waiting else 0
        return self.job.host_bytes(setting) - missing

    def _trial(self, setting: Setting, seconds: float, probe) -> Trial:
        self.trials += 1
        seconds = self.job.start_up + 0.05 * setting.workers + seconds
        if seconds > self.limit:
            self.spent += self.limit
            return Trial(setting, "timeout", f"stopped after {self.limit:.0f} s", self.limit)
        self.spent += seconds
        peak = probe.host_bytes if isinstance(probe, FullProbe) else 0
        return Trial(setting, "ok", "ran to its end", seconds, peak, probe)

    def _oom(self, setting: Setting) -> Trial:
        self.trials += 1
        self.ooms += 1
        self.spent += self.job.start_up + 1
        return Trial(setting, "oom", "out of memory", self.job.start_up + 1, self.job.host_limit)


def params(job: Job) -> tuple[LadderParams, TrainingParams]:
    """Parameters of the search over the whole grid: the batch is released, for the question here is speed."""
    ladder = LadderParams(**job.space, keep_global_batch=False, seconds=600.0, memory_fraction=1.0)
    return ladder, TrainingParams(steps=1000, batch=4)
