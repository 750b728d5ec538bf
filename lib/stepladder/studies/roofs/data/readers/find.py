"""Which assets lie below the raw folders: every source asks for its own layout, and none for what another has.

Decisions:
- Sources are asked in the order of their layouts' strictness: a file that RID claims is no georeferenced raster.
- Ids are the source's name and the file's, in letters every file system takes; of equal names the folder above joins.
- Regions are in metres of Web Mercator, for buffers between splits: too long by 1 / cos(latitude), which is on the safe
  side. Images that overlap show the same house: they are one split group. Where all hang together in one chain (every
  image of RID's village), that would leave nothing to test on; there the buffer must do.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from stepladder.core.types import Asset, Box, StudyError
from stepladder.studies.roofs.data.readers import airs, georeferenced, rid, roofline, simpleroof
from stepladder.studies.roofs.params import SOURCES, RoofsParams

METRES = "EPSG:3857"
TOUCH_M = 1.0  # tiles that overlap by less lie side by side
CHAIN = 0.5  # share of a source's assets that may be one split group
HIDDEN = (".", "__MACOSX")
LICENCE = "Apache-2.0 (made by this project)"  # of synthetic scenes
LAYOUTS = (
    "rid: images/<id>.png with superstructures/ or vectors/ beside it, or mediaTUM's images*/ and masks_*/",
    "roofline: imdb.mat",
    "airs: {train,val,test}/{image,label}/christchurch_N.tif",
    "simpleroof: <name>.jpg or .png and <name>.txt (#1# #2# #3#)",
    "georeferenced: <name>.tif and <name>.geojson, .gpkg, or a mask <name>_label.tif",
)


def assets(raw: Sequence[Path], params: RoofsParams) -> list[Asset]:
    """Assets of the sources `params.data.sources` names (none: of all), by source and id.

    Raises:
        StudyError: there is nothing of them, or two assets have one name.
    """
    wanted = params.data.sources or SOURCES
    found = [asset for asset in _all(_files(raw), params) if asset.group in wanted]
    if not found:
        searched = ", ".join(Path(folder).name for folder in raw)
        known = "\n".join(line for line in LAYOUTS if line.partition(":")[0] in wanted)
        raise StudyError(f"nothing of {', '.join(wanted)} lies in {searched}; known layouts:\n{known}")
    found = _grouped(_named(found))
    made = params.data.layouts if params.data.source == "synthetic" else ()
    return [_ours(asset) if asset.group in made else asset for asset in found]


def _ours(asset: Asset) -> Asset:
    """A synthetic asset, whose layout is another's and whose licence is not."""
    return replace(asset, meta={**asset.meta, "licence": LICENCE})


def inventory(raw: Sequence[Path], params: RoofsParams) -> pd.DataFrame:
    """One row per source that is there: assets, files, bytes, and what is missing by name."""
    files = _files(raw)
    rows = []
    for source in SOURCES:
        own = [asset for asset in _all(files, params) if asset.group == source]
        paths = {path for asset in own for path in (*asset.files, *asset.neighbours)}
        missing = {"rid": rid.absent, "airs": airs.absent}.get(source, lambda _: [])(files)
        if own:
            size = sum(path.stat().st_size for path in paths)
            told = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            rows.append({"source": source, "assets": len(own), "files": len(paths), "bytes": size, "missing": told})
    return pd.DataFrame(rows, columns=["source", "assets", "files", "bytes", "missing"])


def _files(raw: Sequence[Path]) -> list[Path]:
    """All files below the folders, sorted, without those a system hides."""
    paths = {path for folder in raw for path in Path(folder).rglob("*") if not _hidden(path.relative_to(folder))}
    return sorted(path for path in paths if path.is_file())


def _hidden(path: Path) -> bool:
    return any(part.startswith(HIDDEN) for part in path.parts)


def _all(files: Sequence[Path], params: RoofsParams) -> list[Asset]:
    found = [*rid.assets(files), *roofline.assets(files, params.data.block), *airs.assets(files)]
    found += simpleroof.assets(_left(files, found))
    return found + georeferenced.assets(_left(files, found))


def _left(files: Sequence[Path], found: Sequence[Asset]) -> list[Path]:
    taken = {path for asset in found for path in asset.files}
    return [path for path in files if path not in taken]


def _named(found: Sequence[Asset]) -> list[Asset]:
    """Assets with ids that are unique, and names of files everywhere."""
    names = Counter((asset.group, asset.id) for asset in found)
    renamed = []
    for asset in found:
        again = names[asset.group, asset.id] > 1
        above = f"{asset.files[0].parent.parent.name}_{asset.files[0].parent.name}_" if again else ""
        renamed.append(replace(asset, id=re.sub(r"[^\w.-]+", "_", f"{asset.group}_{above}{asset.id}")))
    for id, count in Counter(asset.id for asset in renamed).items():
        if count > 1:
            places = [asset.files[0] for asset in renamed if asset.id == id]
            raise StudyError(f"{id!r} is there {count} times, as {' and '.join(map(str, places[:2]))}: keep one")
    return sorted(renamed, key=lambda asset: (SOURCES.index(asset.group), asset.id))


def _grouped(found: Sequence[Asset]) -> list[Asset]:
    """Assets with their regions, and those of one source that overlap as one split group."""
    placed = [replace(asset, region=_region(asset)) for asset in found]
    group_of: dict[str, str] = {}
    for source in SOURCES:
        own = [asset for asset in placed if asset.group == source and asset.region]
        for together in _overlapping(own):
            if 1 < len(together) <= max(2, CHAIN * len(own)):
                group_of |= {asset.id: f"{source}_overlap_{together[0].id}" for asset in together}
    return [replace(asset, split_group=group_of.get(asset.id, asset.split_group)) for asset in placed]


def _overlapping(own: Sequence[Asset]) -> list[list[Asset]]:
    """Assets in groups that hang together by their regions."""
    areas = [shapely.box(*asset.region).buffer(-TOUCH_M / 2) for asset in own if asset.region]
    group = np.arange(len(areas))
    for one, other in shapely.STRtree(areas).query(areas, predicate="intersects").T if areas else ():
        group[group == group[other]] = group[one]
    return [[own[int(k)] for k in np.flatnonzero(group == g)] for g in np.unique(group)]


def _region(asset: Asset) -> Box | None:
    """West, south, east, north of an asset's image in metres of Web Mercator; None where that is not known."""
    try:
        for path in asset.files:
            if path.parent.name == "vectors" and path.suffix == ".json":
                return transform_bounds("EPSG:4326", METRES, *json.loads(path.read_text())["bounds_lonlat"])
        if asset.files[0].suffix.lower() in (".tif", ".tiff"):
            with rasterio.open(asset.files[0]) as source:
                return transform_bounds(source.crs, METRES, *source.bounds) if source.crs else None
    except (RasterioError, ValueError, KeyError, TypeError):  # reading the asset says why
        return None
    return None
