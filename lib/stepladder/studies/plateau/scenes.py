"""What PLATEAU data and forecasts look like: bird's-eye previews, clips in voxels, the city as surfaces, a map.

Colours are the same everywhere: `classes.FINE` for cities, the Occ3D palette for windows. A difference shows only
what is wrong in strong colours; what is right stays grey.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from stepladder.shards import Shard
from stepladder.studies.plateau.classes import EMPTY, FINE, OCC3D, OCC3D_COLOURS
from stepladder.studies.plateau.params import PlateauParams
from stepladder.view import Lines, Mesh, Panel, Scene, voxels

OCC3D_PALETTE = {i: (name.replace("_", " "), OCC3D_COLOURS[i]) for i, name in enumerate(OCC3D)}
FINE_PALETTE = {c.id: (c.name, c.colour) for c in FINE}
RIGHT, MISSED, INVENTED, CONFUSED = range(4)
DIFFERENCE_PALETTE = {
    RIGHT: ("right", "#c9c9c4"),
    MISSED: ("missed", "#2b6cb0"),
    INVENTED: ("invented", "#c53030"),
    CONFUSED: ("other class", "#d98e04"),
}
SPLIT_COLOURS = {"train": "#1f3a5f", "validation": "#2a9d8f", "test": "#d98e04"}
BLANK = 255


def preview(occ_TXYZ: np.ndarray, params: PlateauParams) -> Figure:
    """Bird's-eye view of the frames of one clip: the first, the present one, and those to forecast."""
    past, frame_s = params.model.past, params.conversion.frame_s
    last = min(past + params.model.future, len(occ_TXYZ)) - 1
    frames = sorted({0, past - 1, *np.linspace(past - 1, last, 4).round().astype(int).tolist()})
    figure, axes = plt.subplots(1, len(frames), figsize=(2.3 * len(frames) + 0.4, 3.1), sharey=True)
    for axis, frame in zip(np.atleast_1d(axes), frames, strict=True):
        birdseye(axis, occ_TXYZ[frame], params.conversion.voxel_m)
        seconds = (frame - past + 1) * frame_s
        axis.set_title("now" if seconds == 0 else f"{seconds:+.1f} s")
    np.atleast_1d(axes)[0].set_ylabel("ahead (m)")
    figure.legend(handles=legend(occ_TXYZ), loc="outside lower center", ncols=6)
    return figure


def birdseye(axis: plt.Axes, occ_XYZ: np.ndarray, voxel_m: float) -> None:
    """Draw the topmost class of every column on `axis`, ahead up and left to the left, in metres around the ego."""
    filled = occ_XYZ != EMPTY
    top = occ_XYZ.shape[2] - 1 - np.argmax(filled[:, :, ::-1], axis=2)
    seen = np.take_along_axis(occ_XYZ, top[:, :, None], axis=2)[:, :, 0]
    colours = np.array([to_rgb(colour) for colour in OCC3D_COLOURS])
    x, y = 0.5 * voxel_m * np.array(occ_XYZ.shape[:2])
    axis.imshow(colours[seen][::-1, ::-1], extent=(y, -y, -x, x))
    axis.plot(0, 0, marker="^", color="#c53030", markersize=5)
    axis.set_xlabel("left (m)")
    axis.grid(False)


def legend(occ: np.ndarray) -> list[Patch]:
    """Handles for the classes that occur in `occ`."""
    present = [int(i) for i in np.unique(occ) if i != EMPTY]
    return [Patch(color=OCC3D_PALETTE[i][1], label=OCC3D_PALETTE[i][0]) for i in present]


def clip_scene(occ_TXYZ: np.ndarray, forecast_FXYZ: np.ndarray | None, horizon: int, params: PlateauParams) -> Scene:
    """Present, truth, forecast and difference of one clip, `horizon` frames ahead."""
    present, truth = occ_TXYZ[params.model.past - 1], occ_TXYZ[params.model.past - 1 + horizon]
    seconds = horizon * params.conversion.frame_s
    panels = [
        _panel("present, the last frame seen", present, params),
        _panel(f"truth at +{seconds:g} s", truth, params),
    ]
    if forecast_FXYZ is not None:
        forecast = forecast_FXYZ[horizon - 1]
        wrong = _mesh(difference(truth, forecast), params, DIFFERENCE_PALETTE, BLANK)
        panels += [_panel(f"forecast at +{seconds:g} s", forecast, params), Panel("difference", (wrong,))]
    return Scene(f"Forecast {seconds:g} s ahead", tuple(panels), azimuth=205.0, elevation=38.0, zoom=1.15)


