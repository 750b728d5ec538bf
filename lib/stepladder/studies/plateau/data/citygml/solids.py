"""Faces of simple solids, for the synthetic town: prisms and houses with flat, shed, gabled and hipped roofs.

A solid is a list of rings (N, 3), one per planar face, without the repeated last point, counter-clockwise seen from
outside. Faces take their corners from one table, so neighbours agree to the last bit: every edge lies in exactly two
faces, in opposite directions, and stays so after any rounding. Outlines are counter-clockwise seen from above.
"""

from typing import Literal

import numpy as np

Rings = list[np.ndarray]
Roof = Literal["flat", "shed", "gabled", "hipped"]
SHORTEST_RIDGE_M = 0.05  # below it, rounding could merge the ends


def rectangle(centre_2: np.ndarray, along_2: np.ndarray, width: float, depth: float) -> np.ndarray:
    """Outline (4, 2) of a rectangle, counter-clockwise; `width` runs along the unit vector `along_2`."""
    half, across = 0.5 * width * np.asarray(along_2), 0.5 * depth * np.array([-along_2[1], along_2[0]])
    return np.asarray(centre_2) + np.stack([-half - across, half - across, half + across, -half + across])


def at(outline_N2: np.ndarray, z: float | np.ndarray) -> np.ndarray:
    """The outline lifted to height `z`: (N, 3)."""
    return np.column_stack([outline_N2, np.broadcast_to(z, len(outline_N2))])


def prism(outline_N2: np.ndarray, low: float, high: float) -> Rings:
    """Floor, top and walls of the solid between the heights `low` and `high`."""
    faces = house(outline_N2, low, high, high, "flat")
    return [*faces["GroundSurface"], *faces["RoofSurface"], *faces["WallSurface"]]


def house(outline_N2: np.ndarray, low: float, eaves: float, ridge: float, roof: Roof) -> dict[str, Rings]:
    """Faces of a house by CityGML surface class; every roof but a flat one needs four corners.

    The ridge of a gabled or hipped roof runs parallel to the first side, which should be the longer one; all slopes of
    a hipped roof are equally steep, and over a square it is a pyramid. A shed roof rises from side one to side three.
    """
    count = len(outline_N2)
    bottom, top = at(outline_N2, low), at(outline_N2, eaves)
    apex = {}  # wall number -> the roof's highest point above that wall
    if roof == "flat":
        roofs = [top]
    elif roof == "shed":
        top[2:, 2] = ridge
        roofs = [top]
    else:
        roofs, apex = _ridged(top, ridge, roof)
    walls = []
    for side in range(count):
        after = (side + 1) % count
        peak = [apex[side]] if side in apex else []
        walls.append(np.array([bottom[side], bottom[after], top[after], *peak, top[side]]))
    return {"GroundSurface": [bottom[::-1].copy()], "RoofSurface": roofs, "WallSurface": walls}


def _ridged(top_43: np.ndarray, ridge: float, roof: Roof) -> tuple[Rings, dict[int, np.ndarray]]:
    """Slopes of a gabled or hipped roof over four eaves corners, and the gables' tips by the number of their wall."""
    start, end = at((top_43[[0, 1], :2] + top_43[[3, 2], :2]) / 2, ridge)
    if roof == "gabled":
        slopes = [np.array([top_43[0], top_43[1], end, start]), np.array([top_43[2], top_43[3], start, end])]
        return slopes, {1: end, 3: start}
    width, depth = np.linalg.norm(top_43[1:3] - top_43[0:2], axis=1)
    shift = (end - start) * (0.5 * depth / width)
    start, end = start + shift, end - shift
    pyramid = np.linalg.norm(end - start) < SHORTEST_RIDGE_M
    start, end = ((start + end) / 2,) * 2 if pyramid else (start, end)
    tips = ([end, start], [end], [start, end], [start])
    return [np.array([top_43[i], top_43[i - 3], *tips[i][: 1 if pyramid else 2]]) for i in range(4)], {}


def triangles(ring_N3: np.ndarray) -> Rings:
    """A convex ring as a fan of triangles (for surfaces that follow the ground and are not quite planar)."""
    return [ring_N3[[0, i, i + 1]] for i in range(1, len(ring_N3) - 1)]


def hull(points_N2: np.ndarray) -> np.ndarray:
    """Convex hull, counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, points_N2))

    def chain(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in points:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))


def offset(line_N2: np.ndarray, left: float) -> np.ndarray:
    """The polyline moved `left` metres to its left (mitred; meant for gentle bends)."""
    steps = np.diff(line_N2, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    tangents = np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    mitre = np.concatenate([[1.0], 1 / np.sum(tangents[1:-1] * steps[1:], axis=1), [1.0]])
    return line_N2 + left * mitre[:, None] * np.column_stack([-tangents[:, 1], tangents[:, 0]])
