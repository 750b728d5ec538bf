"""The search's measurer of a real job: every measurement is one trial in a process of its own.

Decisions:
- A trial that does not end well is an answer like any other: its ending and its reason; nothing here raises for what
  the job does.
- Fake memory is asked for setting by setting but computed for all candidate batches at once, because opening the job
  takes longer than faking a step.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stepladder.ladder.forecast.memory import deciding
from stepladder.ladder.measure.runner import Runner
from stepladder.ladder.records import FullProbe, LoaderProbe, Probe, StepProbe, Trial
from stepladder.training.setting import Setting

FAKE_SECONDS = 60.0


class ProcessMeasurer:
    """The measurer of a real job: every trial is a process of its own (see `records.Measurer`).

    Args:
        job: `module:function` that opens it.
        arguments: of that function, JSON types.
        folder: where specifications, logs and results of the trials are left.
        seconds: a trial that takes longer is stopped.
        memory: bytes above which a trial is stopped.
        batches: candidates whose fake memory will be asked for.
        runner: to share its warm process with other measurers.
        processes: training processes that share the CPUs; a trial is one of them, and keeps to its part.
    """

    def __init__(
        self,
        job: str,
        arguments: dict[str, Any],
        folder: Path,
        seconds: float,
        memory: float,
        batches: Sequence[int] = (),
        runner: Runner | None = None,
        processes: int = 1,
    ):
        self.job, self.arguments, self.folder, self.batches = job, arguments, folder, batches
        self.seconds, self.memory, self.processes = seconds, memory, processes
        self._runner, self._number = runner or Runner(), 0
        self._fakes: dict[Setting, int | None] = {}

    def loader(self, samples: int) -> Trial[LoaderProbe]:
        """A trial of the loader alone: `samples` samples drawn cold, then warm, by one process each."""
        return self._trial(LoaderProbe, "loader", Setting(), samples)

    def step(self, setting: Setting, steps: int) -> Trial[StepProbe]:
        """A trial of `steps` forward passes on cached batches."""
        return self._trial(StepProbe, "step", setting, steps)

    def full(
        self, setting: Setting, steps: int, whole: bool = False, expected: float | None = None
    ) -> Trial[FullProbe]:
        """A trial of loader and step together: at most `steps` timed forward passes, all of them where `whole`."""
        return self._trial(FullProbe, "full", setting, steps, whole=whole, expected=expected)

    def fake_bytes(self, setting: Setting) -> int | None:
        """Bytes of a step by fake tensors; None where it cannot be faked."""
        alike = [deciding(one) for one in _same_total(setting, {*self.batches, setting.batch})]
        if deciding(setting) not in self._fakes:
            spec = self._spec("fake", setting, 0) | {"settings": [asdict(one) for one in alike]}
            _, measured = self._run(spec, min(self.seconds, FAKE_SECONDS))
            found = measured["bytes"] if measured else {}
            self._fakes |= {one: found.get(str(one.batch)) for one in alike}
        return self._fakes[deciding(setting)]

    def memory_limit(self) -> int:
        """Bytes the process tree may use."""
        return int(self.memory)

    def device_limit(self) -> int | None:
        """Bytes of the accelerator; None without one."""
        return self._device_bytes

    def close(self) -> None:
        """End the warm process that trials are forked from; another trial starts another."""
        self._runner.close()

    @cached_property
    def _device_bytes(self) -> int | None:
        """Asked in a trial: the notebook itself must not open the device, which takes memory there."""
        _, found = self._run(self._spec("device", Setting(), 0), self.seconds)
        return found["bytes"] if found else None

    def _trial(self, kind: type[Probe], probe: str, setting: Setting, count: int, **more: Any) -> Trial[Probe]:
        death, measured = self._run(self._spec(probe, setting, count) | more, self.seconds)
        result = _record(kind, measured) if measured else None
        return Trial(setting, death.ending, death.reason, death.seconds, death.peak_bytes, result)

    def _run(self, spec: dict[str, Any], seconds: float) -> Any:
        self._number += 1
        path = self.folder / f"{self._number:02d}_{spec['probe']}.json"
        return self._runner.run(spec, path, seconds, self.memory)

    def _spec(self, probe: str, setting: Setting, count: int) -> dict[str, Any]:
        return {
            "job": self.job,
            "arguments": self.arguments,
            "probe": probe,
            "setting": asdict(setting),
            "count": count,
            "seconds": self.seconds,
            "processes": self.processes,
        }


def _record(kind: type[Probe], fields: dict[str, Any]) -> Probe:
    """A probe from its JSON: lists are tuples, and null is a number that was not finite."""
    return kind(**{name: _value(value) for name, value in fields.items()})


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    return math.nan if value is None else value


def _same_total(setting: Setting, batches: set[int]) -> list[Setting]:
    """`setting` at other batches, with accumulation to the same samples per optimizer step where they divide them."""
    total = setting.batch * setting.accumulate
    return [
        setting if b == setting.batch else replace(setting, batch=b, accumulate=max(1, total // b)) for b in batches
    ]
