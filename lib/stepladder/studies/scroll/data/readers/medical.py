"""Formats of medical imaging, which store X first: NIfTI and NRRD."""

from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np

from stepladder.studies.scroll.data.readers.volume import (
    MICROMETRES,
    Box3,
    Spacing,
    Volume,
    VolumeError,
    guarded,
    shown,
)


def nifti(path: Path, level: int) -> Volume:
    """Open a NIfTI file, which stores X, Y, Z and gives its spacing in the unit of its header."""
    image: Any = nibabel.load(path)
    if len(image.shape) != 3:
        raise VolumeError(f"{shown(path)} has the shape {image.shape}; needed is a single volume")
    unit = image.header.get_xyzt_units()[0]
    spacing = tuple(float(zoom) * MICROMETRES.get(unit, 1e3) for zoom in reversed(image.header.get_zooms()))
    scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
    dtype = np.dtype(np.float64) if scaled else image.get_data_dtype().newbyteorder("=")

    def read(box: Box3) -> np.ndarray:
        return np.asarray(image.dataobj[box[::-1]], dtype=dtype).transpose(2, 1, 0)

    return Volume(path, tuple(reversed(image.shape)), dtype, spacing, guarded(path, read))


def nrrd_file(path: Path, level: int) -> Volume:
    """Open an NRRD file, which stores X, Y, Z; its unit is by custom the millimetre."""
    header = nrrd.read_header(str(path))
    if header["dimension"] != 3:
        raise VolumeError(f"{shown(path)} has {header['dimension']} axes; needed is a single volume")

    def read(box: Box3) -> np.ndarray:
        return nrrd.read(str(path), index_order="C")[0][box]

    shape = tuple(int(length) for length in header["sizes"][::-1])
    return Volume(path, shape, _nrrd_type(header["type"]), _nrrd_spacing(header), guarded(path, read))


def _nrrd_type(name: str) -> np.dtype:
    """The many names of NRRD for a type: `unsigned short`, `ushort`, `unsigned short int`, `uint16`, `uint16_t`."""
    short = name.removesuffix("_t").replace("unsigned ", "u").removeprefix("signed ").removesuffix(" int")
    return np.dtype({"char": "i1", "uchar": "u1", "float": "f4"}.get(short, short))


def _nrrd_spacing(header: dict[str, Any]) -> Spacing | None:
    """Lengths of the axes' steps, in micrometres; None where the header has none."""
    steps = header.get("spacings")
    if steps is None and header.get("space directions") is not None:
        steps = np.linalg.norm(np.asarray(header["space directions"], dtype=float), axis=-1)
    if steps is None or not np.isfinite(steps).all():
        return None
    unit = str((header.get("space units") or ["mm"])[0])
    return tuple(float(step) * MICROMETRES.get(unit, 1e3) for step in reversed(steps))
