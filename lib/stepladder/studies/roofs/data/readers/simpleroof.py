"""SimpleRoof (Hensel et al. 2021): crops of single roofs with their wireframe, whose lines nobody typed.

Decisions:
- Beside each image lies a text of the same name: `#1#` junctions, `#2#` segments, `#3#` adjacency. Segments are what is
  read: adjacency differs from them in a few files, which is counted.
- Coordinates count from the outer corner of the first pixel, as ours: every crop ends as far behind its last junction
  as it begins before its first.
- Crops of `train` are flipped, turned and tinted copies of fewer roofs. What these leave alone is the lengths of the
  lines: crops that share them all are one split group, whatever their colours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.studies.roofs.data.labelled import Labelled
from stepladder.studies.roofs.data.labels import UNTYPED
from stepladder.studies.roofs.data.readers import images, polygons
from stepladder.studies.roofs.data.readers.rasters import shown
from stepladder.studies.roofs.params import RoofsConversion

SOURCE = "simpleroof"
LICENCE = "none stated: for internal tests, never publish"
GSD_M = 0.1  # not published; a house of ten metres fills a crop of median size
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
START = b"#1#"


def assets(files: Sequence[Path]) -> list[Asset]:
    """One asset a crop: its image, its text; copies of one roof share a split group."""
    there = {path.with_suffix("").as_posix(): path for path in files if path.suffix.lower() in images.IMAGES}
    texts = [path for path in files if path.suffix == ".txt" and path.with_suffix("").as_posix() in there]
    return [_asset(there[path.with_suffix("").as_posix()], path) for path in sorted(texts) if _is_wireframe(path)]


def read(asset: Asset, conversion: RoofsConversion) -> Labelled:
    """A crop and its lines, of unknown type. `StudyError` where the text holds no wireframe."""
    image, text = asset.files
    picture = images.open_picture(image, conversion)
    image_YXC, _ = picture.whole()
    junctions_J2, segments_L22, edges = wireframe(text)
    lines_LF = np.column_stack(
        [np.zeros(len(segments_L22)), segments_L22.reshape(-1, 4), np.full(len(segments_L22), UNTYPED)]
    ).astype(np.float32)
    kept_LF = polygons.cut(lines_LF, picture.shape)
    return Labelled(
        image_NYXC=image_YXC[None],
        gsd_m=picture.gsd_m or GSD_M,
        georeference=picture.georeference,
        lines_LF=kept_LF,
        issues=_issues(text, len(junctions_J2), len(lines_LF), len(kept_LF), edges),
        facts={
            "source": SOURCE,
            "licence": LICENCE,
            "north_up": False,  # copies are turned
            "gsd_known": picture.gsd_m is not None,
            "part": asset.meta["part"],
        },
    )


def wireframe(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Junctions (J, 2), segments (L, 2, 2) as (x, y) in pixels, and the number of edges in the adjacency matrix.

    Raises:
        StudyError: naming the file and the part that is missing or holds no pairs of numbers.
    """
    parts = re.split(r"#[123]#", path.read_text(encoding="utf-8-sig", errors="replace"))
    if len(parts) != 4:
        raise StudyError(f"{shown(path)} has not the parts #1#, #2# and #3# of a wireframe; fetch it again")
    junctions, segments, adjacency = (np.array(NUMBER.findall(part), np.float64) for part in parts[1:])
    if len(segments) % 4 or not len(segments) or len(junctions) % 2:
        raise StudyError(f"{shown(path)}: {len(segments)} numbers below #2# are not whole segments (4 each)")
    if not np.isfinite(segments).all():
        raise StudyError(f"{shown(path)} holds a coordinate that is no number")
    return junctions.reshape(-1, 2), segments.reshape(-1, 2, 2), int(adjacency.sum()) // 2


def split_group(segments_L22: np.ndarray) -> str:
    """Equal for wireframes that are flipped, turned or shifted copies of each other: a digest of their lengths."""
    lengths_L = np.sort(np.linalg.norm(segments_L22[:, 0] - segments_L22[:, 1], axis=1))
    return f"{SOURCE}_{hashlib.sha256(np.round(lengths_L, 2).tobytes()).hexdigest()[:12]}"


def _asset(image: Path, text: Path) -> Asset:
    try:
        group = split_group(wireframe(text)[1])
    except StudyError:  # reading it says why
        group = ""
    meta = {"licence": LICENCE, "part": image.stem.partition("_")[0]}
    return Asset(image.stem, SOURCE, (image, text), split_group=group, meta=meta)


def _is_wireframe(path: Path) -> bool:
    with path.open("rb") as file:
        return START in file.read(64)


def _issues(text: Path, junctions: int, segments: int, kept: int, edges: int) -> tuple[Issue, ...]:
    told = {
        "line left out: a point, or outside its crop": segments - kept,
        "wireframe whose adjacency differs from its segments": int(edges != segments),
        "wireframe without junctions": int(junctions == 0),
    }
    return tuple(Issue(kind, count, text.name) for kind, count in told.items() if count)
