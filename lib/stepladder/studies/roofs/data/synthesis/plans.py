"""Random buildings: a plan, a roof over it, sometimes a wing, dormers and a garage, somewhere on the ground.

Decisions:
- Sizes are those of houses: 7 to 18 m, pitches 20 to 50 degrees, gutters 3 to 9 m above the ground, walls 0.2 to 0.7 m
  inside the eave.
- A cross wing is no wider than the main one and has its eave and pitch, so that its ridge runs into the main roof and
  two valleys follow.
- A dormer is put only where the face around it stays whole: it stands inside a face, or it is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from stepladder.studies.roofs.data.synthesis import edges, envelope, shapes
from stepladder.studies.roofs.data.synthesis.edges import Line
from stepladder.studies.roofs.data.synthesis.envelope import Face, Wing, rectangle

SIZES = (7.0, 18.0)  # metres of a house along a side
PITCHES = (20.0, 50.0)
EAVES = (3.0, 9.0)
KINDS = {"gable": 34, "hip": 14, "half-hip": 10, "T": 12, "L": 10, "pyramid": 4, "mansard": 5, "flat": 7, "shed": 4}
ROOF_TYPES = {"gable": "Gabled", "half-hip": "Gabled", "hip": "Hip", "pyramid": "pyramid", "flat": "Flat"}
DORMERS = ("gable", "gable", "hip", "shed")
MAIN, ANNEX = 0, 1  # numbers of the roofs of a building


@dataclass(frozen=True)
class Size:
    """Plan with overhang in metres (length >= width), pitch in degrees, height of the gutter, overhang in metres."""

    length: float
    width: float
    pitch: float
    eave: float
    overhang: float


@dataclass(frozen=True, eq=False)
class Building:
    """A house: its kind, its wings in place, and the height of the gutter of each of its roofs."""

    kind: str
    wings: tuple[Wing, ...]
    eaves: tuple[float, ...]
    overhang: float

    @cached_property
    def faces(self) -> list[Face]:
        """Visible faces, metres."""
        return envelope.faces(self.wings)

    @cached_property
    def lines(self) -> list[Line]:
        """Typed lines between and around the faces, metres."""
        return edges.lines(self.faces)

    @cached_property
    def outline(self) -> BaseGeometry:
        """What the building covers, overhang included."""
        return envelope.merged([Polygon(wing.polygon_P2) for wing in self.wings])

    @property
    def roof_types(self) -> tuple[str, ...]:
        """Names of RID for each of the roofs."""
        return (ROOF_TYPES.get(self.kind, "Complex"), "Flat")[: len(self.eaves)]


def building(rng: np.random.Generator, largest: float = SIZES[1]) -> Building:
    """A house about the origin whose main ridge runs along x; no side is longer than `largest` metres, or than 7.5."""
    kind = str(rng.choice(list(KINDS), p=np.array(list(KINDS.values())) / sum(KINDS.values())))
    size = _size(rng, kind, largest)
    wings = _main(rng, kind, size)
    eaves = [size.eave]
    if kind in ("gable", "hip", "half-hip", "T", "L"):
        wings += _dormers(rng, wings, size)
    if size.eave > 3.6 and rng.random() < 0.4:
        eaves.append(float(rng.uniform(2.4, min(3.0, size.eave - 1.0))))
        wings.append(_annex(rng, size, eaves[-1]))
    return Building(kind, tuple(wings), tuple(eaves), size.overhang)


def placed(house: Building, angle: float, shift_2: np.ndarray) -> Building:
    """The same house turned by `angle` radians about the origin, then shifted."""
    wings = tuple(wing.moved(angle, np.asarray(shift_2, float)) for wing in house.wings)
    return Building(house.kind, wings, house.eaves, house.overhang)


def _size(rng: np.random.Generator, kind: str, largest: float) -> Size:
    low, high = SIZES[0], min(max(largest, SIZES[0] + 0.5), SIZES[1])
    length, width = sorted(rng.uniform(low, high, 2), reverse=True)
    width = max(low, min(width, 13.0)) if kind != "flat" else width
    if kind == "pyramid":
        length = width
    pitch = rng.uniform(*PITCHES) if rng.random() < 0.5 else np.clip(rng.normal(36, 6), *PITCHES)
    storeys = rng.choice([1, 2, 3], p=[0.4, 0.45, 0.15])
    eave = float(np.clip(rng.normal(2.8 * storeys + 0.4, 0.4), *EAVES))
    return Size(length, width, float(pitch), eave, float(rng.uniform(0.2, 0.7)))


def _main(rng: np.random.Generator, kind: str, size: Size) -> list[Wing]:
    length, width, pitch, eave = size.length, size.width, size.pitch, size.eave
    if kind == "flat":
        return [shapes.flat(length, width, eave)]
    if kind == "shed":
        return [shapes.shed(length, width, min(pitch, 25.0), eave)]
    if kind == "pyramid":
        return [shapes.pyramid(width, pitch, eave)]
    if kind == "mansard":
        ends = ("hip", "hip") if rng.random() < 0.5 else ("gable", "gable")
        return [shapes.mansard(length, width, eave, rng.uniform(0.8, 1.6), ends)]
    if kind in ("T", "L"):
        return _crossed(rng, kind, size)
    ends = {"gable": ("gable", "gable"), "hip": ("hip", "hip"), "half-hip": ("half", "half")}[kind]
    return [shapes.pitched(length, width, pitch, eave, ends)]


def _crossed(rng: np.random.Generator, kind: str, size: Size) -> list[Wing]:
    """A main wing, and another that runs from its ridge out over its long side: at its end (L) or between (T)."""
    end = str(rng.choice(["gable", "hip"]))
    main = shapes.pitched(size.length, size.width, size.pitch, size.eave, (end, end))
    across = rng.uniform(0.55, 0.95) * min(size.width, 0.8 * size.length)
    reach = size.width / 2 + rng.uniform(1.5, max(2.0, min(7.0, size.length - size.width / 2)))
    room = (size.length - across) / 2
    place = room if kind == "L" else rng.uniform(-0.8, 0.8) * room
    ends = ("gable", str(rng.choice(["gable", "hip", "half"])))
    cross = shapes.pitched(reach, across, size.pitch, size.eave, ends[::-1])
    return [main, cross.moved(-np.pi / 2, np.array([place, reach / 2]))]


def _annex(rng: np.random.Generator, size: Size, height: float) -> Wing:
    """A garage or veranda with its gutter at `height`, flat or nearly so, at the main wing and under its overhang."""
    deep, wide = rng.uniform(2.5, 4.5), rng.uniform(3.0, min(7.0, size.width))
    wing = shapes.flat(wide, deep, height)
    if rng.random() < 0.3:
        wing = shapes.shed(wide, deep, rng.uniform(6, 12), height)
    at_end = rng.random() < 0.6
    out = (size.length if at_end else size.width) / 2 + deep / 2 - size.overhang
    angle = float(rng.choice([0.0, np.pi])) + (np.pi / 2 if at_end else 0.0)
    room = max(0.0, ((size.width if at_end else size.length) - wide) / 2)
    centre_2 = envelope.turn(angle) @ np.array([rng.uniform(-room, room), out])
    moved = wing.moved(angle, centre_2)
    return Wing(moved.polygon_P2, moved.planes_K3, ANNEX)


def _dormers(rng: np.random.Generator, wings: Sequence[Wing], size: Size) -> list[Wing]:
    """Up to three equal dormers on each of the large faces that are steep enough."""
    if size.pitch < 28 or rng.random() < 0.3:
        return []
    found: list[Wing] = []
    large = [face for face in envelope.faces(wings) if face.polygon.area > 25]
    for face in large[: rng.integers(1, 3)]:
        found += _row(rng, face, size)
    return found


def _row(rng: np.random.Generator, face: Face, size: Size) -> list[Wing]:
    """Equal dormers side by side, at one height of a face; those that fit."""
    front = rng.uniform(0.6, 1.6)  # metres in plan from the eave
    wing, width, depth = _dormer(rng, size, size.eave + shapes.slope(size.pitch) * front)
    frame, inside = Frame.of(face), face.polygon.buffer(-0.35, join_style="mitre")
    low, high = frame.along(inside)
    count = min(int(rng.integers(1, 4)), int((high - low) / (1.4 * width)))
    found = []
    for number in range(count):
        foot_2 = np.array([low + (number + 0.5) / count * (high - low), frame.lowest + front])
        plan_42 = foot_2 + rectangle(-width / 2, 0, width / 2, depth)
        if inside.contains(Polygon(frame.point(plan_42))):
            found.append(wing.moved(frame.angle, frame.point(foot_2[None])[0]))
    return found


def _dormer(rng: np.random.Generator, size: Size, foot: float) -> tuple[Wing, float, float]:
    """A dormer whose front stands where the roof is `foot` high, its width, and how far it shows in plan."""
    style, wall, rise = str(rng.choice(DORMERS)), rng.uniform(0.9, 1.4), shapes.slope(size.pitch)
    if style == "shed":
        width, pitch = rng.uniform(2.0, 5.0), rng.uniform(8, 15)
        depth = wall / (rise - shapes.slope(pitch))
    else:
        width, pitch = rng.uniform(1.6, 3.2), size.pitch
        depth = (wall + rise * width / 2) / rise
    make = {"gable": shapes.gable_dormer, "hip": shapes.hip_dormer, "shed": shapes.shed_dormer}[style]
    return make(width, depth + 0.01, foot + wall, pitch), width, depth


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates of a face in plan: u along its contours, v up the face, both in metres; `lowest` v of the face."""

    along_2: np.ndarray
    up_2: np.ndarray
    lowest: float

    @classmethod
    def of(cls, face: Face) -> "Frame":
        """Of a level face: along its longest edge."""
        up_2 = face.plane_3[:2]
        if face.pitch < 1:
            ring_P2 = shapely.get_coordinates(face.polygon.exterior)
            edge_E2 = np.diff(ring_P2, axis=0)
            along_2 = edge_E2[np.hypot(*edge_E2.T).argmax()]
            up_2 = np.array([along_2[1], -along_2[0]])
        up_2 = up_2 / np.hypot(*up_2)
        corner_P2 = shapely.get_coordinates(face.polygon)
        return cls(np.array([-up_2[1], up_2[0]]), up_2, float((corner_P2 @ up_2).min()))

    @property
    def angle(self) -> float:
        """Radians by which +y is turned to point down the face."""
        return float(np.arctan2(self.up_2[0], -self.up_2[1]))

    def point(self, uv_N2: np.ndarray) -> np.ndarray:
        """(N, 2) x, y of u, v."""
        return uv_N2[:, :1] * self.along_2 + uv_N2[:, 1:] * self.up_2

    def place(self, point_N2: np.ndarray) -> np.ndarray:
        """(N, 2) u, v of x, y."""
        return point_N2 @ np.column_stack([self.along_2, self.up_2])

    def along(self, polygon: BaseGeometry) -> tuple[float, float]:
        """Least and greatest u of a polygon; 0, 0 of an empty one."""
        u_P = shapely.get_coordinates(polygon) @ self.along_2
        return (float(u_P.min()), float(u_P.max())) if len(u_P) else (0.0, 0.0)
