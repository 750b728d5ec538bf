"""Surfaces: what every reader of raw files returns, labelled triangles and a table of the features they belong to.

Decisions:
- Triangles are a flat float64 array sorted by feature, so a tile with 3,000 buildings is three numpy arrays.
- A feature is what a municipality counts as one (a building with its parts, a road, one relief); its `gml:id` is
  its identity, also across files: neighbouring tiles overlap, and the first one read keeps the feature.
- The cache file is a plain .npz without pickled objects, equal bit for bit after loading.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepladder.core import files
from stepladder.core.types import Box, Issue
from stepladder.studies.plateau.data.citygml.raw import RawFileError, Tally

TEXTS = ("id", "theme", "kind")
BOUNDS = ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max")
COLUMNS = (*TEXTS, "lod", "flat", *BOUNDS)


@dataclass(frozen=True)
class Surfaces:
    """Labelled triangles of one or more files.

    Attributes:
        triangles_N33: float64 corners (triangle, corner, xyz) in metres: easting, northing, height as in the file.
        label_N: uint8 fine class id (see `classes`).
        feature_N: int32 row of `features`, ascending.
        features: one row per feature: `id, theme, kind, lod` (-1 unknown), `flat` (all heights are 0: must be draped)
            and the bounding box `x_min, y_min, z_min, x_max, y_max, z_max` in metres.
        zone: EPSG code of the plane-rectangular zone (6669 to 6687); 0 where an empty file leaves it open.
        issues: everything skipped or repaired.
    """

    triangles_N33: np.ndarray
    label_N: np.ndarray
    feature_N: np.ndarray
    features: pd.DataFrame
    zone: int
    issues: tuple[Issue, ...] = ()

    @classmethod
    def of(
        cls,
        triangles_N33: np.ndarray,
        label_N: np.ndarray,
        feature_N: np.ndarray,
        described: Sequence[tuple[str, str, str, int]],
        zone: int,
        tally: Tally,
    ) -> "Surfaces":
        """Surfaces of triangles sorted by feature; `described` is (id, theme, kind, lod) of each feature.

        A feature left without any triangle is taken out of the table and counted.
        """
        row_F, first_F = np.unique(feature_N, return_index=True)
        kept = [described[row] for row in row_F]
        if missing := sorted(set(range(len(described))).difference(row_F.tolist())):
            tally.add("feature without usable surface", len(missing), described[missing[0]][0])
        feature_N = np.searchsorted(row_F, feature_N).astype(np.int32)
        table: dict[str, Any] = dict(zip((*TEXTS, "lod"), zip(*kept, strict=True) if kept else [()] * 4, strict=True))
        lower_F3, upper_F3 = np.empty((0, 3)), np.empty((0, 3))
        if len(kept):
            corner_V3, first_V = triangles_N33.reshape(-1, 3), 3 * first_F
            lower_F3, upper_F3 = np.minimum.reduceat(corner_V3, first_V), np.maximum.reduceat(corner_V3, first_V)
        table["flat"] = (lower_F3[:, 2] == 0) & (upper_F3[:, 2] == 0)
        table.update(zip(BOUNDS, np.hstack([lower_F3, upper_F3]).T, strict=True))
        return cls(triangles_N33, label_N.astype(np.uint8), feature_N, _frame(table), zone, tally.issues())

    def select(self, keep_F: np.ndarray) -> "Surfaces":
        """The features where `keep_F` (bool) is true, with their triangles; the issues stay."""
        keep_N = keep_F[self.feature_N]
        row_F = (np.cumsum(keep_F) - 1).astype(np.int32)
        features = self.features[keep_F].reset_index(drop=True)
        feature_N = row_F[self.feature_N[keep_N]]
        return Surfaces(self.triangles_N33[keep_N], self.label_N[keep_N], feature_N, features, self.zone, self.issues)

    def clip(self, box: Box) -> "Surfaces":
        """The features whose bounding box meets `box` (x_min, y_min, x_max, y_max in metres), whole."""
        x_min, y_min, x_max, y_max = box
        f = self.features
        meets = (f.x_min <= x_max) & (f.x_max >= x_min) & (f.y_min <= y_max) & (f.y_max >= y_min)
        return self.select(meets.to_numpy())

    def save(self, path: Path) -> None:
        """Write everything to one .npz file, atomically."""
        columns = {f"features.{name}": self.features[name].to_numpy() for name in COLUMNS}
        columns |= {f"features.{name}": np.array(self.features[name].tolist(), dtype=np.str_) for name in TEXTS}
        issues = json.dumps([asdict(issue) for issue in self.issues])
        with files.atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                triangles_N33=self.triangles_N33,
                label_N=self.label_N,
                feature_N=self.feature_N,
                zone=np.int64(self.zone),
                issues=np.array(issues),
                **columns,
            )

    @classmethod
    def load(cls, path: Path) -> "Surfaces":
        """Read what `save` wrote; `RawFileError` for a file that is not one."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                features = _frame({name: stored[f"features.{name}"] for name in COLUMNS})
                issues = tuple(Issue(**issue) for issue in json.loads(str(stored["issues"])))
                arrays = (stored["triangles_N33"], stored["label_N"], stored["feature_N"])
                return cls(*arrays, features, int(stored["zone"]), issues)
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise RawFileError(
                f"{path}: not a file of cached surfaces ({error}); delete it and convert again"
            ) from error


def concatenate(parts: Sequence[Surfaces]) -> Surfaces:
    """Several files as one; a feature that occurs in more than one (by id) is taken from the first and counted.

    Raises `RawFileError` where the parts lie in different zones: read them again with one `zone`.
    """
    zones = sorted({part.zone for part in parts if part.zone})
    if len(zones) > 1:
        raise RawFileError(f"surfaces in different zones {zones}: read all files of a city with one `zone`")
    tally = Tally()
    for issue in (issue for part in parts for issue in part.issues):
        tally.add(issue.kind, issue.count, issue.example)
    ids = pd.concat([part.features["id"] for part in parts], ignore_index=True)
    twice_F = ids.duplicated().to_numpy()
    tally.add("feature in several files", twice_F.sum(), ids[twice_F].iloc[0] if twice_F.any() else "")
    ends = np.cumsum([len(part.features) for part in parts])
    kept = [part.select(~twice) for part, twice in zip(parts, np.split(twice_F, ends[:-1]), strict=True)]
    offsets = np.cumsum([0] + [len(part.features) for part in kept[:-1]])
    return Surfaces(
        np.concatenate([part.triangles_N33 for part in kept]),
        np.concatenate([part.label_N for part in kept]),
        np.concatenate([part.feature_N + offset for part, offset in zip(kept, offsets, strict=True)]).astype(np.int32),
        pd.concat([part.features for part in kept], ignore_index=True),
        zones[0] if zones else 0,
        tally.issues(),
    )


def _frame(columns: dict[str, Sequence]) -> pd.DataFrame:
    """The table of features with fixed column types, whether made or loaded."""
    frame = pd.DataFrame({name: columns[name] for name in COLUMNS})
    return frame.astype(
        dict.fromkeys(TEXTS, object) | {"lod": np.int8, "flat": bool} | dict.fromkeys(BOUNDS, np.float64)
    )
