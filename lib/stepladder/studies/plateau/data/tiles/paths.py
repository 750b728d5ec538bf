"""Drives along the roads of a tile: where a car is every half second.

Decisions:
- At a junction every arriving dart is matched to a leaving one: an assignment problem over the angles turned and a
  seeded whim. So every branch is driven once in each direction, mostly straight on, and routes are long.
- Traffic keeps left in Japan: a quarter of the road's width to the left of the centre line.
- Around a junction the skeleton bends into its corners; those points are left out and a smoothing spline bridges the
  gap. The same spline gives heading and curvature exactly, and curvature limits the speed.
- Where a road is drawn over another surface, the drive takes the levels with the least sum of squared climbs: under
  an elevated road and over a bridge alike, without a jump.
- Routes are found in the tile's region plus its halo and then cut to the region: every pose belongs to one tile, and
  a window around it never leaves the tile's shard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import solveh_banded
from scipy.optimize import linear_sum_assignment

from stepladder.core.types import Box
from stepladder.studies.plateau.data.tiles.centrelines import CentreLines, along, follow, leaving
from stepladder.studies.plateau.params import PlateauConversion

Height = Callable[[np.ndarray, np.ndarray], np.ndarray]

STEP_M = 1.0  # distance between the points a spline is fitted to
SMOOTH_M = 4.0  # bends shorter than about this are smoothed away
OFFSET_M = 3.0  # largest distance from the centre line
ACCELERATE_MPS2 = 1.5  # comfortable speeding up and braking
CREEP_MPS = 1.5  # no bend is taken slower than this
END_RAD2 = 4.0  # cost of ending a route at a junction; a right-angled turn costs 2.5
UNDER_M2 = 0.05  # cost of a frame below a deck, so that a flat bridge is driven over
WHIM_RAD2 = 1.5  # mean of the random cost that sometimes makes a turn out of going straight on


@dataclass(frozen=True)
class Paths:
    """Drives as arrays.

    Attributes:
        pose_P4: x, y (projected metres), z (metres), yaw (radians, counter-clockwise from east) of every frame.
        path_P: number of the path each pose belongs to, ascending.
    """

    pose_P4: np.ndarray
    path_P: np.ndarray

    def clips(self, frames: int, stride: int) -> np.ndarray:
        """Rows of the first pose of every clip of `frames` poses, `stride` apart along each path; int32."""
        _, first, count = np.unique(self.path_P, return_index=True, return_counts=True)
        starts = [np.arange(a, a + n - frames + 1, stride) for a, n in zip(first, count, strict=True)]
        return np.concatenate([*starts, np.zeros(0)]).astype(np.int32)


def drive(
    lines: CentreLines,
    region: Box,
    levels: Sequence[Height],
    conversion: PlateauConversion,
    seed: int | Sequence[int],
) -> Paths:
    """Drives that cover every branch of `lines` in both directions, cut to `region`.

    Args:
        lines: the road network of the region and its halo.
        region: poses outside are left out, and the path goes on as another one where it comes back.
        levels: heights in metres at x, y of what can be driven on: the ground, then decks (NaN where there are none).
        conversion: time between frames, cruising speed, sideways acceleration, least length of a path.
        seed: of the choice of turns.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    pieces: list[np.ndarray] = []
    for route in follow(_turns(lines, rng)):
        trimmed = [_trimmed(dart, lines) for dart in route]
        line_K2, half_K = (np.concatenate(part) for part in zip(*trimmed, strict=True))
        if _travelled(line_K2)[-1] >= conversion.least_path_m:
            pieces += _inside(_frames(_keep_left(line_K2, half_K), conversion), region, conversion)
    plan_P3 = np.concatenate([*pieces, np.zeros((0, 3))])
    path_P = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece) for piece in pieces])
    level_LP = np.array([level(plan_P3[:, 0], plan_P3[:, 1]) for level in levels])
    z_P = np.concatenate([np.zeros(0), *(_smoothest(level_LP[:, path_P == path]) for path in range(len(pieces)))])
    return Paths(np.column_stack((plan_P3[:, :2], z_P, plan_P3[:, 2])), path_P)


