"""What volumes and predictions look like: slices in three planes, sheets as surfaces, what is missed and invented.

Decisions:
- A slice always comes twice, plain and with the sheets over it, in the same grey range: labelled ones in blue,
  predicted ones in amber; what nobody labelled has a mauve tint. Axes carry voxels.
- Surfaces are flying edges over a slightly smoothed mask (so that thin sheets survive the thinning), thinned by binned
  decimation where there are too many triangles (measured: 0.04 s for a million; `decimate_pro` took 28 s for four).
  pyvista is imported where it is used; a machine without it gets marching cubes.
- Errors are told by the tolerance of the score: a predicted face further than that from the truth is false (red), a
  true face further from the prediction is missed (blue), the rest is a hit (grey).
"""

import itertools
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from stepladder.core.types import Picture, Prediction, Sample
from stepladder.data.shards import Shard
from stepladder.studies.scroll.data.labels import SHEET, UNKNOWN
from stepladder.studies.scroll.evaluation import metrics
from stepladder.view.scene import Mesh, Panel, Scene
from stepladder.view.style import MODEL, SPLIT_COLOURS, TRUTH_ON_DARK

UNKNOWN_COLOUR = "#b48ead"
HIT, FALSE, MISSED = range(3)
LABELLED, PREDICTED = {0: ("labelled sheet", TRUTH_ON_DARK)}, {0: ("predicted sheet", MODEL)}
ERRORS_CAPTION = "Predicted surface: hits and false sheets; true surface that was missed."
ERRORS = {HIT: ("hit", "#c9c9c4"), FALSE: ("false sheet", "#c53030"), MISSED: ("missed sheet", TRUTH_ON_DARK)}
PLANES = {"z": ("x", "y"), "y": ("x", "z"), "x": ("y", "z")}  # the fixed axis -> what lies to the right and down
SMOOTH, LEVEL = 1.0, 0.3  # voxels of the Gaussian, and the value of the smoothed mask that is drawn
PAD = 2.0  # voxels around a mask, so that its surface is closed
OUTSIDE = 1.0  # voxels the drawn surface may lie outside its mask
MOST_TRIANGLES = 200_000  # of one mesh
MOST_PANELS = 4  # of the overview scene
COLUMNS, MOST_SLICES = 4, 24  # of the overview figure


def preview(sample: Sample) -> Figure:
    """The middle slices of a sample, plain, with label, and, where it holds one, its distance map."""
    return volume_figure(sample["image_ZYX"], sample["label_ZYX"], distance_ZYX=sample.get("distance_ZYX"))


def volume_figure(
    image_ZYX: np.ndarray,
    label_ZYX: np.ndarray,
    guess_ZYX: np.ndarray | None = None,
    distance_ZYX: np.ndarray | None = None,
) -> Figure:
    """Three planes through the middle: image, image with label, and where given with prediction, and distance map.

    Args:
        image_ZYX, label_ZYX: the volume and its labels 0, 1, 2.
        guess_ZYX: predicted mask.
        distance_ZYX: squared distance to the nearest sheet voxel, in voxels.
    """
    label_ZYX = np.asarray(label_ZYX)
    rows = {"image": None, "label": label_ZYX}
    if guess_ZYX is not None:
        rows["prediction"] = np.asarray(guess_ZYX).astype(np.uint8)
    if distance_ZYX is not None:
        rows["distance to the sheet"] = np.sqrt(np.asarray(distance_ZYX, dtype=np.float32))
    size = (8.4, 2.6 * len(rows) + 0.4)
    figure, axes = plt.subplots(len(rows), 3, figsize=size, squeeze=False, layout="compressed")
    limits = np.percentile(image_ZYX, [0.5, 99.5])
    for column, axis_name in enumerate(PLANES):
        for axis, (name, layer) in zip(axes[:, column], rows.items(), strict=True):
            if name == "distance to the sheet":
                drawn = axis.imshow(_slice(layer, axis_name), cmap="viridis", vmin=0, vmax=max(layer.max(), 1))
            else:
                draw_slice(axis, image_ZYX, layer, axis_name, limits, MODEL if name == "prediction" else TRUTH_ON_DARK)
            _name_axes(axis, axis_name, np.shape(image_ZYX), f"{name}, " if column == 0 else "")
    if distance_ZYX is not None:
        figure.colorbar(drawn, ax=axes, label="distance (voxels)", shrink=0.8 / len(rows), anchor=(0, 0))
    predicted = [Patch(color=MODEL, label="predicted sheet")] * (guess_ZYX is not None)
    figure.legend(handles=[*_legend(label_ZYX), *predicted], loc="outside lower left", ncols=3)
    return figure


