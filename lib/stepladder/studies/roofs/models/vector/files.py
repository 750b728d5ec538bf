"""Roofs as files a GIS opens: GeoJSON in longitude and latitude, GeoPackage in the source's own coordinates.

Decisions:
- GeoJSON is RFC 7946: WGS 84, 7 decimals (a centimetre), outer rings counter-clockwise, no `crs` member. One
  collection; `layer` tells outlines, faces and lines apart.
- GeoPackage has the layers `outlines`, `faces` and `lines`, in the CRS of the source. An image without one gets metres
  of its own from its first corner, x to the right and y up.
- Pixels are never written as if they were coordinates: without a georeference GeoJSON is refused.
- Areas, lengths and bearings are those of the report. A file appears whole or not at all.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import geopandas
import numpy as np
import pandas as pd
import shapely

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.georeference import Georeference
from stepladder.studies.roofs.models.vector import measure
from stepladder.studies.roofs.models.vector.roofs import Roof

DECIMALS: Final = 7
LOCAL: Final = 'LOCAL_CS["metres of the image, y up",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
GEOMETRY: Final = {"outlines": "Polygon", "faces": "Polygon", "lines": "LineString"}


def layers(roofs: Sequence[Roof], gsd_m: float, georeference: Georeference | None = None) -> dict[str, pd.DataFrame]:
    """Tables `outlines`, `faces`, `lines` of the report, with a column `geometry` in pixels."""
    said = measure.report(roofs, gsd_m, georeference)
    geometry = {
        "outlines": [roof.outline for roof in roofs],
        "faces": [face.polygon for roof in roofs for face in roof.faces],
        "lines": [shapely.LineString([line.start, line.end]) for roof in roofs for line in roof.lines],
    }
    tables = zip(geometry, (said.roofs, said.faces, said.lines), strict=True)
    return {name: table.assign(geometry=np.array(geometry[name], object)) for name, table in tables}


def geojson(roofs: Sequence[Roof], georeference: Georeference | None, path: Path) -> Path:
    """Write roofs as GeoJSON; returns `path`.

    Raises:
        StudyError: there is no georeference, and so no longitude and latitude.
    """
    if georeference is None:
        raise StudyError(
            f"{path.name}: GeoJSON needs longitude and latitude, and the image has no CRS. Give it one "
            "(a GeoTIFF, a world file), or write a GeoPackage in metres: geopackage(roofs, None, path, gsd_m)"
        )
    tables = layers(roofs, 1.0, georeference)
    found = [_feature(name, row, georeference) for name, table in tables.items() for row in _rows(table)]
    return _written(path, lambda part: part.write_text(json.dumps({"type": "FeatureCollection", "features": found})))


def geopackage(
    roofs: Sequence[Roof], georeference: Georeference | None, path: Path, gsd_m: float | None = None
) -> Path:
    """Write roofs as GeoPackage in the source's CRS, or in metres of the image; returns `path`.

    Raises:
        StudyError: there is neither a georeference nor `gsd_m`, metres per pixel.
    """
    if georeference is None and gsd_m is None:
        raise StudyError(f"{path.name}: the image has no CRS; say how many metres its pixels have: gsd_m")
    crs = LOCAL if georeference is None else georeference.crs

    def moved(place_N2: np.ndarray) -> np.ndarray:
        return place_N2 * (gsd_m, -(gsd_m or 0)) if georeference is None else georeference.to_crs(place_N2)

    def write(part: Path) -> None:
        for name, table in layers(roofs, gsd_m or 1.0, georeference).items():
            geometry = shapely.orient_polygons(shapely.transform(table.pop("geometry").to_numpy(), moved))
            frame = geopandas.GeoDataFrame(table, geometry=list(geometry), crs=crs)
            frame.to_file(part, layer=name, driver="GPKG", engine="pyogrio", geometry_type=GEOMETRY[name])

    return _written(path, write)


def _feature(layer: str, row: dict[str, Any], georeference: Georeference) -> dict[str, Any]:
    geometry = shapely.orient_polygons(shapely.transform(row.pop("geometry"), georeference.to_lonlat))
    rounded = shapely.transform(geometry, lambda place: np.round(place, DECIMALS))
    shape = json.loads(shapely.to_geojson(rounded))
    return {"type": "Feature", "geometry": shape, "properties": {"layer": layer, **row}}


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as plain values: JSON knows neither NaN nor numbers of numpy."""
    for row in table.to_dict("records"):
        yield {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value


def _written(path: Path, write: Any) -> Path:
    """The file after `write` has made it beside its place; what was there before is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    part.unlink(missing_ok=True)
    write(part)
    return part.replace(path)
