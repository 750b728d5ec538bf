"""Samples from shards: windows of trajectories to train on, whole trajectories to be scored.

Decisions:
- A sample is the state at one time, the frames after it, and everything that decides the physics: coefficients, steps,
  boundary, equation, coordinates. A steady problem's state is the given field and its only frame the answer.
- Windows overlap, so the unit that intervals resample is the trajectory.
- Particles: the state is position and displacement since the frame before, and the displacement before that stands
  beside it: what a particle cannot see (a thermostat, a field) shows in how its velocity changed last. The frames to
  forecast are continued across the box's border, so that differences are distances.
- Files of particles hold few, long trajectories: with a horizon they are scored on consecutive stretches of it (as
  LagrangeBench does), each a unit of its own.
- Groups are drawn by `size ** temperature`: 0 gives all alike, 1 each in proportion to its samples.

Keys (X: YX or ZYX on grids of more axes, and the points of a mesh): `input_XC`, `target_TXC`, `coefficient_K`, `dx`,
`dt`, `equation`, `boundary`, `position_XD`, `index`; of meshes and particles also `edge_E2` (int64, padded with -1),
and where there are any `cell_M3` with `distance_X2` (from the borders, see `conversion`), or `type_X`; of particles
`before_XD`, the displacement before, and `box_2D`, the lower and upper corner of their box; `given_YXC` where
a force drives a problem in time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core.types import Sample, StudyError
from stepladder.data.shards import Shard
from stepladder.studies.pde.data import clock
from stepladder.studies.pde.data.equations import BOUNDARIES, EQUATIONS, number
from stepladder.studies.pde.params import PdeParams


class Trajectories:
    """One shard as trajectories: `sample` cuts a window out of one.

    The arrays are read-only maps of the file. Frames are numbered in steps of `stride` frames of the shard.
    """

    def __init__(self, path: Path, stride: int = 1):
        self.shard, self.stride = Shard(path), stride
        names = self.shard.names
        self.u_name = next(name for name in names if name.startswith("u_NT"))
        self.letters = self.u_name.removeprefix("u_NT").removesuffix("C")
        facts = self.shard.attributes
        self.kind, self.group, self.boundary = facts["kind"], str(facts["group"]), facts["boundary"]
        self.equation, self.steady = facts["equation"], facts["steady"]
        self.position_name = (
            next(name for name in names if name.startswith("position_")) if self.kind != "particles" else ""
        )
        self.count, self.stored = self.shard.array(self.u_name).shape[:2]
        self.frames = -(-self.stored // stride)
        if stride > 1 and self.kind == "particles":
            raise StudyError(f"model.stride = {stride}: particles are forecast frame by frame; set it to 1")

    @property
    def starts(self) -> range:
        """Frames a window may start at, before the window's length is known."""
        return range(2 if self.kind == "particles" else 0, self.frames)

    def unit(self, n: int) -> str:
        """Name of trajectory `n`, unique over all shards."""
        return f"{self.shard.path.stem}/{self.shard.attributes['first'] + n}"

    @property
    def coefficient_NK(self) -> np.ndarray:
        """Coefficients of every trajectory."""
        return self.shard.array("coefficient_NK")

    def sample(self, n: int, start: int, length: int, step: int | None = None) -> Sample:
        """State of trajectory `n` at frame `start`, and the `length` frames after it.

        With `step`, frames of the shard, they are seen by the clock (see `clock.py`) by which it lasts as long as
        `stride` frames do; a window that would not fit starts earlier.
        """
        step = step or self.stride
        state, ahead = self._frames(n, start, length, step)
        factor = np.float32(step / self.stride)
        if EQUATIONS[self.equation].timed == "fields":
            state, ahead = factor * state, factor * ahead
        position = self._position(n, state)
        return {
            f"input_{self.letters}C": state,
            f"target_T{self.letters}C": ahead,
            "coefficient_K": factor * self.coefficient_NK[n],
            "dx": np.float32(self._spacing(position)),
            "dt": np.float32(self.step),
            "equation": number(self.equation),
            "boundary": BOUNDARIES.index(self.boundary),
            f"position_{self.letters}D": position,
            **self._driver(n),
            **self._before(n, start),
            **self._graph(n, start),
        }

    def _frames(self, n: int, start: int, length: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        u = self.shard.array(self.u_name)[n]
        if self.steady:
            given = next((name for name in self.shard.names if name.startswith("given_")), None)
            state = self.shard.array(given)[n] if given else self._position(n, u[0])
            return np.array(state), np.array(u)
        if self.kind == "particles":
            # Positions unwrapped from the first frame on: in a periodic box a stored path jumps, a sum of steps does
            # not.
            moved = self._displacements(u[start - 1 : start + length + 1])
            path = u[start] + np.concatenate([np.zeros_like(moved[:1]), np.cumsum(moved[1:], axis=0)])
            state = np.concatenate([path, moved], axis=-1).astype(np.float32)
            return state[0], state[1:]
        # A window seen by another clock (`step`) may be longer than what is left: then it begins earlier.
        first = min(start * self.stride, self.stored - 1 - length * step)
        return np.array(u[first]), np.array(u[first + step : first + length * step + 1 : step])

    def _driver(self, n: int) -> dict[str, np.ndarray]:
        """The given field of a problem in time (a force), which is not its state."""
        name = f"given_N{self.letters}C"
        if self.steady or name not in self.shard.names:
            return {}
        return {f"given_{self.letters}C": np.array(self.shard.array(name)[n])}

    def _before(self, n: int, start: int) -> dict[str, np.ndarray]:
        """Displacements of particles that led to the frame before."""
        if self.kind != "particles":
            return {}
        u = self.shard.array(self.u_name)[n, start - 2 : start]
        return {"before_XD": self._displacements(u)[0].astype(np.float32)}

    def _displacements(self, u_TXD: np.ndarray) -> np.ndarray:
        """Differences of consecutive frames, the shortest ones in a periodic box."""
        moved = np.diff(u_TXD, axis=0)
        facts = self.shard.attributes["facts"]
        box = np.ptp(np.asarray(facts["bounds"], dtype=np.float64), axis=1)
        periodic = np.asarray(facts["periodic_boundary_conditions"])
        return np.where(periodic, moved - box * np.round(moved / box), moved)

    def _position(self, n: int, state: np.ndarray) -> np.ndarray:
        if self.kind == "particles":
            return state[:, : state.shape[-1] // 2].copy()
        position = self.shard.array(self.position_name)
        return np.array(position[n] if self.position_name.startswith("position_N") else position)

    def _spacing(self, position: np.ndarray) -> float:
        """Distance of neighbours on a grid, median length of an edge on a mesh, 0 for particles."""
        if self.kind == "particles":
            return 0.0
        if self.kind == "mesh":
            edge_E2 = self.shard.array("edge_E2")
            return float(np.median(np.linalg.norm(position[edge_E2[:, 0]] - position[edge_E2[:, 1]], axis=-1)))
        corner = (0,) * (position.ndim - 1)
        return float(np.linalg.norm(position[(1, *corner[1:])] - position[corner]))

    @property
    def step(self) -> float:
        """Time between two frames of a sample; 0 of a steady problem."""
        time_T = self.shard.array("time_T")
        return self.stride * float(time_T[1] - time_T[0]) if len(time_T) > 1 else 0.0

    def _graph(self, n: int, start: int) -> dict[str, np.ndarray]:
        names = self.shard.names
        graph = {}
        if "edge_NTE2" in names:
            graph["edge_E2"] = self.shard.array("edge_NTE2")[n, start].astype(np.int64)
        if "edge_E2" in names:
            graph["edge_E2"] = self.shard.array("edge_E2").astype(np.int64)
        for name in ("cell_M3", "type_X"):
            if name in names:
                graph[name] = self.shard.array(name).astype(np.int64)
        if "distance_NX2" in names:
            graph["distance_X2"] = np.array(self.shard.array("distance_NX2")[n])
        if "distance_X2" in names:
            graph["distance_X2"] = np.array(self.shard.array("distance_X2"))
        if self.kind == "particles":
            graph["box_2D"] = np.asarray(self.shard.attributes["facts"]["bounds"], dtype=np.float32).T.copy()
        return graph


class _Samples:
    """What windows and cases share: places (shard, trajectory, start, length), groups, units, weights."""

    groups: np.ndarray
    clusters: np.ndarray
    weights: Mapping[str, float]

    def __init__(self, shards: Sequence[Path], params: PdeParams):
        self.params = params
        self.shards = [Trajectories(Path(path), params.model.stride) for path in shards]
        self.places = [
            (number, n, start, length)
            for number, shard in enumerate(self.shards)
            for n in range(shard.count)
            for start, length in self.windows(shard)
        ]
        self.groups = np.array([self.shards[place[0]].group for place in self.places], dtype=str)
        self.clusters = np.array([self.unit(*place) for place in self.places], dtype=str)
        names, sizes = np.unique(self.groups, return_counts=True)
        self.weights = {
            str(name): float(size) ** params.model.temperature for name, size in zip(names, sizes, strict=True)
        }

    def windows(self, shard: Trajectories) -> list[tuple[int, int]]:
        """Start and length of every sample of one trajectory."""
        raise NotImplementedError

    def unit(self, number: int, n: int, start: int, length: int) -> str:
        """Name of what is independent of other samples: the trajectory."""
        return self.shards[number].unit(n)

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Sample `index` (see the module), plain: other equivalents are drawn on the device (`symmetries`)."""
        number, n, start, length = self.places[index]
        return {**self.shards[number].sample(n, start, length), "index": int(index)}


class Windows(_Samples):
    """Every window of `1 + model.rollout` frames of every trajectory: the training samples.

    With `model.early` the first windows stand several times: their step is the hardest, and a rollout lives on it.
    With `model.rescale` some of those drawn by a generator are seen by another clock.
    """

    def __init__(self, shards: Sequence[Path], params: PdeParams):
        super().__init__(shards, params)
        known: dict[str, list[np.ndarray]] = {}
        for shard in self.shards:
            known.setdefault(shard.equation, []).append(shard.coefficient_NK)
        every = {equation: np.concatenate(parts) for equation, parts in known.items()}
        self.bounds = {equation: (told_NK.min(0), told_NK.max(0)) for equation, told_NK in every.items()}

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """Sample `index`; plain without `rng`."""
        number, n, start, length = self.places[index]
        shard = self.shards[number]
        if rng is None or not EQUATIONS[shard.equation].timed or rng.random() >= self.params.model.rescale:
            return super().sample(index)
        known, most = self.bounds[shard.equation], (shard.stored - 1) // length
        step = clock.frames(shard.coefficient_NK[n], known, shard.stride, most, rng)
        return {**shard.sample(n, start, length, step), "index": int(index)}

    def windows(self, shard: Trajectories) -> list[tuple[int, int]]:
        """Start and length of every training window of one trajectory, early ones more than once."""
        if shard.steady:
            return [(0, shard.frames)]
        rollout = self.params.model.rollout
        if shard.frames <= rollout + shard.starts.start:
            raise StudyError(
                f"{shard.shard.path.stem}: {shard.frames} frames are too few for model.rollout = {rollout} "
                f"(model.stride = {shard.stride}); lower these or conversion.every_frame"
            )
        # The k-th window stands `early / (k + 1)` times: early ones often, later ones once.
        starts = [start for start in shard.starts if start + rollout < shard.frames]
        times = [max(1, round(self.params.model.early / (place + 1))) for place in range(len(starts))]
        return [(start, rollout) for start, count in zip(starts, times, strict=True) for _ in range(count)]


class Cases(_Samples):
    """Every trajectory from its first state on, `evaluation.horizon` frames long: what is scored and shown.

    Particles with a horizon: every stretch of it, one after the other.
    """

    def windows(self, shard: Trajectories) -> list[tuple[int, int]]:
        """Start and length of what is scored of one trajectory: once, or of particles stretch by stretch."""
        if shard.steady:
            return [(0, shard.frames)]
        start, horizon = shard.starts.start, self.params.evaluation.horizon
        longest = shard.frames - 1 - start
        if longest < 1:
            raise StudyError(f"{shard.shard.path.stem}: no frame is left to forecast (model.stride = {shard.stride})")
        if shard.kind == "particles" and 0 < horizon < longest:
            return [(first, horizon) for first in range(start, shard.frames - horizon, horizon)]
        return [(start, min(horizon or longest, longest))]

    def unit(self, number: int, n: int, start: int, length: int) -> str:
        """The trajectory; of particles, the stretch of it."""
        shard = self.shards[number]
        return shard.unit(n) if start == shard.starts.start else f"{shard.unit(n)}@{start}"


def key(batch: Mapping[str, Any], start: str) -> str:
    """The name in a sample or batch that begins with `start`: `input_XC`, `input_YXC` ... by the grid."""
    return next(name for name in batch if name.startswith(start))
