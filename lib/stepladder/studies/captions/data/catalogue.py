"""Which lists of pictures and texts are published, under which terms, and where the raw files of a run come from.

Decisions:
- `catalogue.csv` holds facts as they are published, one row a list, with the place they were read at (`source`). What
  nobody states is empty and named in `missing`; it counts as nothing where sizes are summed.
- `bytes` is what a run ends up with: the list and its pictures at `pixels`, as somebody measured it; `list_bytes` is
  the list alone, which is all that is needed to choose rows.
- The quality of a row is a weighted mean of parts between 0 and 1, each a column: how much there is, what its terms
  allow, whether a disk takes it, how directly it is read here, how many of its links are expected to live at its age
  (at most `OLDEST` years: beyond that nobody reported). `reported` is what somebody got, `reported_when`.
- Hosts are asked by machines of yours, so they must be told who asks: without `data.contact` nothing that is not
  synthetic begins, unless a mirror holds pictures alone.
"""

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from stepladder.core.config import ParameterError
from stepladder.core.types import Source
from stepladder.data import fetch
from stepladder.studies.captions.data import lists, survival
from stepladder.studies.captions.data.formats import ENDINGS
from stepladder.studies.captions.params import CaptionsParams

HERE = Path(__file__).parent
AS_OF = 2026  # the year ages are counted to, so that the same page says the same
PICTURES = (".tar", ".png", ".jpg", ".jpeg", ".webp", ".gif")
MEMBERS = tuple(f"*{ending}" for ending in (*ENDINGS, *PICTURES, ".json", ".txt"))

WEIGHTS = {"amount": 0.25, "terms": 0.25, "fits": 0.2, "form": 0.15, "alive": 0.15}
DISK, UNTOLD = 1e12, 0.5  # bytes of a disk that one rents; how well fits what nobody measured
ENOUGH = 12_400_000  # rows from which more is no better for a frozen tower's projection
FORM = {"list": 1.0, "pictures": 0.8, "none": 0.0}


def read(params: CaptionsParams) -> pd.DataFrame:
    """The catalogue, best quality first.

    Columns: those of the road (`group, name, region, bytes, year, quality`), the facts of `catalogue.csv`, the parts of
    quality, and `expected`, the share of pictures expected to be got today.
    """
    facts = pd.read_csv(HERE / "catalogue.csv", keep_default_na=True)
    sizes = facts[["list_bytes", "picture_bytes"]].sum(axis=1, min_count=1)
    still = [survival.expected(float(min(AS_OF - year, survival.OLDEST))).expected for year in facts["year"]]
    expected = np.where(facts["form"] == "list", still, np.nan)
    parts = {
        "amount": np.sqrt((facts["rows"].fillna(0) / ENOUGH).clip(upper=1)),
        "terms": facts["licence"].str.contains("CC BY|Apache|MIT|free for any").astype(float),
        "fits": (DISK / sizes).clip(upper=1).fillna(UNTOLD),
        "form": facts["form"].map(FORM),
        "alive": pd.Series(expected).fillna(1.0),
    }
    table = facts.assign(
        bytes=sizes,
        expected=expected,
        missing=facts["missing"].fillna(""),
        quality=sum(WEIGHTS[name] * part for name, part in parts.items()),
        **{f"quality_{name}": part for name, part in parts.items()},
    )
    return table.sort_values(["quality", "group"], ascending=[False, True], ignore_index=True)


def sources(params: CaptionsParams) -> list[Source]:
    """Where the raw files of a run come from: a folder (or zip archive) as it lies, or the addresses of lists.

    Raises:
        ParameterError: no mirror, nothing in it, no address of a list, or nobody whom hosts could reach.
    """
    found = _remote(params) if params.data.source == "remote" else [_mirror(params)]
    if not params.data.contact.strip() and _asks(params):
        raise ParameterError(
            "data.contact is empty, and a list of addresses asks thousands of hosts for pictures: give a mail address "
            "or page where they reach you, as data.contact=you@university.example; it is told to every one of them"
        )
    return found


def _asks(params: CaptionsParams) -> bool:
    """Whether this run asks hosts for pictures."""
    path = None if params.data.source == "remote" else fetch.local_path(params.data.mirror or "")
    return path is None or not path.is_dir() or bool(lists.find([path]))


def _mirror(params: CaptionsParams) -> Source:
    if not params.data.mirror:
        raise ParameterError(
            "data.source is 'mirror' but data.mirror is not set: give a folder with lists (parquet, csv, tsv, jsonl), "
            "with tars in webdataset layout, or with NLVR as it is published"
        )
    path = fetch.local_path(params.data.mirror)
    if path is not None and path.is_dir():
        endings = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
        if not endings & {*ENDINGS, *PICTURES}:
            raise ParameterError(
                f"data.mirror = {params.data.mirror!r} holds no list ({', '.join(ENDINGS)}), tar or picture, "
                f"only {', '.join(sorted(endings - {''})) or 'nothing'}"
            )
    return Source(params.data.mirror, "mirror", MEMBERS)


def _remote(params: CaptionsParams) -> list[Source]:
    """One source for every place that lists lie at, its members the lists."""
    if not params.data.lists:
        raise ParameterError(
            "data.source is 'remote' but data.lists is empty: name lists by file:// addresses, or lay them into a "
            "folder and name that as data.mirror"
        )
    places: dict[str, list[str]] = {}
    for address in params.data.lists:
        parts = urlsplit(address)
        parent, _, name = parts.path.rpartition("/")
        if parts.scheme != "file" or Path(name).suffix.lower() not in ENDINGS:
            raise ParameterError(
                f"data.lists: {address!r} is no file:// address of a file that ends in {', '.join(ENDINGS)}: fetch a "
                "list of the web yourself (docs/captions_guide.md says how) and name its folder as data.mirror"
            )
        places.setdefault(parts._replace(path=f"{parent}/").geturl(), []).append(name)
    return [
        Source(place, f"lists_{number}", tuple(names)) for number, (place, names) in enumerate(sorted(places.items()))
    ]
