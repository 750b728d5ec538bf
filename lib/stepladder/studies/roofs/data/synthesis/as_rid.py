"""Scenes as the repository of RID holds its test images: masks of six annotators, and the vectors they follow from.

Decisions:
- As there, masks label the house in the middle only and 0 is roof in those of outlines, while vectors know every house;
  azimuths are those of photovoltaics, 0 to the south and 90 to the west; the village's tables give (lat, lon).
- "reviewed" is exact. Five labellers differ from it a little: they shift and scale things, mistake some, miss some.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from stepladder.studies.roofs.data.labels import BACKGROUND, SUPERSTRUCTURES
from stepladder.studies.roofs.data.synthesis.raster import Canvas
from stepladder.studies.roofs.data.synthesis.rid_vectors import GROWN, Place, vectors
from stepladder.studies.roofs.data.synthesis.scene import Scene

LABELLERS = 5
SAME = {"time_created": "2021-06-03 16:14:13", "labeler_id": 8, "building_type": "Residential"}
MISTAKEN = {"ladder": "unknown", "window": "unknown", "unknown": "chimney"}
TABLES = {
    "segments": ("id", "pv_area_id", "time_created", "segment", "gutter", "azimuth", "slope"),
    "pv_areas": (
        "id", "time_created", "labeler_id", "area", "gables", "gutters", "roof_type", "building_type", "slope",
        "image_centroid",
    ),
    "obstacles": ("id", "pv_area_id", "time_created", "obstacle", "type"),
}  # fmt: skip


def write(folder: Path, scenes: Iterator[list[Scene]], numbers: list[int]) -> set[Path]:
    """Images, masks, vectors, and the tables of the whole village."""
    made, village = set[Path](), {name: list[dict[str, Any]]() for name in TABLES}
    for number, (scene,) in zip(numbers, scenes, strict=True):
        made |= set(_masks(folder, scene, number))
        told = vectors(scene, number)
        path = folder / "vectors" / f"{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(told))
        made.add(path)
        for name, rows in _rows(told).items():
            village[name] += rows
    for name, rows in village.items():
        made.add(_table(folder / f"{name}_reviewed.csv", rows, TABLES[name]))
    return made


# Masks ---------------------------------------------------------------------------------------------------------------


def _masks(folder: Path, scene: Scene, number: int) -> Iterator[Path]:
    yield _png(folder / "images" / f"{number}.png", scene.image_YXC)
    exact = (np.where(scene.centre_YX == 1, scene.superstructure_YX, BACKGROUND), scene.centre_YX)
    drawn = {"reviewed": exact}
    for labeller in range(1, LABELLERS + 1):
        drawn[f"labeler{labeller}"] = annotated(np.random.default_rng((number, labeller)), scene)
    for name, (superstructure_YX, outline_YX) in drawn.items():
        yield _png(folder / "superstructures" / f"{number}_{name}.png", superstructure_YX.astype(np.uint8))
        yield _png(folder / "outlines" / f"{number}_{name}.png", 1 - outline_YX.astype(np.uint8))


def annotated(rng: np.random.Generator, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """(Y, X) superstructures and outline (1 roof) of the main house as somebody else would draw them."""
    canvas = Canvas(len(scene.image_YXC), scene.gsd)
    outline_YX = canvas.mask(_shaken(rng, scene.site.houses[0].outline))
    map_YX = np.full(canvas.shape, BACKGROUND, np.uint8)
    for item in scene.site.items[0]:
        if rng.random() > 0.12:
            window, inside = canvas.fill(_shaken(rng, item.polygon))
            kind = MISTAKEN.get(item.kind, item.kind) if rng.random() < 0.1 else item.kind
            map_YX[window][inside] = SUPERSTRUCTURES.index(kind)
    for kind in GROWN:
        if rng.random() > 0.2:
            there_YX = (scene.superstructure_YX == SUPERSTRUCTURES.index(kind)) & (scene.centre_YX == 1)
            map_YX[np.roll(there_YX, rng.integers(-2, 3, 2), (0, 1))] = SUPERSTRUCTURES.index(kind)
    return np.where(outline_YX, map_YX, BACKGROUND), outline_YX


def _shaken(rng: np.random.Generator, polygon: BaseGeometry) -> BaseGeometry:
    """Shifted by about a decimetre, and a little larger or smaller."""
    dx, dy, grown = rng.normal(0, (0.08, 0.08, 0.05))
    larger = polygon.buffer(grown, join_style="mitre")
    return affinity.translate(polygon if larger.is_empty else larger, dx, dy)


# Tables --------------------------------------------------------------------------------------------------------------


def _rows(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the village's tables from the vectors of one image."""
    place = Place(told["bounds_lonlat"], told["size"][0])
    return {
        "segments": [
            {
                **row,
                "segment": place.multipolygon(row["polygons_px"]),
                "gutter": place.multiline(row["gutter_px"]),
                "azimuth": row["azimuth_pv"],
                "slope": row["slope_deg"],
            }
            for row in told["segments"]
        ],
        "pv_areas": [
            {
                **row,
                "area": place.multipolygon(row["polygons_px"]),
                "gables": place.multiline(row["gables_px"]),
                "gutters": place.multiline(row["gutters_px"]),
                "slope": row["slope_deg"],
                "image_centroid": "POINT ({1} {0})".format(*place.lonlat(np.array([told["size"]]) / 2)[0]),
            }
            for row in told["pv_areas"]
        ],
        "obstacles": [
            {**row, "pv_area_id": "", "obstacle": place.multipolygon(row["polygons_px"])}
            for row in told["superstructures"]
        ],
    }


def _table(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Path:
    """A table as pandas wrote it twice: two columns of numbers come first."""
    with path.open("w", newline="") as file:
        names = ("Unnamed: 0.1", "Unnamed: 0", *columns)
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow({"Unnamed: 0.1": number, "Unnamed: 0": number, **SAME, **row})
    return path


def _png(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path
