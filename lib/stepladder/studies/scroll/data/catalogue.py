"""What there is to learn from: the competition's set, labelled cubes, whole scans; what each needs before it is yours.

Decisions:
- `catalogue.csv` holds facts as their publishers state them, one row per scroll and publication: bytes as published
  (`estimated` where only counts and shapes are stated), size of a voxel, kind of labels, what access takes, path.
- Nothing here downloads behind anybody's back: the competition's set needs a token and accepted rules, the open server
  accepted terms. `sources` says which, with the address and the command, and reads a mirror.
- The quality of a row is a weighted mean of parts between 0 and 1, each a column: what its labels are worth, how much
  is labelled, and what access takes.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from stepladder.core.config import ParameterError
from stepladder.core.types import Source
from stepladder.data import fetch
from stepladder.studies.scroll.data import kaggle
from stepladder.studies.scroll.params import ScrollParams

HERE = Path(__file__).parent
COMPETITION = "vesuvius-challenge-surface-detection"
SERVERS = {
    "Kaggle": "https://www.kaggle.com/",
    "open server": "https://dl.ash2txt.org/",
    "open bucket": "https://data.aws.ash2txt.org/",
}
LAYOUT = f"{kaggle.TABLE}, {kaggle.IMAGES}/<id> and {kaggle.LABELS}/<id>"
TERMS = "https://scrollprize.org/data"


# What a kind of labels is worth for finding surfaces, and what access takes, from 0 to 1.
LABELS = {"dense": 1.0, "instances": 0.8, "derived": 0.6, "meshes": 0.5, "skeletons": 0.3, "none": 0.0}
ACCESS = {"terms": 1.0, "token": 0.7}
WEIGHTS = {"labels": 0.6, "amount": 0.3, "access": 0.1}
ENOUGH = 1e10  # labelled bytes from which more is no better
TOKENS = (("KAGGLE_API_TOKEN",), ("KAGGLE_USERNAME", "KAGGLE_KEY"))  # either is enough


def read(params: ScrollParams) -> pd.DataFrame:
    """The catalogue, best quality first.

    Columns: those of the road (`group, name, region, bytes, year, quality`), the facts of `catalogue.csv`, the parts of
    quality, `labelled_bytes`, `url`, and `needs`: what must be done before it can be fetched.
    """
    return rank(pd.read_csv(HERE / "catalogue.csv"))


def rank(facts: pd.DataFrame) -> pd.DataFrame:
    """Facts with `quality`, its parts and what is derived from them, best first."""
    labelled = facts["bytes"].where(facts["labels"] != "none", 0)
    parts = {
        "labels": facts["labels"].map(LABELS),
        "amount": (labelled / ENOUGH).clip(upper=1) ** 0.5,
        "access": facts["access"].map(ACCESS),
    }
    table = facts.assign(
        labelled_bytes=labelled,
        url=facts["region"].str.split(",").str[0].map(SERVERS) + facts["path"],
        needs=facts["access"].map(needs),
        estimated=facts["estimated"] == "yes",
        quality=sum(WEIGHTS[name] * part for name, part in parts.items()),
        **{f"quality_{name}": part for name, part in parts.items()},
    )
    return table.sort_values(["quality", "group"], ascending=[False, True], ignore_index=True)


def needs(access: str) -> str:
    """What must be done before a set can be fetched."""
    if access == "terms":
        return f"register and accept the terms at {TERMS}"
    either = " or ".join(" and ".join(names) for names in TOKENS)
    rules = f"{SERVERS['Kaggle']}competitions/{COMPETITION}/rules"
    return f"accept the rules at {rules} and put a token (from kaggle.com/settings) into the environment: {either}"


def sources(params: ScrollParams, environment: Mapping[str, str] = os.environ) -> list[Source]:
    """Where the raw files of a run come from: a folder or archive in the competition's layout.

    Raises:
        ParameterError: no mirror is named, or `data.source` is `remote`: what that collection needs, and how to get it.
    """
    if params.data.source == "remote":
        raise ParameterError(_how_to_get(params.data.collection, environment))
    if not params.data.mirror:
        raise ParameterError(
            f"data.source is 'mirror' but data.mirror is not set: give a folder with {LAYOUT}, or the competition's zip"
        )
    path = fetch.local_path(params.data.mirror)
    archives = sorted(path.glob("*.zip")) if path is not None and path.is_dir() else []
    if path and archives and not list(path.glob(kaggle.TABLE)):
        return [kaggle.source(archive, archive.stem) for archive in archives]
    return [kaggle.source(params.data.mirror, "mirror")]


def _how_to_get(collection: str, environment: Mapping[str, str]) -> str:
    """Which step is missing between a person and a collection."""
    if collection == "kaggle":
        token = any(all(environment.get(name) for name in names) for names in TOKENS)
        first = "the token is there" if token else f"the Kaggle set needs a token: {needs('token')}"
        then = f"`kaggle competitions download -c {COMPETITION} -p <folder>`"
    else:
        table = collected(rank(pd.read_csv(HERE / "catalogue.csv")), collection)
        first, then = needs("terms"), f"copy {table['url'].iloc[0]}"
        then += f" or another of {len(table)} (01_inventory lists them)" if len(table) > 1 else ""
        then += f", lay it out as {LAYOUT}"
    return (
        f"data.source is 'remote', but this workbench sends no tokens and accepts no terms for you: {first}; "
        f"then {then}, and set data.source=mirror data.mirror=<folder>"
    )


def collected(catalogue: pd.DataFrame, collection: str) -> pd.DataFrame:
    """Rows of the catalogue that make up `data.collection`."""
    if collection == "full_scrolls":
        return catalogue[catalogue["labels"] == "none"]
    return catalogue[catalogue["group"].str.startswith(collection)]
