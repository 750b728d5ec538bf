"""The two public catalogues of PLATEAU behind one small interface: rows of cities, and tiles of a place.

Decisions:
- `rows()` gives one row per municipality, its newest year: `code, name, year, spec, url, zip_bytes, themes`. What a
  catalogue does not know is missing (NaN), never guessed.
- A size that is null, zero or negative is asked of the server that holds the file: both catalogues leave sizes out, and
  where they tell one it may be stale.
- Expo 2025 (27999) is left out: its licence excludes commercial use.

The live catalogue (server code eukarya-inc/PLATEAU-VIEW:server/datacatalog) is a trial service without promise; CKAN is
the portal geospatial.jp. Shapes of the answers are in the tests, which answer in their place.
"""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import pandas as pd

from stepladder.data.fetch.bytesource import FetchError, Patience
from stepladder.data.fetch.remote import PER_HOST, open_bytes, read_json

LIVE = "https://api.plateauview.mlit.go.jp"
CKAN = "https://www.geospatial.jp/ckan/api/3/action"
COLUMNS = ["code", "name", "year", "spec", "url", "zip_bytes", "themes"]
TILES = ["code", "mesh", "theme", "max_lod", "url", "year", "spec"]
EXCLUDED = {"27999"}
PACKAGE = re.compile(r"plateau-(?P<code>\d{5})-(?P<name>.+)-(?P<year>20\d\d)")
ARCHIVE = re.compile(r"/\d{5}_(?P<name>[^/]+?)_(?:[^/]+_)?20\d\d_citygml_[^/]*$")  # the name inside an archive's URL
VERSION = re.compile(r"v(\d+(?:\.\d+)?)", re.IGNORECASE)


class Catalogue(Protocol):
    """A catalogue of municipalities."""

    def rows(self) -> pd.DataFrame:
        """One row per municipality with `COLUMNS`; `themes` is a sorted list of names, or None."""
        ...


class Live:
    """The catalogue behind PLATEAU VIEW."""

    def __init__(self, base: str = LIVE, patience: Patience = Patience()):  # noqa: B008
        self._base, self._patience = base.rstrip("/"), patience

    def rows(self) -> pd.DataFrame:
        """One row per municipality, its newest year (one request of about 9 MB, and one per unknown size)."""
        answer = read_json(f"{self._base}/datacatalog/plateau-datasets", self._patience)
        rows = [
            {
                "code": row["city_code"],
                "name": _name_in(row["url"]),
                "year": int(row["year"]),
                "spec": _number(row.get("spec")),
                "url": row["url"],
                "zip_bytes": row.get("file_size"),
                "themes": sorted(row.get("feature_types") or []),
            }
            for row in _listed(answer, "citygml", self._base)
        ]
        return _newest(rows, self._patience)

    def tiles(self, condition: str) -> pd.DataFrame:
        """Tiles of a place with their best level of detail: one row per tile and theme, columns `TILES`.

        Args:
            condition: a city's code, `m:<mesh>,<mesh>` (at most 30), `r:<lon>,<lat>,<lon>,<lat>` or `g:<address>`.
        """
        answer = read_json(f"{self._base}/datacatalog/citygml/{quote(condition, safe=':,')}", self._patience)
        rows = [
            {
                "code": city["cityCode"],
                "mesh": tile["code"],
                "theme": theme,
                "max_lod": float(tile["maxLod"]),
                "url": tile["url"],
                "year": int(city["year"]),
                "spec": _number(city.get("spec")),
            }
            for city in _listed(answer, "cities", self._base)
            for theme, tiles in (city.get("files") or {}).items()
            for tile in tiles
        ]
        return pd.DataFrame(rows, columns=TILES)


class Ckan:
    """The portal geospatial.jp."""

    def __init__(self, base: str = CKAN, patience: Patience = Patience(), page: int = 100):  # noqa: B008
        self._base, self._patience, self._page = base.rstrip("/"), patience, page

    def rows(self) -> pd.DataFrame:
        """One row per municipality, its newest year; sizes come from the file servers, for CKAN has none."""
        packages: list[dict[str, Any]] = []
        while True:
            found = self._call("package_search", fq="license_id:plateau", rows=self._page, start=len(packages))
            packages += found["results"]
            if not found["results"] or len(packages) >= found["count"]:
                break
        return _newest([row for package in packages if (row := _package_row(package))], self._patience)

    def package(self, name: str) -> dict[str, Any]:
        """One package by id or name, such as `plateau-13101-chiyoda-ku-2025`."""
        return self._call("package_show", id=name)

    def _call(self, action: str, **query: Any) -> Any:
        answer = read_json(f"{self._base}/{action}?{urlencode(query)}", self._patience)
        if not isinstance(answer, dict) or not answer.get("success"):
            raise FetchError(f"{self._base}/{action}: CKAN reports no success: {str(answer)[:200]}")
        return answer["result"]


def _listed(answer: Any, key: str, base: str) -> list[dict[str, Any]]:
    """`answer[key]`, or an error that names what came instead."""
    if not isinstance(answer, dict) or not isinstance(answer.get(key), list):
        known = ", ".join(answer) if isinstance(answer, dict) else type(answer).__name__
        raise FetchError(f"{base}: the catalogue's answer has no list {key!r} (it has: {known}); its shape has changed")
    return answer[key]


def _package_row(package: dict[str, Any]) -> dict[str, Any] | None:
    """A CKAN package as a row; None for packages of another kind (indices, OBJ, use cases, special areas)."""
    match = PACKAGE.fullmatch(package["name"])
    archives = [r for r in package.get("resources", ()) if r["name"].startswith("CityGML") and r["format"] == "ZIP"]
    if not match or not archives:
        return None
    best = max(archives, key=lambda r: (_number(r["name"]) or 0, r.get("position") or 0))
    return {
        "code": match["code"],
        "name": match["name"],
        "year": int(match["year"]),
        "spec": _number(best["name"]),
        "url": best["url"],
        "zip_bytes": best.get("size"),
        "themes": None,
    }


def _newest(rows: Iterable[dict[str, Any]], patience: Patience) -> pd.DataFrame:
    """The newest year (and in it the newest specification) of each municipality, sizes filled in."""
    table = pd.DataFrame(list(rows), columns=COLUMNS)
    table = table[~table["code"].isin(EXCLUDED)].sort_values(["code", "year", "spec"], na_position="first")
    table = table.drop_duplicates("code", keep="last").reset_index(drop=True)
    sizes = pd.to_numeric(table["zip_bytes"], errors="coerce").astype(float)
    unknown = ~(sizes > 0)
    with ThreadPoolExecutor(PER_HOST) as pool:
        asked = list(pool.map(lambda url: _size(url, patience), table["url"][unknown]))
    sizes[unknown] = asked
    return table.assign(zip_bytes=sizes, spec=table["spec"].astype(float))


def _size(url: str, patience: Patience) -> float:
    """Bytes of a file as its server tells; NaN where it does not."""
    try:
        return float(open_bytes(url, patience).identity.size or "nan")
    except FetchError:
        return float("nan")


def _name_in(url: str) -> str | None:
    """`sapporo-shi` of `.../01100_sapporo-shi_city_2020_citygml_7_op.zip`; None where the URL follows another rule."""
    match = ARCHIVE.search(url)
    return match["name"] if match else None


def _number(text: str | None) -> float | None:
    """The version in texts such as `v3.1`, `第4.1版`, `CityGML（v4）`, `3`; None where there is none."""
    match = VERSION.search(text or "") or re.search(r"(\d+(?:\.\d+)?)", text or "")
    return float(match[1]) if match else None
