"""The vectors of RID: segments, buildings and superstructures of one image in its pixels, from either form it has.

Decisions:
- Beside an image there may be its own file `vectors/<id>.json`, in pixels; or three tables of the whole village, whose
  well-known text is (latitude, longitude) and is brought into pixels by the image's place on Earth.
- Azimuths are those of photovoltaics, 0 to the south and 90 to the west: the compass bearing is azimuth + 180.
- A type of superstructure that is no class of RID (five "balkony") is counted and left out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry import shape as from_mapping
from shapely.geometry.base import BaseGeometry

from stepladder.core.types import Issue, StudyError
from stepladder.studies.roofs.data.derive import Segment
from stepladder.studies.roofs.data.georeference import Georeference, from_bounds
from stepladder.studies.roofs.data.labels import SUPERSTRUCTURES
from stepladder.studies.roofs.data.readers import polygons
from stepladder.studies.roofs.data.readers.rasters import shown

SEGMENTS, BUILDINGS, OBSTACLES = "segments", "pv_areas", "obstacles"  # first words of the village's tables
COLUMNS = {
    SEGMENTS: ("id", "segment", "gutter", "azimuth", "slope"),
    BUILDINGS: ("id", "area", "roof_type"),
    OBSTACLES: ("id", "obstacle", "type"),
}


@dataclass(frozen=True)
class Vectors:
    """What RID's vectors say of one image, in its pixels; polygons may reach beyond it.

    Attributes:
        segments: planes of roofs.
        buildings: whole roofs.
        superstructures: polygon and class.
        roof_types: of the buildings in the image.
        issues: counted skips and repairs.
    """

    segments: list[Segment]
    buildings: list[BaseGeometry]
    superstructures: list[tuple[BaseGeometry, int]]
    roof_types: list[str]
    issues: list[Issue]


@dataclass(frozen=True)
class _Rows:
    """Rows before they are looked at: segments (id, polygon, gutters, azimuth, slope), buildings and obstacles."""

    segments: list[tuple[Any, BaseGeometry | None, list[np.ndarray], float, float]]
    buildings: list[tuple[Any, BaseGeometry | None, str]]
    obstacles: list[tuple[Any, BaseGeometry | None, str]]


def of_image(path: Path, shape: tuple[int, int]) -> tuple[Vectors, Georeference]:
    """Vectors and place of an image of `shape` from its own file.

    Raises:
        StudyError: the file is no JSON, lacks a key, or is of an image of another size.
    """
    try:
        told = json.loads(path.read_text())
        width, height = told["size"]
        rows = _Rows(
            [(s["id"], _area(s), _lines(s["gutter_px"]), *_angles(s)) for s in told["segments"]],
            [(b["id"], _area(b), b["roof_type"]) for b in told["pv_areas"]],
            [(o["id"], _area(o), o["type"]) for o in told["superstructures"]],
        )
        west, south, east, north = told["bounds_lonlat"]
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{shown(path)} is not RID's file of one image ({error!r}); fetch it again") from error
    if (height, width) != tuple(shape):
        raise StudyError(f"{shown(path)} is of an image of {height} x {width} pixels, this one has {shape}")
    return _vectors(rows), from_bounds(west, south, east, north, shape)


def of_village(tables: Sequence[Path], place: Georeference, shape: tuple[int, int]) -> Vectors:
    """Vectors of an image of `shape` at `place` from the tables of the whole village.

    Raises:
        StudyError: a table cannot be read or lacks a column.
    """
    corners = place.to_lonlat(np.array([(0, 0), (shape[1], 0), (shape[1], shape[0]), (0, shape[0])], np.float64))
    box = shapely.box(*corners.min(0), *corners.max(0))
    found = {kind: _within(path, kind, box) for kind in COLUMNS for path in tables if path.name.startswith(kind)}
    empty = pd.DataFrame(columns=["id", "geometry", "gutters", "azimuth", "slope", "roof_type", "type"])
    segments, buildings, obstacles = (found.get(kind, empty) for kind in COLUMNS)
    gutters = [_lines(_pixels(line, place)) for line in segments["gutters"]]
    numbers = segments[["azimuth", "slope"]].astype(float).itertuples(index=False)
    areas = (_pixels(area, place) for area in segments["geometry"])
    return _vectors(
        _Rows(
            [(id, a, g, *n) for id, a, g, n in zip(segments["id"], areas, gutters, numbers, strict=True)],
            [(row.id, _pixels(row.geometry, place), row.roof_type) for row in buildings.itertuples()],
            [(row.id, _pixels(row.geometry, place), row.type) for row in obstacles.itertuples()],
        )
    )


def _vectors(rows: _Rows) -> Vectors:
    segments, of_segments = polygons.repaired([row[1] for row in rows.segments], [row[0] for row in rows.segments])
    buildings, _ = polygons.repaired([row[1] for row in rows.buildings], [row[0] for row in rows.buildings])
    known = [row for row in rows.obstacles if row[2] in SUPERSTRUCTURES[:-1]]
    obstacles, of_obstacles = polygons.repaired([row[1] for row in known], [row[0] for row in known])
    strange = [row[2] for row in rows.obstacles if row not in known]
    told = [Issue("superstructure left out: no class of RID", len(strange), str(strange[0]))] if strange else []
    return Vectors(
        [
            Segment(area, None if np.isnan(azimuth) else (azimuth + 180) % 360, slope, gutters)
            for area, (_, _, gutters, azimuth, slope) in zip(segments, rows.segments, strict=True)
            if area is not None
        ],
        [area for area in buildings if area is not None],
        [(a, SUPERSTRUCTURES.index(row[2])) for a, row in zip(obstacles, known, strict=True) if a is not None],
        [row[2] for row in rows.buildings],
        [*of_segments, *of_obstacles, *told],
    )


# One image's file ----------------------------------------------------------------------------------------------------


def _area(item: dict[str, Any]) -> BaseGeometry:
    return from_mapping({"type": "MultiPolygon", "coordinates": item["polygons_px"]})


def _angles(segment: dict[str, Any]) -> tuple[float, float]:
    """Azimuth and slope in degrees, not a number where nobody gave them."""
    azimuth, slope = (segment[name] for name in ("azimuth_pv", "slope_deg"))
    return (np.nan if azimuth is None else float(azimuth)), (np.nan if slope is None else float(slope))


def _lines(lines: Any) -> list[np.ndarray]:
    """Polylines (M, 2) of a list of lists of points, or of a geometry."""
    if isinstance(lines, BaseGeometry):
        lines = [shapely.get_coordinates(part) for part in shapely.get_parts(lines)]
    return [np.asarray(line, np.float64) for line in (() if lines is None else lines) if len(line) > 1]


# The village's tables ------------------------------------------------------------------------------------------------


def _within(path: Path, kind: str, box: BaseGeometry) -> pd.DataFrame:
    """Rows of a table whose polygon meets `box`."""
    stat = path.stat()
    table, tree = _table(path, kind, stat.st_mtime_ns, stat.st_size)
    return table.iloc[np.sort(tree.query(box, predicate="intersects"))]


@lru_cache(maxsize=6)
def _table(path: Path, kind: str, *_: int) -> tuple[pd.DataFrame, shapely.STRtree]:
    """A table with its geometry as (longitude, latitude), and an index of it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
        table = pd.read_csv(path, sep=delimiter(header), encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{shown(path)} is not a table ({error}); fetch it again") from error
    if missing := [name for name in COLUMNS[kind] if name not in table]:
        raise StudyError(f"{shown(path)} has no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}")
    table = table.assign(geometry=_east_first(path, table[COLUMNS[kind][1]]))
    if kind == SEGMENTS:
        numbers = {name: _numbers(path, table[name]) for name in ("azimuth", "slope")}
        table = table.assign(gutters=_east_first(path, table["gutter"]), **numbers)
    return table, shapely.STRtree(table["geometry"].to_numpy())


def delimiter(header: str) -> str:
    """What separates the columns of a table, by its first line: comma, semicolon, tab or bar."""
    return max(",;\t|", key=header.count)


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    """Numbers whether their decimals follow a point or a comma; not a number where a cell is empty."""
    try:
        return pd.to_numeric(column.map(lambda cell: cell.replace(",", ".") if isinstance(cell, str) else cell))
    except ValueError as error:
        raise StudyError(f"{shown(path)}, column {column.name!r}: {error}") from error


def _east_first(path: Path, texts: pd.Series) -> np.ndarray:
    """Geometries of well-known text whose points are (latitude, longitude), turned round; None where a row has none."""
    try:
        parsed = shapely.from_wkt(np.array([text if isinstance(text, str) else None for text in texts], dtype=object))
    except shapely.errors.ShapelyError as error:
        raise StudyError(f"{shown(path)}: {error}; polygons are expected as well-known text") from error
    return np.array([g and shapely.transform(g, lambda points: points[:, ::-1]) for g in parsed], dtype=object)


def _pixels(geometry: BaseGeometry | None, place: Georeference) -> BaseGeometry | None:
    return None if geometry is None else shapely.transform(geometry, place.to_pixels)
