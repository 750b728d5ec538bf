"""What there is to learn roofs from, under which terms, and how it becomes yours.

Decisions:
- `catalogue.csv` holds facts as publishers state them, one row per set: bytes as published (`estimated` where only
  counts and shapes are stated, empty where nothing is), tasks, terms, how to get it, the commit or checksum of what was
  looked at, what is known to be missing.
- Nothing here downloads: no set of roofs is behind a plain address without terms. `sources` says how to get each, and
  reads a mirror: a folder in any of the layouts of `readers.find`, zip archives in it, or one zip archive.
- The quality of a row is a weighted mean of parts between 0 and 1, each a column: how many tasks it labels, how many
  images, what its terms allow, and what access takes.
"""

from pathlib import Path

import pandas as pd

from stepladder.core.config import ParameterError
from stepladder.core.types import Source
from stepladder.data import fetch
from stepladder.studies.roofs.data.labels import TASKS
from stepladder.studies.roofs.params import SOURCES, RoofsParams

HERE = Path(__file__).parent
DATA = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".mat")
BESIDE = (".txt", ".csv", ".json", ".geojson", ".gpkg", ".shp", ".shx", ".dbf", ".prj", ".cpg", ".fgb")
MEMBERS = tuple(f"*{ending}" for lower in (*DATA, *BESIDE) for ending in (lower, lower.upper()))
PACKED = (".tar", ".gz", ".tgz", ".rar", ".7z")

ACCESS = {"open": 1.0, "git": 1.0, "link": 0.8, "token": 0.7, "form": 0.5, "none": 0.0}
OPEN = ("CC BY", "ODbL")  # licences under which pictures may be shown
WEIGHTS = {"labels": 0.5, "amount": 0.2, "terms": 0.15, "access": 0.15}
ENOUGH = 2000  # images from which more is no better
READER = {"rid_test": "rid", "oam": "georeferenced", "spacenet": "georeferenced", "inria": "georeferenced",
          "whu": "georeferenced"}  # fmt: skip


def read(params: RoofsParams) -> pd.DataFrame:
    """The catalogue, best quality first.

    Columns: those of the road (`group, name, region, bytes, year, quality`), the facts of `catalogue.csv`, the parts of
    quality, `typed_bytes` (of sets whose lines have types), and `source`, the reader of this study, empty where a set
    is only known about.
    """
    return rank(pd.read_csv(HERE / "catalogue.csv", keep_default_na=True))


def rank(facts: pd.DataFrame) -> pd.DataFrame:
    """Facts with `quality`, its parts and what is derived from them, best first."""
    tasks = facts["tasks"].str.split()
    parts = {
        "labels": tasks.str.len() / len(TASKS),
        "amount": (facts["images"].fillna(0) / ENOUGH).clip(upper=1) ** 0.5,
        "terms": facts["licence"].str.contains("|".join(OPEN)).astype(float),
        "access": facts["access"].map(ACCESS),
    }
    readable = facts["group"].map(READER).fillna(facts["group"].where(facts["group"].isin(SOURCES), ""))
    typed = tasks.map(lambda names: "line" in names) & readable.isin(["rid", "roofline"])
    table = facts.assign(
        estimated=facts["estimated"] == "yes",
        typed_bytes=facts["bytes"].where(typed, 0),
        missing=facts["missing"].fillna(""),
        checksum=facts["checksum"].fillna(""),
        source=readable,
        quality=sum(WEIGHTS[name] * part for name, part in parts.items()),
        **{f"quality_{name}": part for name, part in parts.items()},
    )
    return table.sort_values(["quality", "group"], ascending=[False, True], ignore_index=True)


def sources(params: RoofsParams) -> list[Source]:
    """Where the raw files of a run come from: a folder, the zip archives in it, or one zip archive.

    Raises:
        ParameterError: no mirror is named, it holds nothing that could be read, or `data.source` is `remote`: how to
            get each set that is wanted.
    """
    if params.data.source == "remote":
        raise ParameterError(_how_to_get(params))
    if not params.data.mirror:
        raise ParameterError(
            "data.source is 'mirror' but data.mirror is not set: give a folder or zip archive of images and labels as "
            "their publishers lay them out"
        )
    path = fetch.local_path(params.data.mirror)
    if path is None or not path.is_dir():
        return [Source(params.data.mirror, "mirror", MEMBERS)]
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    archives = [file for file in files if file.suffix.lower() == ".zip" and file.parent == path]
    plain = any(file.suffix.lower() in DATA for file in files)
    if not archives and not plain:
        packed = ", ".join(file.name for file in files if file.suffix.lower() in PACKED)
        way_out = f"unpack {packed} there" if packed else "put images and labels there"
        raise ParameterError(
            f"data.mirror = {params.data.mirror!r} holds no images, imdb.mat or zip archive: {way_out}"
        )
    own = [Source(str(path), "mirror", MEMBERS)] if plain else []
    return own + [Source(str(archive), archive.stem, MEMBERS) for archive in archives]


def _how_to_get(params: RoofsParams) -> str:
    """What each set that is wanted takes, one line a set."""
    table = read(params)
    wanted = table[table["source"].isin(params.data.sources or SOURCES)]
    lines = [f"- {row.group} ({row.licence}; {row.terms}): {row.how_to_get}" for row in wanted.itertuples()]
    return "\n".join(
        [
            "data.source is 'remote', but this workbench sends no tokens and accepts no terms for you. Get yourself:",
            *lines,
            "then set data.source=mirror data.mirror=<folder>",
        ]
    )
