"""Volumes on disk: one small interface over tif stacks, folders of tif slices, OME-Zarr, NIfTI and NRRD.

Decisions:
- Opening reads the header only: shape, type and spacing. `read` then touches what its box needs: pages of a stack,
  slices of a folder, chunks of a Zarr array. A packed NIfTI or NRRD file can only be read whole.
- Axes are always Z, Y, X. NIfTI and NRRD store X first and are turned round; leading axes of length one (time and
  channel of OME-Zarr) are dropped.
- What a file does not hold is never made up in silence: a cut stack is an error, and chunks or slices that are not
  there are read as the fill value and counted by `gaps`.
"""

import logging
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import tifffile
import zarr

from stepladder import files
from stepladder.study import Issue, StudyError

Box3 = tuple[slice, slice, slice]  # Z, Y, X; whole numbers from 0, step 1
Spacing = tuple[float, float, float]

WHOLE: Box3 = (slice(None), slice(None), slice(None))
MICROMETRES = {"micrometer": 1.0, "micron": 1.0, "um": 1.0, "µm": 1.0, "nanometer": 1e-3, "nm": 1e-3, "millimeter": 1e3,
               "mm": 1e3, "meter": 1e6, "m": 1e6}  # fmt: skip
KINDS = ".tif, .tiff, .nii, .nii.gz, .nrrd, a folder of tif slices, an OME-Zarr folder"

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it warns of is checked here and raised by name


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
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    spacing: Spacing | None
    read: Callable[[Box3], np.ndarray]
    gaps: Callable[[Box3], tuple[Issue, ...]] = lambda box: ()

    @property
    def name(self) -> str:
        """Folder and name, for messages."""
        return shown(self.path)


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
        raise _unreadable(path, error) from error


def shown(path: Path) -> str:
    """Folder and name of a volume, for messages."""
    return f"{path.parent.name}/{path.name}"


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
            return _zarr
        if any(path.glob("*.tif*")):
            return _slices
    for endings, opener in ((".tif .tiff", _stack), (".nii .nii.gz", _nifti), (".nrrd", _nrrd)):
        if path.is_file() and path.name.lower().endswith(tuple(endings.split())):
            return opener
    raise VolumeError(f"{shown(path)} is of no known format; known: {KINDS}")


def _unreadable(path: Path, error: Exception) -> VolumeError:
    return VolumeError(f"{shown(path)} cannot be read ({error}); fetch it again")


def _guarded(path: Path, read: Callable[[Box3], Any]) -> Callable[[Box3], np.ndarray]:
    """`read`, with whatever a decoder raises on damaged data as a `VolumeError`."""

    def guarded(box: Box3) -> np.ndarray:
        try:
            return np.asarray(read(box))
        except VolumeError:
            raise
        except (OSError, ValueError, RuntimeError, EOFError, zlib.error, struct.error, nrrd.NRRDError) as error:
            raise _unreadable(path, error) from error

    return guarded


# TIFF ----------------------------------------------------------------------------------------------------------------


def _stack(path: Path, level: int) -> Volume:
    """One file, one page for each z."""
    with tifffile.TiffFile(path) as file:
        _check_chain(file, path)
        page, pages = file.pages[0], len(file.pages)
        stacked = len(file.series) == 1 and len(file.series[0].shape) == 3
        shape = tuple(file.series[0].shape) if stacked else (pages, *page.shape)
        if len(shape) != 3 or (pages == 1 and not stacked):
            raise VolumeError(f"{shown(path)} is an image of shape {shape}, not a stack of grey slices")
        dtype = np.dtype(page.dtype)

    def read(box: Box3) -> np.ndarray:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != shape[0]:  # a volume stored behind one page, as ImageJ and some writers do
                return file.series[0].asarray()[box]
            wanted = range(*box[0].indices(shape[0]))
            return file.asarray(key=wanted, maxworkers=1).reshape(len(wanted), *shape[1:])[:, box[1], box[2]]

    return Volume(path, shape, dtype, None, _guarded(path, read))


def _check_chain(file: tifffile.TiffFile, path: Path) -> None:
    """Each page names the next; in a file that was cut the last page found still names one, which tifffile skips."""
    count, width = len(file.pages), file.tiff.offsetsize
    file.filehandle.seek(file.pages.next_page_offset)
    if file.filehandle.read(width) != bytes(width):
        raise VolumeError(f"{shown(path)} is cut: page {count} of the stack is missing; fetch it again")


def _slices(path: Path, level: int) -> Volume:
    """A folder of tif slices, as in `<name>.volpkg/volumes/<id>/`; meta.json there tells their number and spacing."""
    meta = files.read_json(path / "meta.json") or {}
    slice_at, depth = _numbered(path, meta)
    with tifffile.TiffFile(next(iter(slice_at.values()))) as file:
        plane, dtype = tuple(file.pages[0].shape), np.dtype(file.pages[0].dtype)

    def read(box: Box3) -> np.ndarray:
        wanted = range(*box[0].indices(depth))
        volume_ZYX = np.zeros((len(wanted), *(len(range(*box[i].indices(plane[i - 1]))) for i in (1, 2))), dtype)
        for row, z in enumerate(wanted):
            if z in slice_at:
                volume_ZYX[row] = _slice(slice_at[z], plane)[box[1:]]
        return volume_ZYX

    def gaps(box: Box3) -> tuple[Issue, ...]:
        absent = [z for z in range(*box[0].indices(depth)) if z not in slice_at]
        return (
            (Issue("slice is missing, read as zero", len(absent), f"{shown(path)}: z = {absent[0]}"),) if absent else ()
        )

    spacing = (float(meta["voxelsize"]),) * 3 if "voxelsize" in meta else None
    return Volume(path, (depth, *plane), dtype, spacing, _guarded(path, read), gaps)


