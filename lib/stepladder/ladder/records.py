"""What the ladder's parts say to each other: what a trial measured, how it ended.

Decisions:
- A `Trial` is one probe of one setting in a process of its own. It always says how it ended; it holds measurements
  only when it ended well.
- A search is kept in `ladder.json` and read from there again (`read_search`), where it ran on another machine. A
  number that was not finite is null in the file, and no number when it is read.
- A `Measurer` is anything that can run trials: child processes around a real job, or a simulated job in a test. The
  search sees nothing else, so it is tested without a clock.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, Protocol, TypeVar

from stepladder.core.files import Json
from stepladder.machine.limits import Limits
from stepladder.training.setting import Setting

# ok; out of memory; over the time limit; somebody's signal; a crash (SEGV, BUS, ABRT ...); ended with an error;
# never tried, because a smaller setting or the forecast already ruled it out
Ending = Literal["ok", "oom", "timeout", "killed", "crashed", "failed", "skipped"]


@dataclass(frozen=True)
class LoaderProbe:
    """The loader alone: one process draws samples cold, a second one draws them warm. Seconds are wall clock."""

    sample_seconds: tuple[float, ...]  # of every sample after the first ones of a process, in the order drawn
    cold_seconds: float  # mean over samples touched for the first time (cold page cache)
    collate_seconds: float  # per sample
    cpu_share: float  # CPU seconds over wall seconds: 1 computes, 0 waits (disk, network, sleep)
    sample_bytes: int  # of one sample as it is handed to the step
    process_bytes: int  # PSS of the loader's process after the probe, above that of a process that loads nothing
    growth_bytes_per_sample: float  # what a loader process keeps for every sample it has drawn; 0 where it levels off
    stages: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds per sample, from the profile
    hot: str = ""  # what dominates, and where: `scipy.ndimage.median_filter in reader.py:41`
    hot_share: float = 0.0  # its share of the time of a sample
    first_seconds: float = 0.0  # what a new process pays once, with its first sample: compiling, opening files


@dataclass(frozen=True)
class StepProbe:
    """The step alone, on batches already in memory, at one setting."""

    seconds: float  # mean of one forward pass, its backward, and its share of the optimizer step
    half_width: float  # of the 95 % interval of that mean
    phases: Mapping[str, float] = field(default_factory=dict)  # host_to_device, forward, backward, optimizer, losses
    device_bytes: int = 0  # max_memory_allocated; 0 without an accelerator
    process_bytes: int = 0  # peak PSS of the process
    cpu_seconds: float = 0.0  # CPU seconds of one forward pass in this process (all threads)


@dataclass(frozen=True)
class FullProbe:
    """Loader and step together: what a training would do at this setting."""

    rate: float  # samples per second: samples over the total time of whole worker rounds, after the first 2k batches
    half_width: float  # of the 95 % interval of that rate
    busy: float  # share of time not spent waiting for data (accelerator utilisation)
    steps: int  # forward passes timed
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds per forward pass; `load` is waiting for data
    losses: tuple[float, ...] = ()  # first and last
    host_bytes: int = 0  # PSS of the process tree at the end
    host_growth: float = 0.0  # bytes per forward pass by which the tree's resident memory surely grows
    device_bytes: int = 0
    device_growth: float = 0.0
    contended: float = 0.0  # run-queue wait over (CPU + wait) of our processes: others took the machine

    @property
    def step_seconds(self) -> float:
        """Seconds of one forward pass and what follows it, without waiting for data."""
        return sum(seconds for phase, seconds in self.phases.items() if phase != "load")


Probe = TypeVar("Probe", LoaderProbe, StepProbe, FullProbe)


@dataclass(frozen=True)
class Trial(Generic[Probe]):
    """One probe of one setting, run in its own process under watch."""

    setting: Setting
    ending: Ending
    reason: str  # in words
    seconds: float = 0.0  # what it cost
    peak_bytes: int = 0  # PSS of the process tree, as the watchdog saw it
    probe: Probe | None = None  # only where `ending` is ok

    @property
    def measured(self) -> Probe:
        """The probe of a trial that ended well."""
        assert self.probe is not None, f"{self.setting}: {self.reason}"
        return self.probe


class Measurer(Protocol):
    """What can be measured of one job. Every call is one trial; none of them may raise for what the job does."""

    def loader(self, samples: int) -> Trial[LoaderProbe]:
        """The loader alone: `samples` samples drawn cold, then warm, by one process."""
        ...

    def step(self, setting: Setting, steps: int) -> Trial[StepProbe]:
        """The step alone: `steps` forward passes on cached batches; workers and prefetch of `setting` do not matter."""
        ...

    def full(
        self, setting: Setting, steps: int, whole: bool = False, expected: float | None = None
    ) -> Trial[FullProbe]:
        """Loader and step for `steps` timed passes; fewer once the rate is sure (see `estimate.settled`).

        `whole` asks for every pass; `expected` is the forecast of the rate.
        """
        ...

    def fake_bytes(self, setting: Setting) -> int | None:
        """Bytes of model, activations, gradients and optimizer at `setting` by fake tensors; None where unknown."""
        ...

    def memory_limit(self) -> int:
        """Bytes the process tree may use."""
        ...

    def device_limit(self) -> int | None:
        """Bytes of the accelerator; None without one."""
        ...


@dataclass(frozen=True)
class Cell:
    """The forecast for one setting, before anything is tried there."""

    setting: Setting
    rate: float  # samples per second
    host_bytes: int  # of the process tree at the end of training
    device_bytes: int  # 0 without an accelerator
    fits: bool
    reason: str = ""  # why it does not fit


Verdict = Literal["better", "not better", "tie", "refused"]


@dataclass(frozen=True)
class Candidate:
    """One setting that was tried in full and judged: measured beside forecast."""

    trial: Trial[FullProbe]
    verdict: Verdict
    reason: str
    forecast: Cell | None = None  # None under the policy `rungs`, which forecasts nothing

    @property
    def setting(self) -> Setting:
        """The setting that was tried."""
        return self.trial.setting

    @property
    def rate(self) -> float | None:
        """Measured samples per second; None where the trial did not end well."""
        return self.trial.probe.rate if self.trial.probe else None


@dataclass(frozen=True)
class Machine:
    """The machine that a search measured."""

    device: str  # name of its accelerator, or cpu
    limits: Limits  # when the search began
    name: str = ""  # TARGET/HOST of a rented one; empty: this machine

    def __str__(self) -> str:
        return f"{self.name or 'this machine'} ({self.device})"


@dataclass(frozen=True)
class Variant:
    """What the chosen setting takes with other values of `model` (see `variants`)."""

    model: Mapping[str, Any]  # overrides of `model`
    trial: Trial[FullProbe]
    fake_bytes: int | None  # of its step by fake tensors


@dataclass(frozen=True)
class SearchResult:
    """Everything one search did, in the order it did it."""

    policy: Literal["jump", "rungs"]
    rungs: tuple[Candidate, ...]
    chosen: Setting | None  # None: nothing ran to its end
    why: str  # why this one, in words: best, cheapest within the tie, rolled back after the soak ...
    loader: Trial[LoaderProbe] | None = None
    steps: tuple[Trial[StepProbe], ...] = ()
    cells: tuple[Cell, ...] = ()
    soak: Candidate | None = None
    fake_bytes: int | None = None  # of the chosen setting's step by fake tensors, for accelerators that are not here
    device_limit: float | None = None  # bytes of the accelerator that might be used; None without one
    machine: "Machine | None" = None  # where it was measured
    variants: tuple[Variant, ...] = ()  # other models at the chosen setting, where they were asked for

    @property
    def seconds(self) -> float:
        """Seconds that all trials of the search took."""
        trials = [*self.steps, *(candidate.trial for candidate in self.rungs)]
        trials += [self.loader] if self.loader else []
        trials += [self.soak.trial] if self.soak else []
        trials += [variant.trial for variant in self.variants]
        return sum(trial.seconds for trial in trials)


def read_search(found: Json) -> SearchResult:
    """A search as `dataclasses.asdict` and JSON have left it.

    Raises:
        KeyError, TypeError: it is no search, or one of another version.
    """
    machine, soak, loader = found["machine"], found["soak"], found["loader"]
    read: Json = {
        "rungs": tuple(_candidate(rung) for rung in found["rungs"]),
        "chosen": found["chosen"] and Setting(**found["chosen"]),
        "loader": loader and _trial(loader, LoaderProbe),
        "steps": tuple(_trial(step, StepProbe) for step in found["steps"]),
        "cells": tuple(_cell(cell) for cell in found["cells"]),
        "soak": soak and _candidate(soak),
        "machine": machine and Machine(**{**machine, "limits": Limits(**machine["limits"])}),
        "variants": tuple(_variant(one) for one in found.get("variants", ())),  # searches of old have none
    }
    return SearchResult(**{**found, **read})


def _candidate(found: Json) -> Candidate:
    forecast = found["forecast"]
    read: Json = {"trial": _trial(found["trial"], FullProbe), "forecast": forecast and _cell(forecast)}
    return Candidate(**{**found, **read})


def _variant(found: Json) -> Variant:
    return Variant(**{**found, "trial": _trial(found["trial"], FullProbe)})


def _cell(found: Json) -> Cell:
    return Cell(**{**_numbers(found, Cell), "setting": Setting(**found["setting"])})


def _trial(found: Json, kind: type[Probe]) -> Trial[Probe]:
    probe = found["probe"] and kind(**_numbers(found["probe"], kind))
    return Trial(**{**found, "setting": Setting(**found["setting"]), "probe": probe})


def _numbers(found: Json, kind: type[Any]) -> Json:
    """The fields of a record, null read as no number and lists as tuples."""
    real = {field.name for field in fields(kind) if field.type is float}

    def read(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(math.nan if item is None else item for item in value)
        return math.nan if value is None and name in real else value

    return {name: read(name, value) for name, value in found.items()}
