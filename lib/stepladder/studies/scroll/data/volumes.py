"""Volumes on disk by their path: which reader opens one, which files it is made of, what it is called."""

import re
from collections.abc import Callable
from pathlib import Path

from stepladder.core import files
from stepladder.studies.scroll.data.readers import medical, omezarr, tif
from stepladder.studies.scroll.data.readers.volume import Volume, VolumeError, shown, unreadable

KINDS = ".tif, .tiff, .nii, .nii.gz, .nrrd, a folder of tif slices, an OME-Zarr folder"


def open_volume(path: Path, level: int = 0) -> Volume:
    """Open a volume, whatever its format.

    Args:
        path: a file or folder of one of the formats in `KINDS`.
        level: of an OME-Zarr pyramid, 0 the finest; other formats have one level only.

    Raises:
        VolumeError: the path does not exist, is of no known format, or its header cannot be read.
    """
    path = Path(path)
    opener = _opener(path)
    try:
        return opener(path, level)
    except VolumeError:
        raise
    except Exception as error:  # every library has exceptions of its own for a damaged header
        raise unreadable(path, error) from error


def stem(path: Path) -> str:
    """A volume's name without the ending of its format."""
    return re.sub(r"\.(tiff?|nii(\.gz)?|nrrd|zarr)$", "", path.name)


def raw_files(path: Path) -> tuple[Path, ...]:
    """The files a volume is made of: itself, or all below a folder, sorted."""
    return tuple(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else (path,)


def digest(path: Path) -> str:
    """SHA-256 (hex) of a volume: of its file, or of the names and hashes of the files in its folder."""
    if path.is_file():
        return files.file_sha256(path)
    parts = [(part.relative_to(path).as_posix(), files.file_sha256(part)) for part in raw_files(path)]
    return files.fingerprint(parts)


def _opener(path: Path) -> Callable[[Path, int], Volume]:
    if not path.exists():
        raise VolumeError(f"{shown(path)}: no such file or folder; check the raw folder or fetch it again")
    if path.is_dir():
        if any((path / mark).exists() for mark in ("zarr.json", ".zarray", ".zgroup")):
            return omezarr.pyramid
        if any(path.glob("*.tif*")):
            return tif.slices
    for endings, opener in ((".tif .tiff", tif.stack), (".nii .nii.gz", medical.nifti), (".nrrd", medical.nrrd_file)):
        if path.is_file() and path.name.lower().endswith(tuple(endings.split())):
            return opener
    raise VolumeError(f"{shown(path)} is of no known format; known: {KINDS}")
