"""What every reader returns: fields over time on a grid, a mesh or particles, with coefficients, coordinates and units.

Decisions:
- One type for all three kinds. Space is as many axes as the grid has, or one axis of points; trajectories and frames
  come before it and fields after it, always.
- A reader takes only the part it is asked for (`Take`): published files are larger than memory.
- A trajectory with values that are not finite is left out and counted, never repaired.
- The trajectories of one file share their times: a file whose times differ is refused, because a shard has one clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from stepladder.core.types import Issue, StudyError

ROUNDING = 1e-5  # share of the whole time within which two clocks are the same


@dataclass(frozen=True)
class Take:
    """Which part of a file is read: `count` trajectories from `first` on, every n-th point and frame."""

    first: int = 0
    count: int | None = None
    every_point: int = 1
    every_frame: int = 1

    @property
    def rows(self) -> slice:
        """The trajectories."""
        return slice(self.first, None if self.count is None else self.first + self.count)

    @property
    def frames(self) -> slice:
        """The frames."""
        return slice(None, None, self.every_frame)

    @property
    def points(self) -> slice:
        """The points along every axis of a grid."""
        return slice(None, None, self.every_point)


@dataclass(frozen=True)
class Fields:
    """Some trajectories of one equation.

    Attributes:
        kind: what the space axes are.
        equation: a name in `equations.EQUATIONS`.
        names: of the C fields of `u`.
        u: float32 (N, T, *space, C); particles: their positions.
        axes: of a grid: coordinates along each space axis, in the order of the axes.
        points_PD: of a mesh or scattered points: where they are; (N, P, D) where each trajectory has its own.
        times_T: times of the frames; a steady field has one, 0.
        coefficients: by symbol; of all trajectories, or (N,) one for each.
        boundary: a name in `equations.BOUNDARIES`.
        given: the field the answer depends on, float32 (N, *space, C'); of a problem in time: what stays as it is
            while `u` moves (a force, a mask, a speed of sound).
        cells_M3, edges_E2: of a mesh: its triangles, its edges (each once, lower number first).
        types_P: of particles: an integer each.
        facts: what else the file says (JSON types): units, box, radius, provenance.
        issues: everything skipped or repaired.
    """

    kind: Literal["grid", "mesh", "particles"]
    equation: str
    names: tuple[str, ...]
    u: np.ndarray
    times_T: np.ndarray
    axes: tuple[np.ndarray, ...] = ()
    points_PD: np.ndarray | None = None
    coefficients: Mapping[str, Any] = field(default_factory=dict)
    boundary: str = "periodic"
    given: np.ndarray | None = None
    cells_M3: np.ndarray | None = None
    edges_E2: np.ndarray | None = None
    types_P: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()

    @property
    def space(self) -> tuple[int, ...]:
        """Length of each space axis."""
        return self.u.shape[2:-1]


def shared_times(times: np.ndarray, name: str) -> np.ndarray:
    """The times (T,) of all trajectories, from times (T,) or (N, T), in the unit of the file.

    Raises:
        StudyError: two trajectories have different times.
    """
    times = np.asarray(times, dtype=np.float64)
    if times.ndim == 1:
        return times
    alike_N = np.abs(times - times[0]).max(axis=1) <= ROUNDING * np.ptp(times[0])
    if not alike_N.all():
        number = np.flatnonzero(~alike_N)[0]
        raise StudyError(f"{name}: trajectory {number} has other times than trajectory 0: split the file by times")
    return times[0]


def without_gaps(fields: Fields, name: str) -> Fields:
    """`fields` less the trajectories that hold values that are not finite; each is counted.

    Raises:
        StudyError: nothing is left.
    """
    finite_N: Any = np.isfinite(fields.u).all(axis=tuple(range(1, fields.u.ndim)))
    if fields.given is not None:
        finite_N &= np.isfinite(fields.given).all(axis=tuple(range(1, fields.given.ndim)))
    if finite_N.all():
        return fields
    if not finite_N.any():
        raise StudyError(f"{name}: no trajectory is free of NaN and infinities ({len(finite_N)} looked at)")
    first = f"{name}, trajectory {np.flatnonzero(~finite_N)[0]}"
    points_PD = fields.points_PD
    kept = {key: value[finite_N] if np.ndim(value) else value for key, value in fields.coefficients.items()}
    return replace(
        fields,
        u=fields.u[finite_N],
        given=None if fields.given is None else fields.given[finite_N],
        points_PD=points_PD[finite_N] if points_PD is not None and points_PD.ndim == 3 else points_PD,
        coefficients=kept,
        issues=(*fields.issues, Issue("trajectory with NaN left out", int((~finite_N).sum()), first)),
    )
