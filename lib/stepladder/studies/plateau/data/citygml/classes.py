"""Semantic classes: the 18 ids of Occ3D-nuScenes, and finer ids of our own that map onto them.

Shards store fine ids, so the study can report roofs and walls apart; models and scores see Occ3D ids through
`TO_OCC3D`. Where surfaces of several classes meet in one voxel, the class with the higher `priority` wins, so the
result does not depend on the order of triangles. Colours follow the usual Occ3D palette, darkened where it fades.
"""

from dataclasses import dataclass

import numpy as np

EMPTY = 17


@dataclass(frozen=True)
class Class:
    """A semantic class: its stored id, Occ3D id, colour (hex) and priority where surfaces meet."""

    id: int
    name: str
    occ3d: int
    colour: str
    priority: int


OCC3D = (
    "others", "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck", "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation", "free",
)  # fmt: skip
OCC3D_COLOURS = (
    "#5b5b5b", "#708090", "#dc143c", "#ff7f50", "#ff9e00", "#e99646", "#ff3d63", "#0000e6", "#2f4f4f",
    "#ff8c00", "#ff6347", "#7a6a86", "#b5a27f", "#c08fb0", "#a9c08a", "#c9803f", "#2e8b57", "#ffffff",
)  # fmt: skip

FINE = (
    Class(20, "roof", 15, "#b5533c", 90),
    Class(21, "wall", 15, "#d9b38c", 91),
    Class(22, "building base", 15, "#8c7158", 60),
    Class(23, "building", 15, "#c9803f", 89),
    Class(24, "bridge", 15, "#8f8f99", 80),
    Class(25, "furniture", 15, "#5d6d7e", 95),
    Class(26, "fence", 1, "#708090", 94),
    Class(30, "road", 11, "#7a6a86", 50),
    Class(31, "bridge deck", 11, "#8d7f99", 85),
    Class(40, "footway", 13, "#c08fb0", 52),
    Class(50, "median and parking", 12, "#b5a27f", 51),
    Class(51, "railway", 12, "#86755a", 51),
    Class(52, "water", 12, "#4f86c6", 45),
    Class(60, "terrain", 14, "#a9c08a", 10),
    Class(61, "field and park", 14, "#8fb06a", 20),
    Class(70, "tree", 16, "#2e8b57", 70),
    Class(71, "planting", 16, "#5aa469", 55),
)
BY_NAME = {c.name: c for c in FINE}

TO_OCC3D = np.arange(256, dtype=np.uint8)  # 0..17 stand for themselves
TO_OCC3D[18:] = 0
PRIORITY = np.zeros(256, dtype=np.uint8)
for _class in FINE:
    TO_OCC3D[_class.id] = _class.occ3d
    PRIORITY[_class.id] = _class.priority
