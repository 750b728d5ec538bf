"""One tiling for images in memory and for rasters on disk: where tiles lie, and how much each counts where.

Decisions:
- Tiles begin at multiples of the network's coarsest stride. Cells of every level then lie over the same pixels as in a
  single pass; otherwise the result would depend on where tiles begin.
- A tile sees `halo` pixels more on each side than it may speak of. Between neighbours it counts by a raised cosine over
  all they share. A tile's weight is the difference of two such steps, so weights add up to exactly 1 everywhere.
- What is blended is what the network says (logits, slopes, metres), at stride 4.
- Norms see single cells and the image is normalised by constants, so a cell depends on the pixels within the network's
  reach (339 pixels for the own encoder) and on nothing else. With a halo as wide tiles are exactly a single pass. With
  one of 64 pixels probabilities of a real mosaic differ by 0.05 at most before training (2048 x 2048, four sizes of
  tiles) and by 0.001 after a short one (1024 x 1024, tiles of 512), where a halo of 16 pixels leaves 0.02.

Shape legend: B batch, C colours or channels, Y X pixels, V U cells.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.labels import STRIDE
from stepladder.studies.roofs.models.network import COARSEST

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Axis:
    """Tiles along one axis, in pixels.

    Attributes:
        size: pixels of the raster.
        tile: pixels of a tile, of which the last may have fewer.
        halo: pixels at a tile's border that do not count, where another tile follows.
        step: pixels from tile to tile.
    """

    size: int
    tile: int
    halo: int
    step: int

    @property
    def count(self) -> int:
        """Number of tiles."""
        return max(0, -(-(self.size - self.tile) // self.step)) + 1

    @property
    def cells(self) -> int:
        """Cells of the raster, the last one perhaps not full."""
        return -(-self.size // STRIDE)

    def pixels(self, number: int) -> slice:
        """The pixels that tile `number` sees."""
        return slice(number * self.step, min(number * self.step + self.tile, self.size))

    def seen(self, number: int) -> slice:
        """The cells that tile `number` sees."""
        pixels = self.pixels(number)
        return slice(pixels.start // STRIDE, -(-pixels.stop // STRIDE))

    def weight(self, number: int) -> Tensor:
        """How much each of its cells counts: weights of all tiles add up to 1 in every cell of the raster."""
        seen = self.seen(number)
        middle_V = (torch.arange(seen.start, seen.stop, dtype=torch.float64) + 0.5) * STRIDE
        return (self._begun(number, middle_V) - self._begun(number + 1, middle_V)).float()

    def _begun(self, number: int, at_V: Tensor) -> Tensor:
        """From 0 where tile `number` has not begun to 1 where the one before has ended, over what both may say."""
        if number == 0:
            return torch.ones_like(at_V)
        if number == self.count:
            return torch.zeros_like(at_V)
        start, shared = number * self.step + self.halo, self.tile - self.step - 2 * self.halo
        share_V = ((at_V - start) / shared).clamp(0, 1) if shared else (at_V > start).double()
        return (math.pi / 2 * share_V).sin() ** 2


@dataclass(frozen=True)
class Grid:
    """The tiles of a raster: rows and columns of them."""

    rows: Axis
    columns: Axis

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Numbers (row, column) of all tiles."""
        return itertools.product(range(self.rows.count), range(self.columns.count))

    def __len__(self) -> int:
        return self.rows.count * self.columns.count

    def weight(self, row: int, column: int) -> Tensor:
        """How much each cell (V, U) of a tile counts."""
        return self.rows.weight(row)[:, None] * self.columns.weight(column)


def grid(size: tuple[int, int], tile: int, overlap: int, halo: int) -> Grid:
    """Tiles that cover (Y, X) = `size` pixels.

    Args:
        size: pixels of the raster.
        tile: pixels of a tile along each side, a multiple of `COARSEST`.
        overlap: least pixels over which neighbours are blended.
        halo: pixels at the border of a tile that are thrown away.

    Raises:
        StudyError: a tile has no room for a step of `COARSEST` pixels.
    """
    step = (tile - 2 * halo - overlap) // COARSEST * COARSEST
    if step <= 0 or tile % COARSEST:
        raise StudyError(
            f"tiles of {tile} pixels with overlap {overlap} and halo {halo}: a tile must be a multiple of {COARSEST} "
            f"and at least overlap + 2 halo + {COARSEST} = {overlap + 2 * halo + COARSEST}; change model.tile"
        )
    return Grid(*(Axis(side, tile, halo, step) for side in size))


class Canvas:
    """A box of cells of a raster onto which tiles are blended.

    Attributes:
        maps: what has been added, by name, (..., rows, columns) float32: whole where all tiles of the box were added.
    """

    def __init__(self, places: Grid, rows: slice, columns: slice) -> None:
        self.places, self.rows, self.columns = places, rows, columns
        self.maps = Maps()

    def touches(self, row: int, column: int) -> bool:
        """Whether a tile sees a cell of the box."""
        pairs = (self.rows, self.places.rows.seen(row)), (self.columns, self.places.columns.seen(column))
        return all(box.start < seen.stop and seen.start < box.stop for box, seen in pairs)

    def add(self, row: int, column: int, maps: Maps) -> None:
        """Add what a tile says of the box; a tile that touches it."""
        (from_V, to_V), (from_U, to_U) = (
            _common(self.places.rows.seen(row), self.rows),
            _common(self.places.columns.seen(column), self.columns),
        )
        weight_VU = self.places.weight(row, column)[from_V, from_U]
        for name, value in maps.items():
            if name not in self.maps:
                sides = (box.stop - box.start for box in (self.rows, self.columns))
                self.maps[name] = value.new_zeros((*value.shape[:-2], *sides), dtype=torch.float32)
            part = value[..., from_V, from_U].float()
            self.maps[name][..., to_V, to_U] += part * weight_VU.to(value.device)


def _common(seen: slice, box: slice) -> tuple[slice, slice]:
    """The cells that a tile and a box share, counted from the start of each."""
    start, stop = max(seen.start, box.start), min(seen.stop, box.stop)
    return slice(start - seen.start, stop - seen.start), slice(start - box.start, stop - box.start)


def tiled(network: Callable[[Tensor], Maps], image_BCYX: Tensor, tile: int, overlap: int, halo: int) -> Maps:
    """Maps of an image, blended from its tiles; a single pass where one is enough. For the arguments see `grid`."""
    places = grid((image_BCYX.shape[2], image_BCYX.shape[3]), tile, overlap, halo)
    if len(places) == 1:
        return network(image_BCYX)
    canvas = Canvas(places, slice(0, places.rows.cells), slice(0, places.columns.cells))
    for row, column in places:
        image = image_BCYX[..., places.rows.pixels(row), places.columns.pixels(column)]
        canvas.add(row, column, network(image))
    return canvas.maps
