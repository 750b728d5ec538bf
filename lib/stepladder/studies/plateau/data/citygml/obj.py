"""Wavefront OBJ files with an embedded coordinate system (as Yokosuka's) -> labelled triangles.

Decisions:
- The coordinate system is the last EPSG code in the file's comments; without one a file cannot be placed, so it must
  be given. Coordinates are easting, northing, height in metres and are not transformed.
- OBJ has no semantics, so the class comes from the file's name (`L_road`, `L_wSurf`, `B_school`) and faces of
  buildings are told apart by their normal.
- Parts that share no corner are features of their own, so that a tile can be clipped building by building.
"""

import re
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stepladder.studies.plateau.data.citygml import codes, geo
from stepladder.studies.plateau.data.citygml.faces import label_by_normal
from stepladder.studies.plateau.data.citygml.polygons import Polygons, triangulate
from stepladder.studies.plateau.data.citygml.raw import RawFileError, Tally, opened, stem
from stepladder.studies.plateau.data.citygml.surfaces import Surfaces

EPSG = re.compile(r'EPSG["\s:,/]+(\d{4,5})')
ZONES = range(geo.FIRST_ZONE, geo.FIRST_ZONE + len(geo.ORIGINS))
CLASSES = (  # pattern in the file's name, theme, kind, class
    (re.compile("road", re.I), "tran", "Road", codes.ROAD),
    (re.compile("green|veg", re.I), "veg", "PlantCover", codes.PLANTING),
    (re.compile("wsurf|water|wtr", re.I), "wtr", "WaterBody", codes.WATER),
    (re.compile("dem|terrain|ground", re.I), "dem", "ReliefFeature", codes.TERRAIN),
    (re.compile("^b_|bldg|build", re.I), "bldg", "Building", codes.BY_NORMAL_BUILDING),
)


def read_obj(path: Path, zone: int | None = None) -> Surfaces:
    """All surfaces of one OBJ file (.obj or .obj.gz).

    `zone` is the EPSG code of its plane-rectangular zone (6669 to 6687); None takes the one its comments name. Raises
    `RawFileError` for a file without a zone and for lines that are no OBJ, with their number.
    """
    path, tally = Path(path), Tally()
    comments, corner_V3, faces = _parse(path)
    if zone is None:
        zone = _zone(path, comments)
    polygons, component_P = _polygons(corner_V3, faces, tally)
    theme, kind, label = _class_of(path, tally)
    corner_T3, polygon_T = triangulate(polygons, tally)
    feature_N = component_P[polygon_T]
    order = np.argsort(feature_N, kind="stable")
    triangles_N33, feature_N = polygons.corner_V3[corner_T3[order]], feature_N[order].astype(np.int32)
    label_N = np.full(len(feature_N), label, dtype=np.uint8)
    label_by_normal(triangles_N33, label_N, feature_N, tally)
    count = int(component_P.max(initial=-1)) + 1
    described = [(f"{stem(path)}#{number}", theme, kind, -1) for number in range(count)]
    if not count:
        tally.add("empty tile", example=path.name)
    return Surfaces.of(triangles_N33, label_N, feature_N, described, zone, tally)


def _parse(path: Path) -> tuple[str, np.ndarray, list[list[int]]]:
    """Comments, corners (V, 3) and the corners (from 0) of each face."""
    comments, corners, faces = [], [], []
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            word, _, rest = line.partition(b" ")
            try:
                if word == b"v":
                    x, y, z = rest.split()[:3]
                    corners.append((float(x), float(y), float(z)))
                elif word == b"f":
                    face = [int(corner.partition(b"/")[0]) for corner in rest.split()]
                    faces.append([corner - 1 if corner > 0 else corner + len(corners) for corner in face])
                elif word.startswith(b"#"):
                    comments.append(line.decode("utf-8", "replace"))
            except ValueError as error:
                text = line[:60].decode("utf-8", "replace").strip()
                raise RawFileError(f"{path}: line {number} is not OBJ: {text!r}; fetch the file again") from error
    return "".join(comments), np.array(corners, dtype=float).reshape(-1, 3), faces


def _zone(path: Path, comments: str) -> int:
    """The zone that the comments name: the last EPSG code, as well-known text closes with the outermost one."""
    found = [int(code) for code in EPSG.findall(comments)]
    if not found or found[-1] not in ZONES:
        named = f"EPSG {found[-1]}" if found else "no coordinate system"
        raise RawFileError(f"{path}: names {named}, not a plane-rectangular zone (EPSG 6669 to 6687): give `zone`")
    return found[-1]


def _polygons(corner_V3: np.ndarray, faces: list[list[int]], tally: Tally) -> tuple[Polygons, np.ndarray]:
    """Faces whose corners exist and are numbers as polygons, and the connected part each belongs to."""
    corners_R = np.array([len(face) for face in faces], dtype=np.int64)
    corner_C = np.array([corner for face in faces for corner in face], dtype=np.int64)
    owner_C = np.repeat(np.arange(len(faces)), corners_R)
    known_C = (corner_C >= 0) & (corner_C < len(corner_V3))
    finite_V = np.append(np.isfinite(corner_V3).all(axis=1), True)  # the last one stands for an unknown corner
    number_C = finite_V[np.where(known_C, corner_C, -1)]
    missing_R = np.bincount(owner_C[~known_C], minlength=len(faces)) > 0
    nan_R = np.bincount(owner_C[~number_C], minlength=len(faces)) > 0
    tally.add("face with a corner the file does not hold", missing_R.sum())
    tally.add("polygon with a coordinate that is not a number", int(np.sum(nan_R & ~missing_R)))
    tally.add("degenerate polygon", int(np.sum(corners_R < 3)))
    good_R = ~missing_R & ~nan_R & (corners_R >= 3)
    kept_C = good_R[owner_C]
    corner_C, owner_C, corners_R = corner_C[kept_C], owner_C[kept_C], corners_R[good_R]
    first_R = corner_C[np.cumsum(corners_R) - corners_R]
    links = coo_array((np.ones(len(corner_C)), (np.repeat(first_R, corners_R), corner_C)), (len(corner_V3),) * 2)
    part_V = connected_components(links, directed=False)[1]
    part_R = np.unique(part_V[first_R], return_inverse=True)[1]  # only parts that faces are made of, numbered from 0
    return Polygons(corner_V3[corner_C], corners_R, np.ones(len(corners_R), dtype=np.int64)), part_R


def _class_of(path: Path, tally: Tally) -> tuple[str, str, int]:
    """Theme, kind and class that the file's name stands for; a building, counted, where it says nothing."""
    for pattern, theme, kind, label in CLASSES:
        if pattern.search(stem(path)):
            return theme, kind, label
    tally.add("class not in the file's name, taken for buildings", example=path.name)
    return "bldg", "Building", codes.BY_NORMAL_BUILDING
