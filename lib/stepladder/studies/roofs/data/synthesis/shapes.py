"""The roofs a builder knows, as wings about the origin: the ridge runs along x, the plan is length x width.

`eave` is the height of the gutter in metres, pitches are in degrees; plans include the overhang.
"""

from collections.abc import Sequence

import numpy as np

from stepladder.studies.roofs.data.synthesis.envelope import Wing, rectangle

End = str  # gable, hip or half
STEEP, SHALLOW = 65.0, 28.0  # degrees of a mansard below and above its break
HALF = 0.55  # share of the roof's rise at which a half-hip begins


def slope(pitch: float) -> float:
    """Rise over run."""
    return float(np.tan(np.radians(pitch)))


def pitched(length: float, width: float, pitch: float, eave: float, ends: Sequence[End] = ("gable", "gable")) -> Wing:
    """A roof with two long faces, and a hip, a half-hip or a gable at its left and right end."""
    rise = slope(pitch)
    planes = [(0.0, rise, eave + rise * width / 2), (0.0, -rise, eave + rise * width / 2)]
    lift = {"hip": 0.0, "half": HALF * rise * width / 2}
    for side, end in zip((1, -1), ends, strict=True):
        if end != "gable":
            planes.append((side * rise, 0.0, eave + lift[end] + rise * length / 2))
    return Wing(_plan(length, width), np.array(planes))


def pyramid(side: float, pitch: float, eave: float) -> Wing:
    """Four faces that meet in a point."""
    return pitched(side, side, pitch, eave, ("hip", "hip"))


def shed(length: float, width: float, pitch: float, eave: float) -> Wing:
    """One face; its eave lies at the lower long side (y = width / 2)."""
    rise = slope(pitch)
    return Wing(_plan(length, width), np.array([(0.0, -rise, eave + rise * width / 2)]))


def flat(length: float, width: float, eave: float) -> Wing:
    """One level face."""
    return Wing(_plan(length, width), np.array([(0.0, 0.0, eave)]))


def mansard(length: float, width: float, eave: float, inset: float, ends: Sequence[End] = ("gable", "gable")) -> Wing:
    """Steep below, shallow above a break that lies `inset` metres inside the eave; hipped ends are both, too."""
    steep, shallow = slope(STEEP), slope(SHALLOW)
    outward = [(0.0, 1.0, width), (0.0, -1.0, width)]
    outward += [(side, 0.0, length) for side, end in zip((1.0, -1.0), ends, strict=True) if end != "gable"]
    planes = []
    for x, y, across in outward:
        planes.append((steep * x, steep * y, eave + steep * across / 2))
        planes.append((shallow * x, shallow * y, eave + shallow * across / 2 + (steep - shallow) * inset))
    return Wing(_plan(length, width), np.array(planes))


def gable_dormer(width: float, depth: float, eave: float, pitch: float) -> Wing:
    """A small gable that looks towards +y from y = 0 and reaches back to y = -depth, where the roof swallows it."""
    rise = slope(pitch)
    planes = np.array([(rise, 0.0, eave + rise * width / 2), (-rise, 0.0, eave + rise * width / 2)])
    return Wing(rectangle(-width / 2, -depth, width / 2, 0), planes, part="dormer")


def hip_dormer(width: float, depth: float, eave: float, pitch: float) -> Wing:
    """As a gable dormer, with a third face over its front."""
    gable = gable_dormer(width, depth, eave, pitch)
    front_13 = np.array([(0.0, -slope(pitch), eave)])
    return Wing(gable.polygon_P2, np.concatenate([gable.planes_K3, front_13]), part="dormer")


def shed_dormer(width: float, depth: float, eave: float, pitch: float) -> Wing:
    """One face that falls towards +y, less steep than the roof it stands in."""
    planes = np.array([(0.0, -slope(pitch), eave)])
    return Wing(rectangle(-width / 2, -depth, width / 2, 0), planes, part="dormer")


def _plan(length: float, width: float) -> np.ndarray:
    return rectangle(-length / 2, -width / 2, length / 2, width / 2)
