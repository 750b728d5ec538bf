"""From an image to what the network says of every pixel, and to lines and faces.

Decisions:
- An image is brought to the ground size the network was trained at (`model.gsd`), seen in tiles, and its maps are
  brought back to the cells of the image: whoever reads a prediction never meets another scale.
- Maps are up-sampled before they are squashed: logits, slopes and metres are what may be averaged.
- Lines and faces are made from the maps by `vector`; a network without lines or outlines has none.
- Everything runs on the model's device but the vectors, which are numpy's.

Shape legend: B batch, Y X pixels, V U cells, L lines; S F G O K D as in `network.MAPS`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from stepladder.core.types import Batch, Prediction, StudyError
from stepladder.studies.roofs.data.labels import STRIDE
from stepladder.studies.roofs.models import symmetry, tiles
from stepladder.studies.roofs.models.losses import upsampled

Maps = dict[str, Tensor]
ON_CELLS: Final = ("line_BKVU", "direction_BDVU", "junction_BVU")  # maps that stay at stride 4
SAME: Final = 0.01  # relative difference of ground sizes that is none


@torch.no_grad()
def predict(model: Any, batch: Batch) -> Prediction:
    """What the network says of one image.

    Returns:
        superstructure_BSYX, face_BFYX, outline_BYX and boundary_BYX (probabilities), slope_BGYX (rise over run),
        line_BKVU (closeness), direction_BDVU, junction_BVU, rise_BYX and height_BYX (metres), of the tasks that the
        model learns; lines_BLF (1, L, 6) x0, y0, x1, y1, type, score, and face_id_BYX int32.

    Raises:
        StudyError: the batch holds several images: they differ in size, and in the number of their lines.
    """
    image_BCYX = batch["image_CYX"]
    if len(image_BCYX) != 1:
        raise StudyError(f"a batch of {len(image_BCYX)} images: predict one at a time (evaluation.batch: 1)")
    gsd_m = float(batch["gsd_m"][0])
    found = answers(seen(model, image_BCYX, gsd_m), (image_BCYX.shape[2], image_BCYX.shape[3]))
    return {**found, **vectors(found, gsd_m, model.smallest)}


def seen(model: Any, image_BCYX: Tensor, gsd_m: float) -> Maps:
    """Maps of the cells of an image with `gsd_m` metres per pixel."""
    settings, size = model.settings, (image_BCYX.shape[2], image_BCYX.shape[3])
    zoom = gsd_m / settings.gsd if settings.gsd else 1.0
    if abs(zoom - 1) > SAME:
        image_BCYX = zoomed(image_BCYX, zoom)
    maps = tiles.tiled(speaker(model), image_BCYX, settings.tile, settings.overlap, settings.halo)
    now = image_BCYX.shape[2], image_BCYX.shape[3]
    return maps if now == size else {name: recelled(value.float(), now, size) for name, value in maps.items()}


def speaker(model: Any) -> Callable[[Tensor], Maps]:
    """The network as tiles ask it: with test-time augmentation where its settings say so."""
    return functools.partial(symmetry.averaged, model) if model.settings.tta else model


def zoomed(image_BCYX: Tensor, zoom: float) -> Tensor:
    """The image with `zoom` times as many pixels along each side, smoothed where it shrinks."""
    size = [max(1, round(side * zoom)) for side in image_BCYX.shape[2:]]
    return interpolate(image_BCYX, size, mode="bilinear", antialias=True)


def recelled(value: Tensor, now: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A map of the cells of an image of `now` pixels, at the cells of the same image with `size` pixels, bilinear.

    Args:
        value: (B, V, U) or (B, C, V, U).
        now: rows and columns of the image it was made of.
        size: rows and columns of the image whose cells are asked for.
    """
    axes = []
    for cells, have, want in zip(value.shape[-2:], now, size, strict=True):
        middle = (torch.arange(-(-want // STRIDE), device=value.device) + 0.5) * STRIDE  # in pixels of the image
        axes.append(2 * (middle * have / want / STRIDE) / cells - 1)  # as `grid_sample` counts: -1 to 1 over all cells
    y_VU, x_VU = torch.meshgrid(*axes, indexing="ij")
    place_BVU2 = torch.stack([x_VU, y_VU], dim=-1).expand(len(value), -1, -1, -1)
    whole = value if value.ndim == 4 else value[:, None]
    found = grid_sample(whole, place_BVU2, mode="bilinear", padding_mode="border", align_corners=False)
    return found if value.ndim == 4 else found[:, 0]


def answers(maps: Mapping[str, Tensor], size: tuple[int, int]) -> Prediction:
    """Maps at stride 4 as probabilities (classes, outline, boundary), slopes and metres of (Y, X) = `size` pixels.

    Lines, directions and junctions stay at stride 4, lines and junctions as probabilities.
    """
    maps = {name: value.float() if name in ON_CELLS else _pixels(value.float(), size) for name, value in maps.items()}
    found: Prediction = {}
    if "superstructure_BSVU" in maps:
        found["superstructure_BSYX"] = maps["superstructure_BSVU"].softmax(1)
    if "face_BFVU" in maps:
        found |= {"face_BFYX": maps["face_BFVU"].softmax(1), "slope_BGYX": maps["slope_BGVU"]}
    if "outline_BOVU" in maps:
        found["outline_BYX"], found["boundary_BYX"] = maps["outline_BOVU"].sigmoid().unbind(1)
    if "line_BKVU" in maps:
        found |= {"line_BKVU": maps["line_BKVU"].sigmoid(), "direction_BDVU": maps["direction_BDVU"]}
        found["junction_BVU"] = maps["junction_BVU"].sigmoid()
    return found | {f"{task}_BYX": maps[f"{task}_BVU"] for task in ("rise", "height") if f"{task}_BVU" in maps}


def vectors(found: Prediction, gsd_m: float, smallest: float) -> Prediction:
    """Lines and faces of the prediction of one image, on its device.

    Args:
        found: what `answers` returns, of one image.
        gsd_m: metres per pixel.
        smallest: square metres below which a roof is left out.
    """
    from stepladder.studies.roofs.models.vector import lines, roofs

    one = {_unbatched(name): value[0].cpu().numpy() for name, value in found.items()}
    made: dict[str, Any] = {}
    if "line_KVU" in one:
        one["lines_LF"] = made["lines_BLF"] = lines.extract(one["line_KVU"], one["direction_DVU"], one["junction_VU"])
    if "outline_YX" in one:
        shape = one["outline_YX"].shape
        made["face_id_BYX"] = roofs.face_ids(roofs.vectorise(one, gsd_m, smallest=smallest), shape)
    device = next(iter(found.values())).device if found else None
    return {name: torch.from_numpy(value)[None].to(device) for name, value in made.items()}


def _unbatched(name: str) -> str:
    """`slope_BGYX` -> `slope_GYX`."""
    stem, axes = name.rsplit("_", 1)
    return f"{stem}_{axes.removeprefix('B')}"


def _pixels(value: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (B, V, U) or (B, C, V, U) at full resolution, cut to the image."""
    whole = upsampled(value) if value.ndim == 4 else upsampled(value[:, None])[:, 0]
    return whole[..., : size[0], : size[1]]
