"""What PLATEAU offers: the committed snapshot, how it is made anew, how cities are ranked, and where a run's files are.

Decisions:
- `catalogue.csv` holds facts only, one row per municipality and its newest year: bytes of the whole archive and of its
  building members (read from central directories), their tiles and XML megabytes, year, version of the standard.
- Places on the map are the offices of the prefectures (`prefectures.csv`), not of the municipalities.
- Shizuoka is a region of its own: its 35 archives are 87 % of all bytes and must be fetched by theme.
- The quality of a city is a weighted mean of parts between 0 and 1, each a column. Parts nobody has told are left out
  and the weights of the others scaled up; `quality_known` is the weight that was there to judge by.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from stepladder.core.config import ParameterError
from stepladder.core.types import Source
from stepladder.data import fetch
from stepladder.studies.plateau.data.catalogue import clients
from stepladder.studies.plateau.data.citygml import geo
from stepladder.studies.plateau.params import PlateauParams

HERE = Path(__file__).parent
FACTS = ["code", "name", "prefecture", "region", "year", "spec", "bldg_tiles", "bldg_xml_mb", "bldg_bytes", "zip_bytes"]
THEMES = ("bldg", "tran", "dem", "veg", "frn", "brid", "luse", "wtr")


# Weights of the parts of quality: level of detail, themes the study reads, bytes per tile, age, standard.
WEIGHTS = {"lod": 0.35, "themes": 0.25, "detail": 0.20, "year": 0.10, "spec": 0.10}
YEARS, SPECS, BEST_LOD = (2020, 2025), (1, 5), 3


def read(params: PlateauParams) -> pd.DataFrame:
    """The catalogue that `params.data.catalogue` names, ranked, best quality first.

    Columns: those of the road (`group, name, region, bytes, year, quality`; `bytes` is the whole archive), `FACTS`, the
    parts of quality, `lat`, `lon` and `place` of the prefecture.
    """
    facts = snapshot() if params.data.catalogue == "snapshot" else _live(params.data.cities)
    table = rank(facts).merge(_prefectures()[["prefecture", "lat", "lon"]], on="prefecture", how="left")
    table.attrs["place"] = "office of the prefecture"
    return table.assign(group=table["code"], bytes=table["zip_bytes"], place=table["prefecture"])


def _live(cities: list[str]) -> pd.DataFrame:
    """Facts of the live catalogue, the rest from the snapshot, and the level of detail of the cities named."""
    live = clients.Live()
    facts = build_snapshot(live.rows(), earlier=snapshot())
    tiles = [live.tiles(code) for code in cities]
    return facts.assign(max_lod=facts["code"].map(max_lod(pd.concat(tiles)))) if tiles else facts


def snapshot() -> pd.DataFrame:
    """The committed table of facts, `FACTS`, one row per municipality in order of code."""
    return pd.read_csv(HERE / "catalogue.csv", dtype={"code": str, "spec": float, "bldg_xml_mb": float})


def build_snapshot(rows: pd.DataFrame, earlier: pd.DataFrame | None = None) -> pd.DataFrame:
    """A snapshot from the rows of a catalogue.

    Args:
        rows: `code` and `year`, and of `FACTS` (and `themes`, `max_lod`, `url`) what is known.
        earlier: a snapshot whose facts fill what `rows` leaves open: names always, the rest where the year agrees.
    """
    table = rows.merge(
        _prefectures()[["pref_code", "prefecture", "region"]], left_on=rows["code"].str[:2], right_on="pref_code"
    )
    table = table.reindex(columns=list(dict.fromkeys([*FACTS, *(c for c in rows if c != "pref_code")])))
    if earlier is not None:
        known = earlier.set_index("code").reindex(table["code"]).reset_index(drop=True)
        same = known["year"] == table["year"]
        table["name"] = table["name"].fillna(known["name"])
        for column in ("spec", "bldg_tiles", "bldg_xml_mb", "bldg_bytes", "zip_bytes"):
            table[column] = table[column].fillna(known[column].where(same))
    whole = {"bldg_tiles": "Int64", "bldg_bytes": "Int64", "zip_bytes": "Int64"}
    return table.sort_values("code", ignore_index=True).astype(whole).assign(name=table["name"].fillna(table["code"]))


def measure(url: str) -> dict[str, Any]:
    """Building tiles of an archive, their megabytes of XML and their compressed bytes, from its central directory."""
    tiles = [m for m in fetch.inspect(url) if "/udx/bldg/" in f"/{m.path}" and m.path.endswith(".gml")]
    xml, packed = sum(tile.size for tile in tiles), sum(tile.compressed for tile in tiles)
    return {"bldg_tiles": len(tiles), "bldg_xml_mb": round(xml / 1e6, 1), "bldg_bytes": packed}


def rank(facts: pd.DataFrame) -> pd.DataFrame:
    """Facts with `quality` (0 to 1), `quality_known`, and the parts `quality_<part>`, best first.

    lod: mean over tiles of the best level of detail (column `max_lod`), of 3. themes: share of the study's themes that
    the city has. detail: rank of its megabytes of XML per building tile, which grow with LOD2 and with density. year:
    from 2020 to 2025. spec: version of the standard, from 1 to 5.
    """
    has = facts.get("themes", pd.Series([None] * len(facts), index=facts.index))
    parts = pd.DataFrame(
        {
            "lod": facts.get("max_lod", pd.Series(float("nan"), index=facts.index)) / BEST_LOD,
            "themes": [len(set(t) & set(THEMES)) / len(THEMES) if isinstance(t, list) else float("nan") for t in has],
            "detail": (facts["bldg_xml_mb"] / facts["bldg_tiles"]).astype(float).rank(pct=True),
            "year": (facts["year"] - YEARS[0]) / (YEARS[1] - YEARS[0]),
            "spec": (facts["spec"] - SPECS[0]) / (SPECS[1] - SPECS[0]),
        },
        index=facts.index,
    ).clip(0, 1)
    weights = parts.notna() * pd.Series(WEIGHTS)
    known = weights.sum(axis=1)
    quality = (parts.fillna(0) * weights).sum(axis=1) / known
    ranked = facts.assign(quality=quality, quality_known=known, **{f"quality_{name}": parts[name] for name in parts})
    return ranked.sort_values(["quality", "code"], ascending=[False, True], ignore_index=True)


def max_lod(tiles: pd.DataFrame) -> pd.Series:
    """Mean best level of detail of the building tiles of each city, by code; `tiles` from `Live.tiles`."""
    return tiles[tiles["theme"] == "bldg"].groupby("code")["max_lod"].mean()


# Where a run's files are ---------------------------------------------------------------------------------------------


def sources(params: PlateauParams) -> list[Source]:
    """Where the raw files of a run come from: a mirror (a folder, or archives in one), or one archive per city.

    Raises:
        ParameterError: no mirror or no city is named.
    """
    if params.data.source == "mirror":
        return _mirrored(params)
    if not params.data.cities:
        total = snapshot()["zip_bytes"].sum() / 1e9
        raise ParameterError(
            f"data.cities is empty and data.source is 'remote': that would be all of Japan, {total:,.0f} GB; "
            "name municipality codes, such as data.cities=[27100]"
        )
    return [Source(archive_url(code), code, members(params)) for code in params.data.cities]


def archive_url(code: str) -> str:
    """The newest archive of a municipality; the catalogue redirects to where it lies."""
    return f"{clients.LIVE}/datacatalog/citygml/{code}-latest/citygml.zip"


def members(params: PlateauParams) -> tuple[str, ...]:
    """Patterns of the members a run needs: its themes, and where tiles are named those and their neighbours.

    Files are named by third mesh (8 digits) or finer, large-area themes by second mesh (6 digits).
    """
    themes, tiles = params.data.themes, params.data.tiles
    if not tiles:
        return tuple(f"*/udx/{theme}/*.gml" for theme in themes)
    meshes = sorted({mesh for tile in tiles for mesh in (tile, *geo.neighbours(tile))})
    columns = {mesh[:7]: "".join(m[7] for m in meshes if m[:7] == mesh[:7]) for mesh in meshes}
    names = [f"{start}[{digits}]*" for start, digits in columns.items()]
    names += [f"{mesh}_*" for mesh in sorted({mesh[:6] for mesh in meshes})]
    return tuple(f"*/udx/{theme}/{name}.gml" for theme in themes for name in names)


def _mirrored(params: PlateauParams) -> list[Source]:
    """The mirror as it lies, or the archives in it, those of the named cities."""
    if not params.data.mirror:
        raise ParameterError(
            "data.source is 'mirror' but data.mirror is not set: give a folder, an archive or a file:// URL"
        )
    path = fetch.local_path(params.data.mirror)
    archives = sorted(path.glob("*.zip")) if path is not None and path.is_dir() else []
    wanted = [a for a in archives if not params.data.cities or a.name[:5] in params.data.cities]
    if archives:
        return [Source(str(archive), archive.name[:5], members(params)) for archive in wanted]
    return [Source(params.data.mirror, "mirror", ("*.gml", "*.gml.gz", "*.obj"))]


def _prefectures() -> pd.DataFrame:
    """Prefectures with their region and the place of their office (degrees, to a hundredth)."""
    return pd.read_csv(HERE / "prefectures.csv", dtype={"code": str}).rename(columns={"code": "pref_code"})