def _turns(lines: CentreLines, rng: np.random.Generator) -> list[int]:
    """For every dart the one that follows it, or -1: at each junction the assignment with the least turning."""
    next_D = [-1] * (2 * len(lines.branches))
    for _, darts in sorted(leaving(lines.branches).items()):
        if len(darts) == 1:
            continue
        cost = _turning([_trimmed(dart, lines)[0] for dart in darts])
        np.fill_diagonal(cost, END_RAD2)  # the way back is the end of the route
        for row, column in zip(
            *linear_sum_assignment(cost + WHIM_RAD2 * rng.exponential(size=cost.shape)), strict=True
        ):
            if row != column and cost[row, column] < END_RAD2:
                next_D[darts[row] ^ 1] = darts[column]
    return next_D


def _turning(lines: list[np.ndarray]) -> np.ndarray:
    """Squared angle turned (rad2) when arriving along line i and leaving along line j, all lines leaving a junction.

    The turn has two halves, into the chord across the junction and out of it; equal halves give the angle's square.
    """
    away_J = np.array([_leaves(line) for line in lines])
    start_J = np.array([complex(*line[0]) for line in lines])
    chord_JJ = start_J[None, :] - start_J[:, None] + away_J[None, :] - away_J[:, None]
    half_1_JJ, half_2_JJ = np.angle(-chord_JJ / away_J[:, None]), np.angle(away_J[None, :] * chord_JJ.conj())
    return 2 * (half_1_JJ**2 + half_2_JJ**2)


def _trimmed(dart: int, lines: CentreLines) -> tuple[np.ndarray, np.ndarray]:
    """Points and half widths of a dart outside the discs of its two nodes; at least its middle."""
    line_K2, half_K = along(dart, lines.branches)
    keep = np.ones(len(line_K2), dtype=bool)
    for node in (lines.branches[dart >> 1].tail, lines.branches[dart >> 1].head):
        keep &= np.hypot(*(line_K2 - lines.node_N2[node]).T) > lines.radius_N[node]
    middle = len(line_K2) // 2
    keep[max(0, middle - 2) : middle + 2] = True
    return line_K2[keep], half_K[keep]


def _leaves(line_K2: np.ndarray) -> complex:
    """Direction of a line's first ten metres, as a complex number of length one."""
    far = min(int(np.searchsorted(_travelled(line_K2), 10.0)), len(line_K2) - 1)
    step = complex(*(line_K2[far] - line_K2[0]))
    return step / abs(step)


def _travelled(line_K2: np.ndarray) -> np.ndarray:
    """Metres from the first point to each point."""
    return np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(line_K2, axis=0).T))))


