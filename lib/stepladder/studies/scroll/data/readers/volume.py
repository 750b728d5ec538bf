"""What a volume on disk is, whatever its format, and what every reader shares.

Decisions:
- Opening reads the header only: shape, type and spacing. `read` then touches what its box needs: pages of a stack,
  slices of a folder, chunks of a Zarr array. A packed NIfTI or NRRD file can only be read whole.
- Axes are always Z, Y, X. NIfTI and NRRD store X first and are turned round; leading axes of length one (time and
  channel of OME-Zarr) are dropped.
- What a file does not hold is never made up in silence: a cut stack is an error, and chunks or slices that are not
  there are read as the fill value and counted by `gaps`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stepladder.core.types import Issue, StudyError

Box3 = tuple[slice, slice, slice]  # Z, Y, X; whole numbers from 0, step 1
Spacing = tuple[float, ...]

WHOLE: Box3 = (slice(None), slice(None), slice(None))
MICROMETRES = {"micrometer": 1.0, "micron": 1.0, "um": 1.0, "µm": 1.0, "nanometer": 1e-3, "nm": 1e-3, "millimeter": 1e3,
               "mm": 1e3, "meter": 1e6, "m": 1e6}  # fmt: skip


class VolumeError(StudyError):
    """A volume that cannot be read, with its name and the way out."""


@dataclass(frozen=True)
class Volume:
    """A volume on disk, opened.

    Attributes:
        path: the file or folder.
        shape: voxels along Z, Y, X.
        dtype: type of a voxel as stored.
        spacing: micrometres between voxels along Z, Y, X; None where the file does not say.
        read: voxels of a box, as an array of `dtype`; `VolumeError` where they cannot be decoded.
        gaps: what is not there in a box and is read as the fill value, counted.
        absent_Z: which slices are not there at all, and are read as zero.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    spacing: Spacing | None
    read: Callable[[Box3], np.ndarray]
    gaps: Callable[[Box3], tuple[Issue, ...]] = lambda box: ()
    absent_Z: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Folder and name, for messages."""
        return shown(self.path)


def shown(path: Path) -> str:
    """Folder and name of a volume, for messages."""
    return f"{path.parent.name}/{path.name}"


def unreadable(path: Path, error: Exception) -> VolumeError:
    """What to say of a volume that a library gave up on."""
    return VolumeError(f"{shown(path)} cannot be read ({error}); fetch it again")


def guarded(path: Path, read: Callable[[Box3], Any]) -> Callable[[Box3], np.ndarray]:
    """`read`, with whatever a decoder raises on damaged data as a `VolumeError`."""

    def safe(box: Box3) -> np.ndarray:
        try:
            return np.asarray(read(box))
        except (VolumeError, MemoryError):
            raise
        except Exception as error:  # every library has exceptions of its own for damaged data
            raise unreadable(path, error) from error

    return safe
