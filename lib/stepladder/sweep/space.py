"""A sweep file in W&B's schema, checked, and the settings it stands for.

Decisions:
- The schema is W&B's (docs.wandb.ai, "Sweep configuration options"), so a file that runs there runs here. Keys about
  where to run it there (`program`, `command`, `project`, `entity`) are accepted and said to be without meaning here.
- What is not supported is refused by name, with what is: a sweep that quietly ignored `early_terminate` or a
  distribution would answer another question than was asked.
- Every parameter is a function from a share in 0..1 to a value (the inverse of its cumulative distribution). So a grid,
  random draws and a Gaussian process all work in the unit cube.
- Parameters are named as in `--set`: `model.width`, or nested as `model: {parameters: {width: ...}}`.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy.special import ndtri

from stepladder.core.config import ParameterError, check, nearest, read_yaml
from stepladder.core.schema import Section

IDLE = ("program", "command", "project", "entity")  # of W&B's agents
REFUSED = {"early_terminate": "trials here are short and run to their end; remove it, or lower training.steps"}


class Metric(Section):
    """What is optimised."""

    name: str = Field(description="a metric of the study, such as nRMSE@rollout")
    goal: Literal["minimize", "maximize"] = Field("minimize", description="which values are better")
    target: float | None = Field(None, description="no new trial begins once this is reached")


class Knob(Section):
    """One parameter of a sweep."""

    value: Any = Field(None, description="a constant")
    values: list[Any] | None = Field(None, min_length=1, description="what to choose from")
    probabilities: list[float] | None = Field(None, description="of `values`, in random search")
    distribution: str | None = Field(None, description="how values are spread; None: W&B's rule")
    min: int | float | None = Field(None, description="smallest value")
    max: int | float | None = Field(None, description="largest value")
    mu: float = Field(0.0, description="mean (normal), or mean of the logarithm (log_normal)")
    sigma: float = Field(1.0, gt=0, description="standard deviation of the same")
    q: float = Field(1.0, gt=0, description="step of the q_ distributions")

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value, of a distribution that needs them."""
        assert self.min is not None and self.max is not None
        return self.min, self.max


class SweepFile(Section):
    """A sweep file."""

    method: Literal["grid", "random", "bayes"] = Field(description="how settings are chosen")
    metric: Metric = Field(description="what is optimised")
    parameters: dict[str, dict[str, Any]] = Field(min_length=1, description="name -> how it varies")
    name: str | None = Field(None, description="folder of the results; None: the file's name")
    description: str | None = Field(None, description="for people")
    run_cap: int | None = Field(None, ge=1, description="trials at most; None: the whole grid, or 20")
    program: str | None = Field(None, description="without meaning here")
    command: list[str] | None = Field(None, description="without meaning here")
    project: str | None = Field(None, description="without meaning here")
    entity: str | None = Field(None, description="without meaning here")


@dataclass(frozen=True)
class Axis:
    """One parameter: `at(share)` is its value at a share of its distribution, `choices` all values if they are few."""

    name: str
    at: Callable[[float], Any]
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Space:
    """A checked sweep."""

    file: SweepFile
    axes: tuple[Axis, ...]

    def grid(self) -> list[dict[str, Any]]:
        """All combinations, the last parameter fastest.

        Raises:
            ParameterError: a parameter has no list of values.
        """
        for axis in self.axes:
            if axis.choices is None:
                raise ParameterError(
                    f"sweep parameter {axis.name!r} is continuous: a grid needs `values`, int_uniform or q_uniform; "
                    "or set method: random"
                )
        combined = itertools.product(*(axis.choices or () for axis in self.axes))
        return [dict(zip((axis.name for axis in self.axes), values, strict=True)) for values in combined]

    def at(self, shares: Sequence[float]) -> dict[str, Any]:
        """The setting at a point of the unit cube."""
        return {axis.name: axis.at(float(share)) for axis, share in zip(self.axes, shares, strict=True)}


def read(path: Path) -> Space:
    """The sweep of a file.

    Raises:
        ParameterError: a key, distribution or value that cannot be used, by name.
    """
    values = read_yaml(path)
    for key, why in REFUSED.items():
        if key in values:
            raise ParameterError(f"{path.name}: {key!r} is not supported: {why}")
    try:
        file = check(SweepFile, values)
        knobs = flat(file.parameters)
        return Space(file, tuple(axis(name, knob) for name, knob in knobs.items()))
    except ParameterError as error:
        raise ParameterError(f"{path.name}: {error}") from None


def flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, Knob]:
    """`model.width` -> knob, of parameters that may be nested under `parameters`."""
    found: dict[str, Knob] = {}
    for key, spec in parameters.items():
        name = prefix + key
        if isinstance(spec, dict) and "parameters" in spec:
            found |= flat(spec["parameters"], f"{name}.")
            continue
        try:
            found[name] = check(Knob, spec)
        except ParameterError as error:
            raise ParameterError(f"sweep parameter {name!r}: {error}") from None
    return found