def draw_slice(
    axis: Axes,
    image_ZYX: np.ndarray,
    layer_ZYX: np.ndarray | None,
    axis_name: str,
    limits: Any,
    sheet: str = TRUTH_ON_DARK,
) -> None:
    """The middle slice of an image in greys; over it label 1 of `layer_ZYX`, in colour `sheet`, and label 2."""
    axis.imshow(_slice(image_ZYX, axis_name), cmap="gray", vmin=limits[0], vmax=limits[1])
    if layer_ZYX is not None:
        layer = _slice(layer_ZYX, axis_name)
        for value, colour, alpha in ((SHEET, sheet, 0.75), (UNKNOWN, UNKNOWN_COLOUR, 0.35)):
            rgba = np.zeros((*layer.shape, 4))
            rgba[layer == value] = (*to_rgb(colour), alpha)
            axis.imshow(rgba)
    axis.grid(False)


def scenes(sample: Sample, prediction: Prediction | None) -> dict[str, Picture]:
    """`surfaces`: the true sheets and the predicted ones; `errors`, with a prediction: what is false and missed."""
    label_ZYX = np.asarray(sample["label_ZYX"])
    truth_ZYX = label_ZYX == SHEET
    panels = [Panel("truth", (surface(truth_ZYX),))]
    if prediction is None:
        return {"surfaces": Picture(_scene("Sheets", panels), "Labelled sheets as surfaces.")}
    guess_ZYX = (prediction["mask_BZYX"][0].cpu().numpy() != 0) & (label_ZYX != UNKNOWN)
    panels.append(Panel("prediction", (surface(guess_ZYX, palette=PREDICTED),)))
    wrong = Panel("prediction against truth", (errors(truth_ZYX, guess_ZYX),))
    return {
        "surfaces": Picture(_scene("Sheets", panels), "Labelled and predicted sheets as surfaces."),
        "errors": Picture(_scene("What is false and what is missed", [wrong]), ERRORS_CAPTION),
    }


def surface(mask_ZYX: np.ndarray, category: int = 0, palette: Mapping[int, tuple[str, str]] = LABELLED) -> Mesh:
    """The surface of a mask as triangles in voxels (x, y, z), all of one category; empty for an empty mask."""
    points, faces = triangles(mask_ZYX)
    return Mesh(points, faces, np.full(len(faces), category, dtype=np.uint8), palette)


def errors(truth_ZYX: np.ndarray, guess_ZYX: np.ndarray) -> Mesh:
    """The predicted surface, hit or false, and the missed part of the true one; colours of `ERRORS`."""
    meshes = []
    for own, other, far in ((guess_ZYX, truth_ZYX, FALSE), (truth_ZYX, guess_ZYX, MISSED)):
        points, faces = triangles(own)
        middle = np.rint(points[faces].mean(axis=1)[:, ::-1]).astype(int).clip(0, np.array(own.shape) - 1)
        near = metrics.dilate(other, metrics.TOLERANCE + OUTSIDE)[tuple(middle.T)]
        category = np.where(near, HIT, far).astype(np.uint8)
        kept = np.ones(len(faces), bool) if far == FALSE else category == MISSED
        meshes.append((points, faces[kept], category[kept]))
    (points, faces, category), (more_points, more_faces, more_category) = meshes
    return Mesh(
        np.concatenate([points, more_points]),
        np.concatenate([faces, more_faces + len(points)]),
        np.concatenate([category, more_category]),
        ERRORS,
    )


def triangles(mask_ZYX: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) as x, y, z in voxels and faces (M, 3) of a mask's surface, closed at the volume's border."""
    if not mask_ZYX.any():
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=int)
    smooth = ndimage.gaussian_filter(np.pad(mask_ZYX, int(PAD)).astype(np.float32), SMOOTH)
    return _flying_edges(smooth) if find_spec("pyvista") else _marching_cubes(smooth)


def _flying_edges(smooth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import pyvista

    grid = pyvista.ImageData(dimensions=smooth.shape[::-1], origin=(-PAD, -PAD, -PAD))
    grid["mask"] = smooth.ravel()
    mesh = grid.contour([LEVEL], scalars="mask", method="flying_edges", compute_normals=False)
    mesh = _thinned(mesh)
    return np.asarray(mesh.points), mesh.regular_faces


def _marching_cubes(smooth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same surface without pyvista; in larger cubes where it has too many triangles."""
    from skimage.measure import marching_cubes

    for step in itertools.count(1):
        points, faces, *_ = marching_cubes(smooth, LEVEL, step_size=step)
        if len(faces) <= MOST_TRIANGLES:
            return points[:, ::-1] - PAD, faces
    raise AssertionError


def figures(shards: Sequence[Path], splits: Mapping[str, Any]) -> dict[str, Picture]:
    """`slices`: one of every volume, framed in the colour of its split; `sheets`: the labelled sheets in 3-D."""
    return {
        "slices": Picture(overview(shards, splits), "The middle slice of every volume with its label; frame: split."),
        "sheets": Picture(sheets_scene(shards), "Labelled sheets, the first volume of every scroll first."),
    }


