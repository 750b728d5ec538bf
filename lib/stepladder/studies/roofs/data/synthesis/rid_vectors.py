"""A scene as RID's vectors of one image: segments, roofs and superstructures, in pixels and in (lat, lon).

The village lies where Wartenberg does, one image every thousandth of a degree. RID calls lines inside a roof gables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from rasterio.features import shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from stepladder.studies.roofs.data.labels import FLAT_BELOW, SUPERSTRUCTURES
from stepladder.studies.roofs.data.synthesis import edges
from stepladder.studies.roofs.data.synthesis.envelope import Face
from stepladder.studies.roofs.data.synthesis.plans import MAIN, Building
from stepladder.studies.roofs.data.synthesis.scene import Scene

CORNER = (11.99, 48.40)  # longitude and latitude of the first image
APART = 0.001  # degrees from image to image
ROW = 50  # images from west to east
AXES = (6378137.0, 6356752.314245)  # metres of WGS 84
GROWN = ("shadow", "tree")  # superstructures that are known as pixels only
IDS = 1000  # of one kind in one image
INNER = (edges.RIDGE, edges.HIP, edges.VALLEY)

Rings = list[list[list[float]]]  # of a polygon, the outer one first


@dataclass(frozen=True)
class Place:
    """`bounds` west, south, east, north in degrees of an image of `side` x `side` pixels."""

    bounds: Sequence[float]
    side: int

    def lonlat(self, point_N2: np.ndarray) -> np.ndarray:
        """(N, 2) of pixels."""
        west, south, east, north = self.bounds
        share_N2 = np.asarray(point_N2, float) / self.side
        return np.column_stack([west + share_N2[:, 0] * (east - west), north - share_N2[:, 1] * (north - south)])

    def multipolygon(self, polygons: Sequence[Rings]) -> str:
        """Well-known text in (lat, lon)."""
        parts = (f"({', '.join(f'({self._text(ring)})' for ring in rings)})" for rings in polygons)
        return f"MULTIPOLYGON ({', '.join(parts)})"

    def multiline(self, paths: Sequence[list[list[float]]]) -> str:
        """Well-known text in (lat, lon); nothing where there are no lines."""
        return f"MULTILINESTRING ({', '.join(f'({self._text(path)})' for path in paths)})" if paths else ""

    def _text(self, path: list[list[float]]) -> str:
        return ", ".join(f"{lat:.14f} {lon:.14f}" for lon, lat in self.lonlat(np.array(path)))


def vectors(scene: Scene, number: int) -> dict[str, Any]:
    """RID's file of image `number`; polygons may reach beyond it."""
    side = len(scene.image_YXC)
    segments, areas = list[dict[str, Any]](), list[dict[str, Any]]()
    for house in scene.site.houses:
        first = len(areas)
        areas += [_area(house, roof, scene.gsd) for roof in range(len(house.eaves))]
        segments += [
            {"pv_area_id": IDS * number + first + face.roof, **_segment(house, place, face, scene.gsd)}
            for place, face in enumerate(house.faces)
        ]
    return {
        "id": str(number),
        "bounds_lonlat": bounds(side * scene.gsd, number),
        "crs": "EPSG:4326",
        "size": [side, side],
        "segments": _numbered(segments, number),
        "pv_areas": _numbered(areas, number),
        "superstructures": _numbered([*_things(scene), *_grown(scene)], number),
    }


def bounds(extent: float, number: int) -> list[float]:
    """West, south, east, north of image `number`, which is `extent` metres wide and high on the ellipsoid."""
    west, north = CORNER[0] + APART * (number % ROW), CORNER[1] - APART * (number // ROW)
    squared = 1 - (AXES[1] / AXES[0]) ** 2
    middle = np.radians(north)
    within = 1 - squared * np.sin(middle) ** 2
    along, across = AXES[0] * (1 - squared) / within**1.5, AXES[0] / np.sqrt(within) * np.cos(middle)
    return [west, north - float(np.degrees(extent / along)), west + float(np.degrees(extent / across)), north]


def azimuth(bearing: float) -> float:
    """Of photovoltaics: 0 to the south, 90 to the west, -90 to the east."""
    return (bearing % 360) - 180


def _numbered(rows: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    return [{"id": IDS * number + place, **row} for place, row in enumerate(rows)]


def _segment(house: Building, place: int, face: Face, gsd: float) -> dict[str, Any]:
    level = face.pitch < FLAT_BELOW
    gutters = [line for line in house.lines if line.kind == edges.EAVE and line.face == place]
    return {
        "azimuth_pv": None if level else round(azimuth(face.bearing), 3),
        "slope_deg": 0.0 if level else round(face.pitch, 3),
        "polygons_px": _polygons(face.polygon, gsd),
        "gutter_px": [_path(line, gsd) for line in gutters],
    }


def _area(house: Building, roof: int, gsd: float) -> dict[str, Any]:
    """One roof: its outline, the lines inside, and its gutters."""
    faces = {place: face for place, face in enumerate(house.faces) if face.roof == roof}
    own = [line for line in house.lines if line.face in faces]
    pitches = [face.pitch for face in faces.values() if face.part == "roof"]
    level = roof != MAIN or max(pitches, default=0) < FLAT_BELOW
    return {
        "roof_type": house.roof_types[roof],
        "slope_deg": None if level else round(float(np.median(pitches)), 1),
        "polygons_px": _polygons(shapely.union_all([face.polygon for face in faces.values()], grid_size=1e-4), gsd),
        "gables_px": [_path(line, gsd) for line in own if line.kind in INNER],
        "gutters_px": [_path(line, gsd) for line in own if line.kind == edges.EAVE],
    }


def _things(scene: Scene) -> Iterator[dict[str, Any]]:
    """One row for all things of a kind on a house."""
    for items in scene.site.items:
        for kind in SUPERSTRUCTURES:
            if own := [item.polygon for item in items if item.kind == kind]:
                yield {"type": kind, "polygons_px": _polygons(shapely.union_all(own, grid_size=1e-4), scene.gsd)}


def _grown(scene: Scene) -> Iterator[dict[str, Any]]:
    """Shadows and trees, along the borders of their pixels."""
    for kind in GROWN:
        there_YX = scene.superstructure_YX == SUPERSTRUCTURES.index(kind)
        found = [shape(outline) for outline, _ in shapes(there_YX.astype(np.uint8), there_YX)]
        if found:
            yield {"type": kind, "polygons_px": _polygons(shapely.union_all(found), 1.0)}


def _polygons(geometry: BaseGeometry, gsd: float) -> list[Rings]:
    """Polygons as lists of rings of points in pixels."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return [[_points(shapely.get_coordinates(ring), gsd) for ring in shapely.get_rings(part)] for part in parts]


def _path(line: edges.Line, gsd: float) -> list[list[float]]:
    return _points(np.array([line.start_2, line.end_2]), gsd)


def _points(point_N2: np.ndarray, gsd: float) -> list[list[float]]:
    return np.round(point_N2 / gsd, 3).tolist()
