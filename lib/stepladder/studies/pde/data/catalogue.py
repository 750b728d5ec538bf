"""What exists to learn from: PDEBench's published files with sizes and checksums, and what of it fits a disk.

Decisions:
- `pdebench.csv` holds facts only, one row per published file: path, bytes, MD5, number at the data repository. It is
  made from the two public lists by `snapshot_of`.
- A row of the catalogue is a group as results are split by: an equation with its coefficients, all its files summed.
  The 275 incompressible files are one group: they differ by seed only.
- What fits is decided smallest first, because breadth over equations is worth more than one huge file.
- Nothing here downloads behind anybody's back: a group is tens of gigabytes. `sources` names the command.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from stepladder.core.config import ParameterError, nearest, read_yaml
from stepladder.core.types import Source
from stepladder.data import fetch
from stepladder.studies.pde.data.readers import source
from stepladder.studies.pde.params import PdeParams

HERE = Path(__file__).parent
SERVER = "https://darus.uni-stuttgart.de/api/access/datafile/"

# Folder of a path -> family, and what its solver and reader offer here, from 0 to 1.
FAMILIES = {
    "1D/Advection": ("advection", 1.0),
    "1D/Burgers": ("burgers", 1.0),
    "1D/ReactionDiffusion": ("reaction_diffusion", 1.0),
    "1D/CFD": ("compressible_1d", 0.5),
    "1D/diffusion-sorption": ("diffusion_sorption", 0.5),
    "2D/DarcyFlow": ("darcy", 1.0),
    "2D/CFD": ("compressible_2d", 0.5),
    "2D/diffusion-reaction": ("reaction_diffusion_2d", 1.0),
    "2D/shallow-water": ("shallow_water", 0.5),
    "2D/NS_incom": ("navier_stokes", 0.8),
    "3D": ("compressible_3d", 0.5),
}
# Quality: small enough to try, a solver of our own to check against, published numbers of a careful re-training.
WEIGHTS = {"small": 0.4, "solver": 0.3, "audited": 0.3}
AUDITED = {
    "advection": {"beta": {0.1, 0.4, 1.0, 4.0}},
    "burgers": {"Nu": {0.001, 0.01, 0.1, 1.0}},
    "reaction_diffusion": {"Nu": {0.5, 2.0}, "Rho": {1.0}},
    "darcy": {"beta": {0.01, 0.1, 1.0, 10.0, 100.0}},
    "compressible_1d": {"Eta": {1e-8, 0.01, 0.1}},
    "compressible_2d": {"Eta": {0.01, 0.1}},
    "diffusion_sorption": {},
    "reaction_diffusion_2d": {},
    "shallow_water": {},
}
SMALL, LARGE = 1e9, 1e12  # bytes of a group that is easily tried, and of one that is not
COEFFICIENT = re.compile(r"(?:^|_)(?:Sols_)?(beta|Nu|Rho|Eta|Zeta|M)(\d+(?:\.\d*)?(?:e-?\d+)?)(?=[_.])")


def read(params: PdeParams) -> pd.DataFrame:
    """The catalogue, best quality first.

    Columns: those of the road (`group, name, region, bytes, year, quality`; region is the equation), `files`,
    `fitting_bytes` (bytes of the group where it fits `data.budget_tb`, else 0), the parts of quality.
    """
    table = groups(snapshot())
    ascending = table.sort_values("bytes")
    fits = ascending["bytes"].cumsum() <= params.data.budget_tb * 1e12
    table["fitting_bytes"] = table["bytes"].where(fits.reindex(table.index), 0)
    return table.sort_values(["quality", "group"], ascending=[False, True], ignore_index=True)


def snapshot() -> pd.DataFrame:
    """The committed list of files: `path, bytes, md5, id`, in order of path."""
    return pd.read_csv(HERE / "pdebench.csv", dtype={"md5": str})


def snapshot_of(manifest: Path, urls: Path) -> pd.DataFrame:
    """The list of files from the public manifest (sizes, MD5), held against PDEBench's list of addresses.

    Raises:
        ValueError: a path stands in both with different checksums.
    """
    rows = read_yaml(manifest)["files"]
    table = pd.DataFrame(rows)[["path", "size_bytes", "checksum", "file_id"]]
    table = table.set_axis(["path", "bytes", "md5", "id"], axis=1).sort_values("path", ignore_index=True)
    listed = pd.read_csv(urls, dtype=str).dropna(subset=["MD5"])
    by_id = dict(zip(listed["URL"].str.rpartition("/")[2], listed["MD5"].str.strip(), strict=True))
    other = [row.path for row in table.itertuples() if by_id.get(str(row.id), row.md5) != row.md5]
    if other:
        raise ValueError(f"{len(other)} files have another checksum in {urls.name}: {other[0]}")
    return table


def groups(table: pd.DataFrame) -> pd.DataFrame:
    """Files summed by group, with the quality of each."""
    known = table.assign(
        family=[_family(path) for path in table["path"]],
        told=[_coefficients(path) for path in table["path"]],
    )
    known["group"] = [" ".join([row.family, *_kind(row.path), *row.told]) for row in known.itertuples()]
    result = known.groupby("group", as_index=False).agg(
        files=("path", "size"),
        bytes=("bytes", "sum"),
        region=("family", "first"),
        told=("told", "first"),
    )
    parts = pd.DataFrame(
        {
            "small": np.clip(np.log(LARGE / result["bytes"]) / np.log(LARGE / SMALL), 0, 1),
            "solver": [dict(FAMILIES.values())[family] for family in result["region"]],
            "audited": [float(_audited(row.region, row.told)) for row in result.itertuples()],
        }
    )
    quality = (parts * pd.Series(WEIGHTS)).sum(axis=1)
    named = result.drop(columns="told").assign(name=result["group"], year=2022, quality=quality)
    return named.assign(**{f"quality_{name}": parts[name] for name in parts})


def addresses(group: str) -> pd.DataFrame:
    """Files of a group: `path, bytes, md5, url`; `ParameterError` with the nearest name where there is none."""
    table = snapshot()
    own = [" ".join([_family(path), *_kind(path), *_coefficients(path)]) == group for path in table["path"]]
    if not any(own):
        raise ParameterError(f"no published group {group!r}{nearest(group, groups(table)['group'])}")
    return table[own].assign(url=[f"{SERVER}{number}" for number in table[own]["id"]])[["path", "bytes", "md5", "url"]]


def sources(params: PdeParams) -> list[Source]:
    """Where a run's files are: a folder as it lies.

    Raises:
        ParameterError: no mirror is named, or `data.source` is `remote`: files come one by one, by a command.
    """
    if params.data.source == "remote":
        raise ParameterError(
            "data.source 'remote': published files are large single files; fetch them with "
            "`python -m stepladder.studies.pde.data.download '<group>' <folder>` (resumes, checks MD5), "
            "then use data.source: mirror with data.mirror: <folder>"
        )
    if not params.data.mirror:
        raise ParameterError(
            f"data.source is 'mirror' but data.mirror is not set: give a folder with files {', '.join(source.ENDINGS)}"
        )
    path = fetch.local_path(params.data.mirror)
    if path is None or not path.is_dir():
        raise ParameterError(f"data.mirror = {params.data.mirror!r} is no folder on this machine")
    return [Source(str(path), "mirror", tuple(f"*{ending}" for ending in (*source.ENDINGS, ".json")))]


def _family(path: str) -> str:
    return next(name for start, (name, _) in FAMILIES.items() if path.startswith(start))


def _kind(path: str) -> list[str]:
    """What tells compressible files of the same coefficients apart: initial state, borders, grid."""
    words = ("Rand", "Shock", "Turb", "Sod", "periodic", "trans", "128", "512")
    name = path.rpartition("/")[2]
    return [word for word in words if word in name] if "CFD" in path else []


def _coefficients(path: str) -> list[str]:
    """Coefficients as the file name spells them: `Nu=0.01`."""
    return [f"{symbol}={float(value):g}" for symbol, value in COEFFICIENT.findall(path.rpartition("/")[2])]


def _audited(family: str, told: list[str]) -> bool:
    """Whether the public re-training of PDEBench's FNO has a number for it."""
    if family not in AUDITED:
        return False
    values = dict(part.split("=") for part in told)
    return all(float(values.get(symbol, "nan")) in wanted for symbol, wanted in AUDITED[family].items())