def overview(shards: Sequence[Path], splits: Mapping[str, Any]) -> Figure:
    """The middle slice across z of up to `MOST_SLICES` volumes with its label; title: volume and scroll; frame: split.

    Only those slices are read, however many volumes there are.
    """
    volumes = [Shard(shards[place]) for place in sorted(_one_of_each_first(shards, MOST_SLICES))]
    columns = min(COLUMNS, len(volumes))
    rows = -(-len(volumes) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.5 * columns + 0.6, 2.8 * rows + 0.5), squeeze=False)
    for axis in axes.flat[len(volumes) :]:
        axis.axis("off")
    labels = []
    for axis, volume in zip(axes.flat, volumes, strict=False):
        image_1YX, label_1YX = (_middle(volume.array(name)) for name in ("image_ZYX", "label_ZYX"))
        draw_slice(axis, image_1YX, label_1YX, "z", np.percentile(image_1YX, [0.5, 99.5]))
        labels.append(np.unique(label_1YX))
        name = volume.path.stem
        colour = next((SPLIT_COLOURS[split] for split in SPLIT_COLOURS if name in splits[split]), "#9ca3af")
        for spine in axis.spines.values():
            spine.set(visible=True, color=colour, linewidth=2.5)
        axis.set_title(f"{name}\n{volume.attributes['group']}", fontsize=8)
        axis.set(xlabel="x (voxels)", ylabel="y (voxels)")
    if len(volumes) < len(shards):
        figure.suptitle(f"{len(volumes)} of {len(shards)} volumes, every scroll first")
    frame = {"facecolor": "none", "linewidth": 2.5}
    handles = [Patch(edgecolor=colour, label=f"{name} (frame)", **frame) for name, colour in SPLIT_COLOURS.items()]
    figure.legend(handles=[*handles, *_legend(np.concatenate(labels))], loc="outside lower left", ncols=5)
    return figure


def sheets_scene(shards: Sequence[Path]) -> Scene:
    """The labelled sheets of up to `MOST_PANELS` volumes, the first of every scroll first."""
    shown = [Shard(shards[place]) for place in _one_of_each_first(shards, MOST_PANELS)]
    panels = [Panel(volume.path.stem, (surface(np.asarray(volume.array("label_ZYX")) == SHEET),)) for volume in shown]
    return _scene(f"Labelled sheets, {len(shown)} of {len(shards)} volumes", panels)


def _one_of_each_first(shards: Sequence[Path], most: int) -> list[int]:
    """Places of up to `most` shards: the first of every scroll, then the second of every scroll, and so on."""
    groups = [Shard(path).attributes["group"] for path in shards]
    nth = [groups[:place].count(group) for place, group in enumerate(groups)]
    return np.argsort(nth, kind="stable")[:most].tolist()


def _scene(title: str, panels: Sequence[Panel]) -> Scene:
    return Scene(title, tuple(panels), unit="voxels", azimuth=-50.0, elevation=28.0)


def _thinned(mesh: Any) -> Any:
    """`mesh` with its triangles gathered in bins, made larger until few enough are left."""
    import pyvista
    from vtkmodules.vtkFiltersCore import vtkBinnedDecimation

    size, whole = 1.0, mesh
    while mesh.n_cells > MOST_TRIANGLES:
        size *= 1.25
        extent = np.ptp(np.asarray(whole.points), axis=0)
        filter_ = vtkBinnedDecimation()
        filter_.SetInputData(whole)
        filter_.SetNumberOfDivisions(*(max(1, int(length / size)) for length in extent))
        filter_.Update()
        mesh = pyvista.wrap(filter_.GetOutput())
    return mesh


def _middle(volume_ZYX: np.ndarray) -> np.ndarray:
    """The middle slice across z as a volume of its own, in memory."""
    return np.asarray(volume_ZYX[len(volume_ZYX) // 2][None])


def _slice(volume_ZYX: np.ndarray, axis_name: str) -> np.ndarray:
    """The middle slice across an axis."""
    axis = "zyx".index(axis_name)
    return np.take(volume_ZYX, np.shape(volume_ZYX)[axis] // 2, axis)


def _name_axes(axis: Axes, axis_name: str, shape: Sequence[int], prefix: str) -> None:
    right, down = PLANES[axis_name]
    axis.set(xlabel=f"{right} (voxels)", ylabel=f"{down} (voxels)")
    axis.set_title(f"{prefix}{axis_name} = {shape['zyx'.index(axis_name)] // 2}")
    axis.grid(False)


def _legend(label: np.ndarray) -> list[Patch]:
    """Handles for what occurs in `label`."""
    entries = {SHEET: ("labelled sheet", TRUTH_ON_DARK), UNKNOWN: ("not labelled", UNKNOWN_COLOUR)}
    return [Patch(color=colour, label=name) for value, (name, colour) in entries.items() if (label == value).any()]
