"""From a raster on disk to rasters on disk, tile by tile: memory of a few tiles, whatever the raster's size.

Decisions:
- Three steps, each of which may be killed and done again: what the network says of a tile is a file of its own; blocks
  of the results are blended from those files; the results appear under their names when they are whole. A run that was
  killed goes on where it was, and ends with the same bytes.
- A folder belongs to one raster, network and set of settings, told by `prediction.json`; another is refused.
- Tiles are kept in half precision: logits to a thousandth, metres to a centimetre at 20 m. A raster of 10,000 x 10,000
  needs 1 GB of disk on the way.
- Results have the CRS of the raster, and its pixels; lines have cells of four pixels, the same corner and four times
  the pixel. Pixels without data in the raster have none in the results.
- Colours become bytes by one rule for the whole raster (see `readers.images`); a rule per tile would make seams.

Shape legend: B batch (1), C colours or channels, Y X pixels, V U cells.
"""

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import torch
from torch import Tensor

from stepladder.core import files
from stepladder.core.files import Json
from stepladder.core.types import Prediction, StudyError
from stepladder.studies.roofs.data.crops import normalised
from stepladder.studies.roofs.data.labels import SECTORS, STRIDE, SUPERSTRUCTURES
from stepladder.studies.roofs.data.readers.images import Picture, open_picture
from stepladder.studies.roofs.models import inference, results, tiles
from stepladder.studies.roofs.models.network import MAPS

CACHE_MB: Final = 64  # what GDAL may keep
SCALE: Final = 0.2  # relative difference of ground sizes that a network trained with changes of size forgives
RECORD, SCRATCH, UNFINISHED = "prediction.json", "tiles", ".unfinished.tif"


def predict_raster(
    model: Any, source: Path, folder: Path, tell: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Path]:
    """What the network says of a raster, as GeoTIFFs in `folder`.

    Args:
        model: a trained network in evaluation mode.
        source: any picture that the readers open; results have its CRS where it has one.
        folder: where results go; made where it is missing. What a killed run left there is used.
        tell: called with the number of tiles done and of all.

    Returns:
        Name -> file: `superstructure` and `face` (class ids) each with `..._probability`, `slope` (east, north),
        `outline` and `boundary` (probabilities), `line` (closeness by type), `direction` and `junction` on cells of
        four pixels, `rise` and `height` (metres).

    Raises:
        StudyError: the raster cannot be read, its pixels are of another size than those the network was trained at
            (`model.gsd`), or `folder` holds the prediction of something else.
    """
    picture, settings = open_picture(source, model.conversion), model.settings
    _of_scale(picture, settings.gsd)
    places = tiles.grid(picture.shape, settings.tile, settings.overlap, settings.halo)
    record, scratch = _claimed(folder, _identity(model, source)), folder / SCRATCH
    if "files" not in record:
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            _see(model, picture, places, scratch, tell)
            names = _write(picture, places, scratch, folder, settings.tasks)
        record = {**record, "files": names, "classes": _legend(settings.tasks)}
        files.write_json(folder / RECORD, record)
        shutil.rmtree(scratch)
    return {name: folder / f"{name}.tif" for name in record["files"]}


# What the network says -----------------------------------------------------------------------------------------------


def _see(model: Any, picture: Picture, places: tiles.Grid, scratch: Path, tell: Callable[[int, int], None]) -> None:
    """Write what the network says of every tile that has no file yet."""
    scratch.mkdir(parents=True, exist_ok=True)
    for number, (row, column) in enumerate(places):
        tell(number, len(places))
        path = _file(scratch, row, column)
        if not path.exists():
            maps = _maps(model, picture, (places.rows.pixels(row), places.columns.pixels(column)))
            with files.atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, _packed(maps))
    tell(len(places), len(places))


def _file(scratch: Path, row: int, column: int) -> Path:
    return scratch / f"{row:05d}_{column:05d}.npy"


@torch.no_grad()
def _maps(model: Any, picture: Picture, box: tuple[slice, slice]) -> tiles.Maps:
    """Maps of a box of pixels; pixels without data have the mean colour."""
    image_YXC, there_YX = picture.read(box)
    image_CYX = np.where(there_YX, normalised(image_YXC), 0)
    device = next(model.parameters()).device
    return inference.speaker(model)(torch.from_numpy(image_CYX)[None].to(device))


def _packed(maps: tiles.Maps) -> np.ndarray:
    """All maps of a tile as one float16 array (channels, V, U), in their order."""
    return torch.cat([value.reshape(-1, *value.shape[-2:]) for value in maps.values()]).cpu().half().numpy()


def _unpacked(stored_CVU: np.ndarray, tasks: Sequence[str]) -> tiles.Maps:
    """The maps of `_packed`, by name, with a batch of one."""
    channels = {name: count for task in tasks for name, count in MAPS[task].items()}
    parts = torch.from_numpy(stored_CVU).split(list(channels.values()))
    return {name: part if name.endswith("_BVU") else part[None] for name, part in zip(channels, parts, strict=True)}


