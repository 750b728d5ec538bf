"""Any aerial raster with outlines of its buildings, as polygons or as a mask: OAM, SpaceNet, INRIA, WHU and your own.

Decisions:
- An image and its label are paired by name: the words that only say what a file is (label, mask, gt, buildings, RGB-
  PanSharpen, ...) are taken away, and what is left must be equal. The label lies in the same folder, or in one beside
  it (`images/` and `gt/`, `RGB-PanSharpen/` and `geojson/`). Polygons win over a mask.
- Polygons may have a CRS of their own. They are brought to the raster's pixels point by point, repaired where they
  cross themselves, and painted where they hold the middle of a pixel. A file without a CRS is taken as the raster's.
- Where polygons are many and none lies on its raster, a CRS or the order of axes is wrong: that is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyogrio.raw import read as read_layer
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.studies.roofs.data.georeference import reproject
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.readers import images, pieces, polygons
from stepladder.studies.roofs.data.readers.images import Picture
from stepladder.studies.roofs.data.readers.rasters import Box, shown
from stepladder.studies.roofs.params import RoofsConversion

SOURCE = "georeferenced"
LICENCES = {
    "oam": "imagery CC BY 4.0 (OpenAerialMap), outlines ODbL (OpenStreetMap): may be shown with credit",
    "spacenet": "CC BY-SA 4.0",
    "inria": "stated by its publisher; cite the paper",
    "whu": "stated by its publisher; cite the paper",
}
LICENCE = "that of the files"
VECTORS = (".geojson", ".json", ".gpkg", ".shp", ".fgb")
RASTERS = (".tif", ".tiff", ".png", ".jpg")
LABEL_WORDS = {"label", "labels", "mask", "masks", "gt", "fp", "footprint", "footprints", "truth"}
KIND_WORDS = LABEL_WORDS | {
    "image", "images", "sample", "rgb", "pansharpen", "ps", "pan", "mul", "buildings", "building", "osm", "geojson",
}  # fmt: skip
GSD_M = 0.3  # of a raster that does not say: INRIA and WHU


def assets(files: Sequence[Path]) -> list[Asset]:
    """One asset a raster that has a label: the raster, then the label."""
    labels: dict[str, list[Path]] = {}
    for path in files:
        if _is_vector(path) or (path.suffix.lower() in RASTERS and _is_label(path)):
            labels.setdefault(key(path), []).append(path)
    rasters = sorted(p for p in files if p.suffix.lower() in RASTERS and not _is_label(p))
    pairs = [(path, _partner(path, labels.get(key(path), ()))) for path in rasters]
    return [_asset(image, label) for image, label in pairs if label is not None]


def key(path: Path) -> str:
    """What is left of a name without the words that only say what the file is."""
    words = re.split(r"[\s_.\-]+", path.stem.lower())
    return "_".join(word for word in words if word not in KIND_WORDS) or path.stem.lower()


def read(asset: Asset, conversion: RoofsConversion) -> Labelled:
    """The pieces of a raster and its buildings.

    Raises:
        StudyError: a file cannot be read, a mask is of another size or lies elsewhere, polygons have no place on the
            raster, or there are polygons and the raster does not say where it lies.
    """
    image, label = asset.files[:2]
    picture = images.open_picture(image, conversion)
    facts = {"source": SOURCE, "licence": asset.meta["licence"], "label": label.name}
    if not _is_vector(label):
        _same_place(label, picture)
        mask = lambda box: images.binary(label, images.read_mask(label, picture.shape, box))  # noqa: E731
        return pieces.outlined(picture, mask, GSD_M, facts)
    areas, issues = outlines(label, picture)
    return pieces.outlined(picture, partial(_painted, areas), GSD_M, facts | {"polygons": len(areas)}, tuple(issues))


def outlines(path: Path, picture: Picture) -> tuple[list[BaseGeometry], list[Issue]]:
    """Polygons of a vector file in the pixels of a picture, those that touch it, and what was repaired or left out."""
    place = picture.georeference
    if place is None:
        raise StudyError(
            f"{shown(picture.path)} does not say where it lies, so the polygons of {path.name} cannot be laid on it: "
            "give it a CRS (gdal_translate -a_srs), or give a mask instead"
        )
    geometries, crs = _geometries(path)
    mended, issues = polygons.repaired(geometries, range(len(geometries)))
    if crs is None:
        issues.append(Issue("polygons without a CRS: taken as the raster's", 1, path.name))
    to_pixels = lambda points: place.from_crs(reproject(points, crs or place.crs, place.crs))  # noqa: E731
    areas = [shapely.transform(area, to_pixels) for area in mended if area is not None]
    box = shapely.box(0, 0, picture.shape[1], picture.shape[0])
    inside = [area for area in areas if area.intersects(box)]
    if areas and not inside:
        raise StudyError(
            f"none of the {len(areas)} polygons of {shown(path)} lies on {shown(picture.path)}: is its CRS "
            f"({crs or 'not given'}) right, and are its axes east, north?"
        )
    return inside, issues


def _same_place(mask: Path, picture: Picture) -> None:
    """`StudyError` where a mask says that it lies elsewhere than its image, by half a pixel or more."""
    own, its = images.place(mask), picture.georeference
    if own is None or its is None:
        return
    rows, columns = picture.shape
    corners = np.array([(0, 0), (columns, 0), (0, rows)], np.float64)
    moved = its.to_pixels(own.to_lonlat(corners)) - corners
    if np.abs(moved).max() >= 0.5:
        raise StudyError(
            f"{shown(mask)} lies {np.abs(moved).max():.1f} pixels off its image {picture.path.name}: bring it to the "
            "image's grid (gdalwarp), or take its CRS away if that is wrong"
        )


def _painted(areas: Sequence[BaseGeometry], box: Box) -> np.ndarray:
    """1 in the pixels of `areas` whose middle they hold, in a box of rows and columns."""
    rows, columns = box
    x, y = columns.start, rows.start
    near = shapely.box(x, y, columns.stop, rows.stop)
    moved = [(translate(area, -x, -y), 1) for area in areas if area.intersects(near)]
    return polygons.painted(moved, (rows.stop - rows.start, columns.stop - columns.start), 0)


def _geometries(path: Path) -> tuple[np.ndarray, str | None]:
    """Geometries of the first layer, None where a row has none, and its CRS."""
    try:
        about, _, geometries, _ = read_layer(path, columns=[])
    except (DataSourceError, DataLayerError, RuntimeError) as error:
        raise StudyError(f"{shown(path)} cannot be read ({error}); fetch it again") from error
    return shapely.from_wkb(geometries, on_invalid="fix"), about["crs"]


def _asset(image: Path, label: Path) -> Asset:
    whole = image.as_posix().lower()
    licence = next((text for name, text in LICENCES.items() if name in whole), LICENCE)
    return Asset(image.stem, SOURCE, (image, label), meta={"licence": licence})


def _partner(image: Path, labels: Sequence[Path]) -> Path | None:
    """The label of an image among those of its name: in its folder or one beside it, polygons first."""
    near = [path for path in labels if {image.parent, image.parent.parent} & set(list(path.parents)[:3])]
    return min(near, key=lambda p: (not _is_vector(p), p.parent != image.parent, p.as_posix()), default=None)


def _is_vector(path: Path) -> bool:
    return path.suffix.lower() in VECTORS


def _is_label(path: Path) -> bool:
    words = set(re.split(r"[\s_.\-]+", path.stem.lower()))
    return path.parent.name.lower() in LABEL_WORDS or bool(words & LABEL_WORDS)
