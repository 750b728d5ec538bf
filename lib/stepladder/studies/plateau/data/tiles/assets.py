"""The tiles found below the raw folders: which files make one, and which neighbours spill into it.

Decisions:
- Files are known by PLATEAU's naming rule, `[mesh]_[theme]_[crs]...gml(.gz)`, and their municipality by the nearest
  folder called `<code>` or `<code>_<name>`; the folders between may be anything.
- A tile is a third mesh (8 digits) of one municipality. Where two municipalities share a mesh, each has its own tile
  and the other's files are neighbours, like those of the eight meshes around: features on a border are not cut but
  belong to one file, and only the neighbour knows it.
- Files by second mesh (6 digits) belong to every tile they cover; files by half mesh (9 or 10) to the tile around.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepladder.core.types import Asset, Box, Issue
from stepladder.studies.plateau.data.citygml import geo
from stepladder.studies.plateau.params import PlateauParams

NAME = re.compile(r"(?P<mesh>\d{6}|\d{8,10})_(?P<theme>[a-z]+)_\d{4}.*\.gml(\.gz)?")
CITY = re.compile(r"(?P<code>\d{5})(_.*)?")
SPREAD = ("bldg", "tran")  # themes that every neighbouring tile should have


@dataclass(frozen=True)
class RawFile:
    """A raw file and what its name says."""

    path: Path
    city: str
    mesh: str
    theme: str


def assets(raw: Iterable[Path], params: PlateauParams) -> list[Asset]:
    """The tiles below the folders `raw` that `params.data` asks for, by city and mesh.

    Tiles and cities that are not asked for still serve as neighbours. `meta` holds the mesh code, the EPSG code of
    the zone, and the bytes of the tile's own files.
    """
    data = params.data
    found = [file for file in find(raw) if file.theme in data.themes]
    by_mesh: dict[str, list[RawFile]] = defaultdict(list)
    for file in found:
        by_mesh[file.mesh[:8]].append(file)
    tiles = sorted({(file.city, file.mesh[:8]) for file in found if len(file.mesh) >= 8 and file.theme in SPREAD})
    return [
        _asset(city, mesh, by_mesh, params)
        for city, mesh in tiles
        if (not data.cities or city in data.cities) and (not data.tiles or mesh in data.tiles)
    ]


def find(raw: Iterable[Path]) -> list[RawFile]:
    """Every raw file below the folders, sorted by path below its folder; a file reached twice counts once."""
    paths = {path.resolve(): path for folder in raw for path in sorted(Path(folder).rglob("*.gml*"))}
    named = []
    for path in paths.values():
        name = NAME.fullmatch(path.name)
        city = next((match["code"] for part in path.parts[-2::-1] if (match := CITY.fullmatch(part))), None)
        if name and city:
            named.append(RawFile(path, city, name["mesh"], name["theme"]))
    return sorted(named, key=_order)


def missing(asset: Asset) -> Issue | None:
    """Neighbouring files of the themes the tile itself has that are not there, counted."""
    there = {(match["mesh"][:8], match["theme"]) for path in asset.neighbours if (match := NAME.fullmatch(path.name))}
    own = {match["theme"] for path in asset.files if (match := NAME.fullmatch(path.name))}
    wanted = [(mesh, theme) for mesh in geo.neighbours(asset.meta["mesh"]) for theme in SPREAD if theme in own]
    absent = [f"{mesh}_{theme}" for mesh, theme in wanted if (mesh, theme) not in there]
    return Issue("neighbour not available", len(absent), absent[0]) if absent else None


def region(mesh: str, zone: int) -> Box:
    """Bounding box of a mesh cell in metres of `zone`."""
    south, west, north, east = geo.mesh_bounds(mesh)
    x, y = geo.projector(zone)([south, south, north, north], [west, east, west, east])
    return min(x), min(y), max(x), max(y)


def _asset(city: str, mesh: str, by_mesh: dict[str, list[RawFile]], params: PlateauParams) -> Asset:
    south, west, north, east = geo.mesh_bounds(mesh)
    zone = geo.zone_of_city(city) or geo.zone_of((south + north) / 2, (west + east) / 2)
    around = geo.neighbours(mesh)
    wide = dict.fromkeys(code[:6] for code in (mesh, *around))  # in this order: the tile's own second mesh first
    here = by_mesh.get(mesh, []) + by_mesh.get(mesh[:6], [])
    own = sorted(
        (file for file in here if file.city == city), key=lambda file: (_rank(file, params.data.themes), _order(file))
    )
    others = [file for code in (mesh, *around, *wide) for file in by_mesh.get(code, []) if file not in own]
    return Asset(
        id=f"{city}_{mesh}",
        group=city,
        files=tuple(file.path for file in own),
        neighbours=tuple(file.path for file in sorted(others, key=_order)),
        region=region(mesh, zone),
        meta={"mesh": mesh, "zone": zone, "bytes": sum(file.path.stat().st_size for file in own)},
    )


def _order(file: RawFile) -> tuple[str, ...]:
    """The same order wherever the folders lie."""
    return file.mesh, file.theme, file.city, file.path.name


def _rank(file: RawFile, themes: Sequence[str]) -> int:
    """Buildings first, then roads, then as the parameters list them."""
    return [*SPREAD, *themes].index(file.theme)
