"""TIFF: one file with a page for each z, or a folder with a file for each."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stepladder.core import files
from stepladder.core.types import Issue
from stepladder.studies.scroll.data.readers.volume import Box3, Volume, VolumeError, guarded, shown

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it warns of is checked here and raised by name


def stack(path: Path, level: int) -> Volume:
    """Open a TIFF stack: one file, one page for each z."""
    with tifffile.TiffFile(path) as file:
        _check_chain(file, path)
        page, pages = file.pages[0], len(file.pages)
        series = file.series[0]
        stacked = len(file.series) == 1 and len(series.shape) == 3 and "S" not in series.axes  # S: samples, as of RGB
        shape = tuple(series.shape) if stacked else (pages, *page.shape)
        if len(shape) != 3 or (pages == 1 and not stacked):
            raise VolumeError(f"{shown(path)} is an image of shape {shape}, not a stack of grey slices")
        if len({(tuple(part.shape[-2:]), part.dtype) for part in file.series}) > 1:
            raise VolumeError(f"{shown(path)} holds pages of different shapes or types; fetch it again")
        dtype = np.dtype(page.dtype)

    def read(box: Box3) -> np.ndarray:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) != shape[0]:  # a volume stored behind one page, as ImageJ and some writers do
                return file.series[0].asarray()[box]
            wanted = range(*box[0].indices(shape[0]))
            return file.asarray(key=wanted, maxworkers=1).reshape(len(wanted), *shape[1:])[:, box[1], box[2]]

    return Volume(path, shape, dtype, None, guarded(path, read))


def _check_chain(file: tifffile.TiffFile, path: Path) -> None:
    """Each page names the next; in a file that was cut the last page found still names one, which tifffile skips."""
    count, width = len(file.pages), file.tiff.offsetsize
    file.filehandle.seek(file.pages.next_page_offset or 0)
    if file.filehandle.read(width) != bytes(width):
        raise VolumeError(f"{shown(path)} is cut: page {count} of the stack is missing; fetch it again")


def slices(path: Path, level: int) -> Volume:
    """A folder of tif slices, as in `<name>.volpkg/volumes/<id>/`; meta.json there tells their number and spacing."""
    meta = files.read_json(path / "meta.json") or {}
    slice_at, depth = _numbered(path, meta)
    with tifffile.TiffFile(next(iter(slice_at.values()))) as file:
        plane, dtype = tuple(file.pages[0].shape), np.dtype(file.pages[0].dtype)
    if len(plane) != 2:
        raise VolumeError(f"{shown(path)} holds images of shape {plane}, not grey slices")

    def read(box: Box3) -> np.ndarray:
        wanted = range(*box[0].indices(depth))
        volume_ZYX = np.zeros((len(wanted), *(len(range(*box[i].indices(plane[i - 1]))) for i in (1, 2))), dtype)
        for row, z in enumerate(wanted):
            if z in slice_at:
                volume_ZYX[row] = _slice(slice_at[z], plane, dtype)[box[1:]]
        return volume_ZYX

    def gaps(box: Box3) -> tuple[Issue, ...]:
        absent = [z for z in range(*box[0].indices(depth)) if z not in slice_at]
        example = f"{shown(path)}: z = {absent[0]}" if absent else ""
        return (Issue("slice is missing, read as zero", len(absent), example),) if absent else ()

    spacing = (float(meta["voxelsize"]),) * 3 if "voxelsize" in meta else None
    absent_Z = tuple(z for z in range(depth) if z not in slice_at)
    return Volume(path, (depth, *plane), dtype, spacing, guarded(path, read), gaps, absent_Z)


def _numbered(path: Path, meta: dict[str, Any]) -> tuple[dict[int, Path], int]:
    """The slice at each z, and the depth: by the number their names end with, otherwise in order of name.

    Numbers count where all else of the names is alike. They start at 0 where meta.json tells how many slices there
    should be, otherwise at the lowest one found.
    """
    found = sorted(path.glob("[!.]*.tif*"))
    matches = [re.fullmatch(r"(.*?)(\d+)", slice_path.stem) for slice_path in found]
    names = [match for match in matches if match]
    if len(names) < len(found) or len({name[1] for name in names}) > 1:
        return dict(enumerate(found)), len(found)
    numbers = [int(name[2]) for name in names]
    first = 0 if "slices" in meta else min(numbers)
    depth = int(meta.get("slices", max(numbers) - first + 1))
    if max(numbers) - first >= depth:
        raise VolumeError(f"{shown(path)} holds slice {max(numbers)}, but meta.json tells of {depth}, counted from 0")
    slice_at: dict[int, Path] = {}
    for number, slice_path in zip(numbers, found, strict=True):
        if other := slice_at.get(number - first):
            raise VolumeError(f"{shown(path)} holds slice {number} twice, {other.name} and {slice_path.name}: keep one")
        slice_at[number - first] = slice_path
    return slice_at, depth


def _slice(path: Path, plane: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    image_YX = tifffile.imread(path, maxworkers=1)
    if image_YX.shape != plane or image_YX.dtype != dtype:
        raise VolumeError(
            f"{shown(path)} is {image_YX.shape} {image_YX.dtype}, other slices {plane} {dtype}; fetch it again"
        )
    return image_YX