def _numbered(path: Path, meta: dict[str, Any]) -> tuple[dict[int, Path], int]:
    """The slice at each z, and the depth: by their numbers where names are numbers, otherwise in order of name.

    Numbers start at 0 where meta.json tells how many slices there should be, otherwise at the lowest one found.
    """
    found = sorted(path.glob("*.tif*"))
    if not all(slice_path.stem.isdigit() for slice_path in found):
        return dict(enumerate(found)), len(found)
    first = 0 if "slices" in meta else min(int(slice_path.stem) for slice_path in found)
    slice_at = {int(slice_path.stem) - first: slice_path for slice_path in found}
    return slice_at, int(meta.get("slices", max(slice_at) + 1))


def _slice(path: Path, plane: tuple[int, ...]) -> np.ndarray:
    image_YX = tifffile.imread(path, maxworkers=1)
    if image_YX.shape != plane:
        raise VolumeError(f"{shown(path)} is {image_YX.shape}, other slices {plane}; fetch it again")
    return image_YX


# OME-Zarr ------------------------------------------------------------------------------------------------------------


def _zarr(path: Path, level: int) -> Volume:
    """An OME-Zarr pyramid (Zarr 2 or 3), or a bare array."""
    root = zarr.open(str(path), mode="r")
    array, spacing = (root, None) if isinstance(root, zarr.Array) else _pyramid(root, path, level)
    leading = array.ndim - 3
    if leading < 0 or any(length != 1 for length in array.shape[:leading]):
        raise VolumeError(f"{shown(path)} has the shape {array.shape}; needed is Z, Y, X behind axes of length one")

    def read(box: Box3) -> np.ndarray:
        return array[(0,) * leading + box]

    def gaps(box: Box3) -> tuple[Issue, ...]:
        absent = _absent_chunks(path / array.path, array, (slice(None),) * leading + box)
        example = f"{shown(path)}/{absent[0]}" if absent else ""
        return (Issue("chunk is missing, read as fill value", len(absent), example),) if absent else ()

    shape = tuple(array.shape[leading:])
    return Volume(path, shape, np.dtype(array.dtype), spacing, _guarded(path, read), gaps)


def _pyramid(group: zarr.Group, path: Path, level: int) -> tuple[zarr.Array, Spacing | None]:
    """One level of a pyramid and its spacing; the metadata lie under `ome` since version 0.5."""
    attributes = dict(group.attrs)
    scales = attributes.get("ome", attributes).get("multiscales")
    if not scales:
        raise VolumeError(f"{shown(path)} is a Zarr group without `multiscales`: name the array inside it")
    datasets = scales[0]["datasets"]
    if level >= len(datasets):
        raise VolumeError(f"{shown(path)} has {len(datasets)} levels; conversion.level = {level} is not one of them")
    steps = datasets[level].get("coordinateTransformations", [])
    scale = next((step["scale"] for step in steps if step["type"] == "scale"), None)
    units = [axis.get("unit", "") for axis in scales[0].get("axes", []) if isinstance(axis, dict)]
    known = scale is not None and len(units) == len(scale) and all(unit in MICROMETRES for unit in units[-3:])
    spacing = tuple(s * MICROMETRES[u] for s, u in zip(scale[-3:], units[-3:], strict=True)) if known else None
    return group[datasets[level]["path"]], spacing


def _absent_chunks(folder: Path, array: zarr.Array, box: tuple[slice, ...]) -> list[str]:
    """Names of the chunk files (shard files, where an array is sharded) of a box that are not there."""
    stored = getattr(array, "shards", None) or array.chunks
    ranges = [
        range(part.indices(length)[0] // size, -(-part.indices(length)[1] // size))
        for part, length, size in zip(box, array.shape, stored, strict=True)
    ]
    keys = (array.metadata.encode_chunk_key(place) for place in product(*ranges))
    return [f"{array.path}/{key}".lstrip("/") for key in keys if not (folder / key).exists()]


# Medical formats -----------------------------------------------------------------------------------------------------


def _nifti(path: Path, level: int) -> Volume:
    """NIfTI stores X, Y, Z; spacing in the unit of its header."""
    image = nibabel.load(path)
    if len(image.shape) != 3:
        raise VolumeError(f"{shown(path)} has the shape {image.shape}; needed is a single volume")
    unit = image.header.get_xyzt_units()[0]
    spacing = tuple(float(zoom) * MICROMETRES.get(unit, 1e3) for zoom in reversed(image.header.get_zooms()))
    scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
    dtype = np.dtype(np.float64) if scaled else image.get_data_dtype().newbyteorder("=")

    def read(box: Box3) -> np.ndarray:
        return np.asarray(image.dataobj[box[::-1]], dtype=dtype).transpose(2, 1, 0)

    return Volume(path, tuple(reversed(image.shape)), dtype, spacing, _guarded(path, read))


def _nrrd(path: Path, level: int) -> Volume:
    """NRRD stores X, Y, Z; its unit is by custom the millimetre."""
    header = nrrd.read_header(str(path))
    if header["dimension"] != 3:
        raise VolumeError(f"{shown(path)} has {header['dimension']} axes; needed is a single volume")

    def read(box: Box3) -> np.ndarray:
        return nrrd.read(str(path), index_order="C")[0][box]

    shape = tuple(int(length) for length in header["sizes"][::-1])
    return Volume(path, shape, _nrrd_type(header["type"]), _nrrd_spacing(header), _guarded(path, read))


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