def difference(truth_XYZ: np.ndarray, forecast_XYZ: np.ndarray) -> np.ndarray:
    """Where a forecast is right, misses, invents or confuses: `DIFFERENCE_PALETTE`; `BLANK` where both are empty."""
    result = np.full(truth_XYZ.shape, BLANK, dtype=np.uint8)
    real, said = truth_XYZ != EMPTY, forecast_XYZ != EMPTY
    result[real & said] = np.where(truth_XYZ == forecast_XYZ, RIGHT, CONFUSED)[real & said]
    result[real & ~said] = MISSED
    result[~real & said] = INVENTED
    return result


def city_scene(shards: Sequence[Path], most_triangles: int = 400_000) -> Scene:
    """All converted tiles as surfaces coloured by class, with the paths a car can drive."""
    corner = np.min([Shard(path).attributes["box"][:2] for path in shards], axis=0)
    meshes, paths = [], []
    for path in shards:
        shard = Shard(path)
        shift = np.array([*(np.array(shard.attributes["box"][:2]) - corner), 0.0])
        triangles, labels = shard.array("surface_N33"), shard.array("surface_label_N")
        step = max(1, len(labels) * len(shards) // most_triangles)
        points = triangles[::step].reshape(-1, 3) + shift
        meshes.append(Mesh(points, np.arange(len(points)).reshape(-1, 3), labels[::step], FINE_PALETTE))
        paths += [pose[:, :3] - [*corner, -0.6] for pose in paths_of(shard)]
    lines = (Lines(tuple(paths), "path", "#c53030", 1.5),) if paths else ()
    return Scene(
        "The city as it was converted", (Panel("surfaces by class", (*meshes, *lines)),), elevation=42.0, zoom=1.3
    )


def map_figure(shards: Sequence[Path], splits: Mapping[str, Any]) -> Figure:
    """Map of the tiles from above: paths, splits and groups, in kilometres."""
    corner = np.min([Shard(path).attributes["box"][:2] for path in shards], axis=0)
    figure, axis = plt.subplots(figsize=(6.4, 5.2))
    for path in shards:
        shard = Shard(path)
        split = next((name for name in SPLIT_COLOURS if path.stem in splits[name]), None)
        colour = SPLIT_COLOURS.get(split or "", "#9ca3af")
        x0, y0, x1, y1 = (np.array(shard.attributes["region"]) - [*corner, *corner]) / 1000
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=colour, alpha=0.12, edgecolor=colour))
        axis.text(x0 + 0.02, y1 - 0.02, path.stem, va="top", fontsize=7, color=colour)
        for pose in paths_of(shard):
            axis.plot(*((pose[:, :2] - corner) / 1000).T, color=colour, linewidth=0.8)
    axis.set(aspect="equal", xlabel="east (km)", ylabel="north (km)", title="Tiles, paths and splits")
    axis.legend(handles=[Patch(color=colour, label=name) for name, colour in SPLIT_COLOURS.items()], loc="best")
    axis.autoscale_view()
    return figure


def paths_of(shard: Shard) -> list[np.ndarray]:
    """The paths of a shard, each of shape (poses, 4)."""
    pose, number = shard.array("pose_P4"), shard.array("path_P")
    return [pose[number == path] for path in np.unique(number)]


def _panel(title: str, occ_XYZ: np.ndarray, params: PlateauParams) -> Panel:
    return Panel(title, (_mesh(occ_XYZ, params, OCC3D_PALETTE, EMPTY),))


def _mesh(occ_XYZ: np.ndarray, params: PlateauParams, palette: Mapping[int, tuple[str, str]], empty: int) -> Mesh:
    size = params.conversion.voxel_m
    x, y = -0.5 * size * np.array(occ_XYZ.shape[:2])
    return voxels(occ_XYZ, palette, size, (x, y, params.model.z_min_m), empty)
