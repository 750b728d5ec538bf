"""A procedural Japanese town as PLATEAU would deliver it: the offline default, the tests, a check of the whole chain.

Decisions:
- Two fictitious municipalities, 10 km apart, in plane-rectangular zone IX. Each is one zip in PLATEAU's layout. Its
  towns lie across the border of two neighbouring tiles (an odd last tile has a town to itself), so buildings and roads
  straddle tiles and go whole into the tile that holds their centre, as PLATEAU does.
- Quality is mixed, as in reality: the tile with the bridge has LOD3 main roads and mostly LOD2 buildings, the others
  LOD1 roads and fewer LOD2 buildings. Only the built-up part of a tile (0.1 km2) is filled, to keep conversion quick.
- All is drawn from `seed`; no clock, no set order, fixed zip timestamps: the same call writes the same bytes.
- What a model can learn: houses line streets at a small set-back, footways run beside main roads only, taller shops
  stand on main roads, poles on lanes, trees on the boulevard and by the river.
"""

import itertools
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepladder.core import files
from stepladder.core.types import Source, StudyError
from stepladder.studies.plateau.data.citygml import gml
from stepladder.studies.plateau.data.citygml.geo import mesh_bounds, mesh_code
from stepladder.studies.plateau.data.citygml.gml import Feature
from stepladder.studies.plateau.data.town.plan import Plan
from stepladder.studies.plateau.data.town.site import Site

MUNICIPALITIES = (("99201", "kawabe", "543916"), ("99202", "hinode", "543947"))  # code, name, second mesh
ARCHIVE_DATE = (2024, 3, 22, 0, 0, 0)
MOST_TILES = 32  # two columns of eight pairs in each second mesh
WIDE = ("dem", "luse", "wtr")  # themes delivered by second mesh (10 km) instead of third (1 km)
CODES = {
    "Common_localPublicAuthorities": {"99": "架空県", "99201": "架空県河辺市", "99202": "架空県日の出市"},
    "TrafficArea_function": {"1000": "車道部", "1010": "車線", "1020": "車道交差部", "2000": "歩道部"},
    "AuxiliaryTrafficArea_function": {"5010": "植樹帯"},
    "CityFurniture_function": {"2000": "柵・壁", "4200": "照明施設", "4840": "柱（電柱）"},
}


@dataclass(frozen=True)
class Town:
    """One town: the tiles it lies on (one, or two neighbours from west to east) and its centre on the map."""

    tiles: tuple[str, ...]
    centre: tuple[float, float]


def synthesize(folder: Path, tiles: int, seed: int) -> list[Source]:
    """Write the municipalities' zips for `tiles` third-mesh tiles in all; the same arguments give the same bytes.

    Returns one source for each zip, with a file URL and the pattern of its GML members. Raises `StudyError` where
    `tiles` is below 2 or above 64.
    """
    if not 2 <= tiles <= 2 * MOST_TILES:
        raise StudyError(f"tiles = {tiles}: the synthetic town comes in 2 to {2 * MOST_TILES} tiles")
    sources = []
    for number, (code, name, second) in enumerate(MUNICIPALITIES):
        root = f"{code}_{name}_city_2024_citygml_1_op"
        members: dict[str, Iterable[str]] = {}
        members |= {f"{root}/codelists/{list_}.xml": [gml.dictionary(CODES[list_])] for list_ in sorted(CODES)}
        share = (tiles + 1 - number) // 2
        built = (build(town, (seed, number, row)) for row, town in enumerate(towns(second, share)))
        for path, contents in sorted(deliver(itertools.chain.from_iterable(built), second).items()):
            members[f"{root}/udx/{path}"] = gml.document(contents, f"{seed}/{code}/{path}", code)
        archive = Path(folder).resolve() / f"{root}.zip"
        write_zip(archive, members)
        sources.append(Source(url=archive.as_uri(), folder=code, members=("*/udx/*/*.gml",)))
    return sources


def towns(second: str, tiles: int) -> list[Town]:
    """Places for the towns of one municipality: pairs of tiles, northwards from the south-west, then a single one."""
    placed = []
    for first in range(0, tiles, 2):
        row, column = first // 2 % 8, 1 + 3 * (first // 16)
        codes = tuple(f"{second}{row}{column + i}" for i in range(min(2, tiles - first)))
        bounds = np.array([mesh_bounds(code) for code in codes])
        middle = gml.to_metres(np.array([[bounds[0, [0, 2]].mean(), (bounds[0, 1] + bounds[-1, 3]) / 2]]))
        placed.append(Town(codes, tuple(middle[0])))
    return placed


def build(town: Town, seed: tuple[int, ...]) -> list[Feature]:
    """Everything in one town, in a stable order; the tile with the bridge has the better quality."""
    rng = np.random.default_rng(seed)
    x, y = town.centre
    origin = (x, y - 80.0)  # the river-side road: the town reaches 100 m to the south of it and 280 m to the north
    plan = Plan(rng, origin, half_width=145.0 * len(town.tiles), angle=rng.uniform(-0.2, 0.2))
    best = tile_of(plan.bridge)
    return Site(plan, rng, lambda spot: tile_of(spot) == best).features()


def tile_of(spot_2: tuple[float, float] | np.ndarray) -> str:
    """Third mesh (8 digits) of a map position."""
    return mesh_code(*gml.to_degrees(np.array([spot_2]))[0])


def deliver(features: Iterable[Feature], second: str) -> dict[str, list[Feature]]:
    """Features by the file that holds them: `bldg/54391601_bldg_6697_op.gml` and so on."""
    delivered: dict[str, list[Feature]] = {}
    for feature in features:
        mesh = second if feature.theme in WIDE else tile_of(feature.centre)
        delivered.setdefault(f"{feature.theme}/{mesh}_{feature.theme}_6697_op.gml", []).append(feature)
    return delivered


def write_zip(path: Path, members: dict[str, Iterable[str]]) -> None:
    """A deflated zip of texts, given in pieces, with fixed timestamps, so that equal texts make equal bytes."""
    with files.atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, pieces in members.items():
            entry = zipfile.ZipInfo(name, date_time=ARCHIVE_DATE)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            with archive.open(entry, "w") as member:
                for piece in pieces:
                    member.write(piece.encode())