def axis(name: str, knob: Knob) -> Axis:
    """The axis of one parameter."""
    kind = knob.distribution or _usual(name, knob)
    if kind not in DISTRIBUTIONS:
        raise ParameterError(f"sweep parameter {name!r}: no distribution {kind!r} here{nearest(kind, DISTRIBUTIONS)}")
    needed = DISTRIBUTIONS[kind].needs
    missing = [key for key in needed if getattr(knob, key) is None]
    if missing:
        raise ParameterError(f"sweep parameter {name!r}: {kind} needs {' and '.join(needed)}; {missing[0]} is missing")
    if "min" in needed and not knob.bounds[0] < knob.bounds[1]:
        raise ParameterError(f"sweep parameter {name!r}: min = {knob.min:g} is not below max = {knob.max:g}")
    if kind in POSITIVE and knob.bounds[0] <= 0:
        raise ParameterError(f"sweep parameter {name!r}: {kind} is of positive values, min = {knob.min:g} is not")
    return DISTRIBUTIONS[kind].make(name, knob)


def _usual(name: str, knob: Knob) -> str:
    """The distribution W&B takes where none is named."""
    if knob.values is not None:
        return "categorical_w_probabilities" if knob.probabilities else "categorical"
    if knob.min is not None and knob.max is not None:
        return "int_uniform" if isinstance(knob.min, int) and isinstance(knob.max, int) else "uniform"
    if {"mu", "sigma"} & knob.model_fields_set:
        return "normal"
    if "value" in knob.model_fields_set:
        return "constant"
    raise ParameterError(f"sweep parameter {name!r} says nothing: give value, values, or min and max")


# Distributions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distribution:
    """What a distribution needs, and how it makes an axis."""

    needs: tuple[str, ...]
    make: Callable[[str, Knob], Axis]


def _choose(name: str, choices: Sequence[Any], probabilities: Sequence[float] | None = None) -> Axis:
    """An axis of choices, each as likely as the others or as said."""
    if probabilities is not None and (len(probabilities) != len(choices) or not math.isclose(sum(probabilities), 1)):
        wanted = f"{len(choices)} probabilities that sum to 1"
        raise ParameterError(f"sweep parameter {name!r}: {wanted} are needed, got {probabilities}")
    edges = np.cumsum(probabilities or [1 / len(choices)] * len(choices))
    last = len(choices) - 1
    return Axis(name, lambda share: choices[min(int(np.searchsorted(edges, share, "right")), last)], tuple(choices))


def _integers(name: str, knob: Knob) -> Axis:
    low, high = knob.bounds
    return _choose(name, range(math.ceil(low), math.floor(high) + 1))


def _line(inner: Callable[[float], float], outer: Callable[[float], float]) -> Callable[[str, Knob], Axis]:
    """Uniform between inner(min) and inner(max), then through `outer`."""

    def make(name: str, knob: Knob) -> Axis:
        low, high = map(inner, knob.bounds)
        return Axis(name, lambda share: outer(low + share * (high - low)))

    return make


def _bell(outer: Callable[[float], float]) -> Callable[[str, Knob], Axis]:
    def make(name: str, knob: Knob) -> Axis:
        return Axis(name, lambda share: outer(knob.mu + knob.sigma * float(ndtri(min(max(share, 1e-9), 1 - 1e-9)))))

    return make


def _stepped(inner: Callable[[str, Knob], Axis], listed: bool = False) -> Callable[[str, Knob], Axis]:
    """Values of another distribution, rounded to multiples of q."""

    def make(name: str, knob: Knob) -> Axis:
        plain = inner(name, knob)

        def rounded(value: float) -> float:
            return _tidy(round(value / knob.q) * knob.q)

        steps = range(round(knob.bounds[0] / knob.q), round(knob.bounds[1] / knob.q) + 1) if listed else None
        choices = tuple(_tidy(step * knob.q) for step in steps) if steps else None
        return Axis(name, lambda share: rounded(plain.at(share)), choices)

    return make


def _tidy(value: float) -> float:
    """A whole number as an int, and no dust of binary fractions."""
    value = float(f"{value:.12g}")
    return int(value) if value == int(value) else value


def _same(value: float) -> float:
    return float(value)


UNIFORM, LOG_VALUES = _line(_same, _same), _line(math.log, math.exp)
NORMAL, LOG_NORMAL = _bell(_same), _bell(math.exp)
BOTH = ("min", "max")
DISTRIBUTIONS = {
    "constant": Distribution(("value",), lambda name, knob: _choose(name, [knob.value])),
    "categorical": Distribution(("values",), lambda name, knob: _choose(name, knob.values or ())),
    "categorical_w_probabilities": Distribution(
        ("values", "probabilities"), lambda name, knob: _choose(name, knob.values or (), knob.probabilities)
    ),
    "int_uniform": Distribution(BOTH, _integers),
    "uniform": Distribution(BOTH, UNIFORM),
    "q_uniform": Distribution(BOTH, _stepped(UNIFORM, listed=True)),
    "log_uniform": Distribution(BOTH, _line(_same, math.exp)),
    "log_uniform_values": Distribution(BOTH, LOG_VALUES),
    "q_log_uniform_values": Distribution(BOTH, _stepped(LOG_VALUES)),
    "normal": Distribution((), NORMAL),
    "q_normal": Distribution((), _stepped(NORMAL)),
    "log_normal": Distribution((), LOG_NORMAL),
    "q_log_normal": Distribution((), _stepped(LOG_NORMAL)),
}
POSITIVE = ("log_uniform_values", "q_log_uniform_values")