def _spline(line_K2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smoothing cubic spline along a line, every `STEP_M`: points, first and second derivative (each (S, 2)).

    The knots minimise their squared distance to the line plus `SMOOTH_M ** 4` times the squared second derivative
    (Whittaker smoothing: a pentadiagonal system).
    """
    at_K = _travelled(line_K2)
    at_S = np.linspace(0.0, at_K[-1], max(6, int(at_K[-1] / STEP_M)))
    even_S2 = np.column_stack([np.interp(at_S, at_K, column) for column in line_K2.T])
    bands_3S = np.tile(np.array([[1.0], [-4.0], [6.0]]), len(at_S))
    bands_3S[1, [1, -1]], bands_3S[2, [0, 1, -2, -1]] = -2.0, (1.0, 5.0, 5.0, 1.0)
    bands_3S *= (SMOOTH_M / at_S[1]) ** 4
    bands_3S[2] += 1.0
    spline = CubicSpline(at_S, solveh_banded(bands_3S, even_S2))
    return spline(at_S), spline(at_S, 1), spline(at_S, 2)


def _keep_left(line_K2: np.ndarray, half_K: np.ndarray) -> np.ndarray:
    """A line a quarter of the road's width to the left of a centre line, smooth."""
    point_S2, forward_S2, _ = _spline(line_K2)
    at_K = _travelled(line_K2)
    half_S = np.interp(np.linspace(0.0, at_K[-1], len(point_S2)), at_K, half_K)
    left_S2 = np.column_stack((-forward_S2[:, 1], forward_S2[:, 0])) / np.hypot(*forward_S2.T)[:, None]
    return point_S2 + left_S2 * np.minimum(half_S / 2, OFFSET_M)[:, None]


def _frames(line_K2: np.ndarray, conversion: PlateauConversion) -> np.ndarray:
    """x, y, yaw every `frame_s` of a drive along a line, no faster than its bends allow; (F, 3)."""
    point_S2, first_S2, second_S2 = _spline(line_K2)
    stretch_S = np.hypot(*first_S2.T)
    curvature_S = np.abs(first_S2[:, 0] * second_S2[:, 1] - first_S2[:, 1] * second_S2[:, 0]) / stretch_S**3
    at_S = _travelled(point_S2)
    speed_S = _speed(at_S, curvature_S, conversion)
    time_S = np.concatenate(([0.0], np.cumsum(np.diff(at_S) * 2 / (speed_S[1:] + speed_S[:-1]))))
    at_F = np.interp(np.arange(0.0, time_S[-1], conversion.frame_s), time_S, at_S)
    yaw_S = np.unwrap(np.arctan2(first_S2[:, 1], first_S2[:, 0]))
    x_F, y_F, yaw_F = (np.interp(at_F, at_S, column) for column in (*point_S2.T, yaw_S))
    return np.column_stack((x_F, y_F, np.angle(np.exp(1j * yaw_F))))


def _speed(at_S: np.ndarray, curvature_S: np.ndarray, conversion: PlateauConversion) -> np.ndarray:
    """Speed at distances `at_S`: at most cruising, sqrt(a / curvature) in a bend, and reached by gentle changes."""
    bend_S = np.sqrt(conversion.curve_mps2 / np.maximum(curvature_S, 1e-9))
    square_S = np.clip(bend_S, CREEP_MPS, conversion.speed_mps) ** 2
    gain_S = 2 * ACCELERATE_MPS2 * at_S  # v^2 changes by at most 2 a ds, forwards and backwards
    square_S = gain_S + np.minimum.accumulate(square_S - gain_S)
    square_S = np.minimum.accumulate((square_S + gain_S)[::-1])[::-1] - gain_S
    return np.sqrt(square_S)


def _inside(frame_F3: np.ndarray, region: Box, conversion: PlateauConversion) -> list[np.ndarray]:
    """The unbroken runs of frames within `region` that are at least `least_path_m` long."""
    x, y = frame_F3[:, 0], frame_F3[:, 1]
    inside = (x >= region[0]) & (x < region[2]) & (y >= region[1]) & (y < region[3])
    edges = np.flatnonzero(np.diff(np.concatenate(([False], inside, [False]))))
    runs = [frame_F3[start:stop] for start, stop in edges.reshape(-1, 2)]
    return [run for run in runs if _travelled(run[:, :2])[-1] >= conversion.least_path_m]


def _smoothest(level_LP: np.ndarray) -> np.ndarray:
    """Heights along a path, each one of its levels (NaN: not there), with the least sum of squared steps."""
    if np.isnan(level_LP[1:]).all():
        return level_LP[0]
    cost_L = np.zeros(len(level_LP))
    came_PL = np.zeros(level_LP.T.shape, dtype=np.int64)
    under_LP = UNDER_M2 * (~np.isnan(level_LP[::-1])).cumsum(axis=0)[::-1]  # levels at or above each one
    for p in range(1, level_LP.shape[1]):
        step_LL = (level_LP[None, :, p] - level_LP[:, None, p - 1]) ** 2 + cost_L[:, None]
        step_LL = np.where(np.isnan(step_LL), np.inf, step_LL)
        came_PL[p] = step_LL.argmin(axis=0)
        cost_L = step_LL.min(axis=0) + under_LP[:, p]
    level = [int(cost_L.argmin())]
    for came_L in came_PL[:0:-1]:
        level.append(int(came_L[level[-1]]))
    return level_LP[level[::-1], np.arange(level_LP.shape[1])]