# What becomes of it --------------------------------------------------------------------------------------------------


def _write(picture: Picture, places: tiles.Grid, scratch: Path, folder: Path, tasks: Sequence[str]) -> list[str]:
    """Write all results, block by block, under other names; rename them when they are whole. Returns their names."""
    opened: dict[str, Any] = {}
    with ExitStack() as stack:
        for rows, columns in _blocks(picture.shape):
            found = _found(places, scratch, rows, columns, tasks)
            there_YX = picture.read((rows, columns))[1]
            for name, layer in results.layers(found).items():
                if name not in opened:
                    path = folder / f"{name}{UNFINISHED}"
                    opened[name] = stack.enter_context(
                        results.created(path, layer, picture.shape, picture.georeference)
                    )
                opened[name].write(layer.without(there_YX).values, window=results.window(rows, columns, layer.stride))
    for name in opened:
        (folder / f"{name}{UNFINISHED}").replace(folder / f"{name}.tif")
    return list(opened)


def _blocks(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Boxes of pixels that cover a raster, in the order in which a file holds them."""
    rows, columns = ([slice(at, min(at + results.BLOCK, n)) for at in range(0, n, results.BLOCK)] for n in shape)
    return itertools.product(rows, columns)


def _found(places: tiles.Grid, scratch: Path, rows: slice, columns: slice, tasks: Sequence[str]) -> Prediction:
    """The prediction of a box of pixels, from the tiles that touch it."""
    # One cell more on each side: pixels are up-sampled from the cells around them.
    wide = [_cells(box, axis.cells) for box, axis in ((rows, places.rows), (columns, places.columns))]
    canvas = tiles.Canvas(places, *wide)
    for tile in filter(lambda tile: canvas.touches(*tile), places):
        canvas.add(*tile, _unpacked(np.load(_file(scratch, *tile), mmap_mode="c"), tasks))
    found = inference.answers(canvas.maps, (_pixels(wide[0]), _pixels(wide[1])))
    return {name: _cut(value, name, rows, columns, wide) for name, value in found.items()}


def _cells(pixels: slice, most: int) -> slice:
    """The cells of a box of pixels along one axis, and one more on each side where there is one."""
    return slice(max(pixels.start // STRIDE - 1, 0), min(-(-pixels.stop // STRIDE) + 1, most))


def _pixels(cells: slice) -> int:
    return STRIDE * (cells.stop - cells.start)


def _cut(value: Tensor, name: str, rows: slice, columns: slice, wide: Sequence[slice]) -> Tensor:
    """A map of the cells `wide`, or of their pixels, cut to a box of pixels."""
    unit = STRIDE if name in inference.ON_CELLS else 1
    for axis, box, cells in ((-2, rows, wide[0]), (-1, columns, wide[1])):
        start, stop = box.start // unit, -(-box.stop // unit)
        value = value.narrow(axis, start - cells.start * STRIDE // unit, stop - start)
    return value


def _of_scale(picture: Picture, gsd: float | None) -> None:
    """Refuse a raster whose pixels are much larger or smaller than those the network knows, where both are told."""
    if gsd and picture.gsd_m and abs(picture.gsd_m / gsd - 1) > SCALE:
        raise StudyError(
            f"{picture.path.name} has {picture.gsd_m:.3g} m per pixel, the network was trained at model.gsd = {gsd:g}: "
            "resample it first (rio warp --res, gdalwarp -tr)"
        )


# Whose folder it is --------------------------------------------------------------------------------------------------


def _claimed(folder: Path, identity: Json) -> Json:
    """The record of a folder that belongs to this prediction or, from now on, does."""
    folder.mkdir(parents=True, exist_ok=True)
    record = files.read_json(folder / RECORD) or {"of": identity}
    if record["of"] != identity:
        differs = next(name for name in identity if record["of"].get(name) != identity[name])
        raise StudyError(
            f"{folder.name} holds a prediction with another {differs}: choose another folder, or delete {folder.name}"
        )
    files.write_json(folder / RECORD, record)
    return record


def _identity(model: Any, source: Path) -> Json:
    """All that decides about the results."""
    weights = hashlib.sha256()
    for name, value in model.state_dict().items():
        weights.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return {
        "raster": source.name,
        "content": files.file_sha256(source),
        "network": weights.hexdigest(),
        "settings": model.settings.model_dump(mode="json"),
        "conversion": model.conversion.model_dump(mode="json"),
    }


def _legend(tasks: Sequence[str]) -> Json:
    """Names of the class ids: a sector of a face is the compass bearing of its way down, in degrees."""
    sectors = [f"{360 / SECTORS * sector:g} degrees" for sector in range(SECTORS)]
    tables = {"superstructure": list(SUPERSTRUCTURES), "face": [*sectors, "flat", "no face"]}
    return {task: table for task, table in tables.items() if task in tasks}
