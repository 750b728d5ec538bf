"""One door for all raw files: how many trajectories a file holds, and any part of them as `Fields`.

A file's family is told by its ending and content, never asked of the user. Whatever is wrong with a file comes out as
`StudyError` with its name: cut short, unknown layout, missing key, anything else that a reader stumbles over. One bad
file must not stop the conversion of all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import h5py

from stepladder.core.types import StudyError
from stepladder.studies.pde.data.readers import particles, pdebench, points, torchfiles, well
from stepladder.studies.pde.data.readers.fields import Fields, Take, without_gaps

HDF5, TORCH = (".hdf5", ".h5"), (".pt",)
SINGLE: dict[str, Callable[[Path], Fields]] = {
    ".dat": points.read_comsol,
    ".npz": points.read_deepxde,
    ".mat": points.read_matlab,
}
ENDINGS = (*HDF5, *TORCH, *SINGLE)
# What readers raise over content that nobody foresaw.
STUMBLES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
Answer = TypeVar("Answer")


def length(path: Path) -> int:
    """Number of trajectories in a file; `StudyError` where it cannot be read."""
    with _named(path):
        if path.suffix in HDF5:
            return _with_hdf5(path, lambda file: _module(file).length(file))
        return torchfiles.length(torchfiles.load(path), path.name) if path.suffix in TORCH else 1


def read(path: Path, take: Take = Take()) -> Fields:  # noqa: B008
    """The part `take` of a file, without trajectories that hold NaN.

    Raises:
        StudyError: the file cannot be read or used; its name and the way out are in the message.
    """
    with _named(path):
        return without_gaps(_read(path, take), path.name)


def peek(path: Path) -> Fields:
    """The first trajectory of a file, whatever its values: equation, coefficients, grid and fields are those of all."""
    with _named(path):
        return _read(path, Take(0, 1))


def _read(path: Path, take: Take) -> Fields:
    if path.suffix in HDF5:
        return _with_hdf5(path, lambda file: _module(file).read(file, take))
    if path.suffix in TORCH:
        return torchfiles.read(torchfiles.load(path), take, path.name)
    if path.suffix in SINGLE:
        return _part(SINGLE[path.suffix](path), take)
    raise StudyError(f"{path.name}: no reader for {path.suffix!r}; known: {', '.join(ENDINGS)}")


def _part(fields: Fields, take: Take) -> Fields:
    """The part `take` of a file of one trajectory, which is read whole and has no given field.

    Only grids are thinned: the points of a mesh hang together by their edges.
    """
    points = take.points if fields.kind == "grid" else slice(None)
    u = fields.u[(take.rows, take.frames, *(points,) * len(fields.space))]
    return replace(fields, u=u, times_T=fields.times_T[take.frames], axes=tuple(axis[points] for axis in fields.axes))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What a reader stumbles over, as `StudyError` with the file's name."""
    try:
        yield
    except StudyError:
        raise
    except STUMBLES as error:
        said = f"{type(error).__name__}: {error}"
        raise StudyError(
            f"{path.name} is not what its ending says ({said}); fetch it again or take it out of the folder"
        ) from None


def _with_hdf5(path: Path, ask: Callable[[h5py.File], Answer]) -> Answer:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return ask(file)
    except (OSError, KeyError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise StudyError(f"{path.name} cannot be read ({error}); if it was cut short, fetch it again") from None


def _module(file: h5py.File):
    """The reader whose layout the file has."""
    if "dimensions" in file and any(group in file for group in well.ORDERS):
        return well
    if pdebench.layout(file) is not None:
        return pdebench
    first = next(iter(file.values()), None)
    if isinstance(first, h5py.Group) and "position" in first:
        return particles
    name = Path(file.filename).name
    raise StudyError(f"{name}: no known layout; it holds {', '.join(file) or 'nothing'}")
