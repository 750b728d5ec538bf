"""What PLATEAU data and forecasts look like: bird's-eye previews, clips in voxels, the city as surfaces, a map.

Colours are the same everywhere: `classes.FINE` for cities, the Occ3D palette for windows. A difference shows only
what is wrong in strong colours; what is right stays grey.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from stepladder.data.shards import Shard
from stepladder.studies.plateau.data.citygml.classes import EMPTY, FINE, OCC3D, OCC3D_COLOURS
from stepladder.studies.plateau.params import PlateauParams
from stepladder.view.scene import Lines, Mesh, Panel, Scene, voxels
from stepladder.view.style import SPLIT_COLOURS

OCC3D_PALETTE = {i: (name.replace("_", " "), OCC3D_COLOURS[i]) for i, name in enumerate(OCC3D)}
FINE_PALETTE = {c.id: (c.name, c.colour) for c in FINE}
RIGHT, MISSED, INVENTED, CONFUSED = range(4)
DIFFERENCE_PALETTE = {
    RIGHT: ("right", "#c9c9c4"),
    MISSED: ("missed", "#2b6cb0"),
    INVENTED: ("invented", "#c53030"),
    CONFUSED: ("other class", "#8e5ea2"),
}
BLANK = 255
MOST_TRIANGLES = 400_000  # of a city scene
GROUND_M = 4.0  # squares the ground is drawn in
MARGIN_M = 30.0


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


def birdseye(axis: Axes, occ_XYZ: np.ndarray, voxel_m: float) -> None:
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
    note = cut_note(occ_TXYZ[params.model.past - 1 :], params)
    return Scene(f"Forecast {seconds:g} s ahead", tuple(panels), azimuth=205.0, elevation=38.0, note=note)


def cut_note(occ_TXYZ: np.ndarray, params: PlateauParams) -> str:
    """What to know of a window that is lower than what stands in it; empty where nothing reaches its top."""
    if not (occ_TXYZ[..., -1] != EMPTY).any():
        return ""
    top = params.model.z_min_m + occ_TXYZ.shape[-1] * params.conversion.voxel_m
    return (
        f"The window ends {top:g} m above the road. A higher house is cut there: its roof is not in the data, and its "
        "walls stand as a ring."
    )


def difference(truth_XYZ: np.ndarray, forecast_XYZ: np.ndarray) -> np.ndarray:
    """Where a forecast is right, misses, invents or confuses: `DIFFERENCE_PALETTE`; `BLANK` where both are empty."""
    result = np.full(truth_XYZ.shape, BLANK, dtype=np.uint8)
    real, said = truth_XYZ != EMPTY, forecast_XYZ != EMPTY
    result[real & said] = np.where(truth_XYZ == forecast_XYZ, RIGHT, CONFUSED)[real & said]
    result[real & ~said] = MISSED
    result[~real & said] = INVENTED
    return result


def city_scene(shards: Sequence[Path], params: PlateauParams) -> Scene:
    """The largest city converted, as surfaces coloured by class on its ground, with the paths a car can drive."""
    tiles = [Shard(path) for path in shards]
    groups = [tile.attributes["group"] for tile in tiles]
    city = max(sorted(set(groups)), key=groups.count)
    own = [tile for tile, group in zip(tiles, groups, strict=True) if group == city]
    corner = np.min([tile.attributes["region"][:2] for tile in own], axis=0)
    meshes, drives = [], []
    for tile in own:
        meshes += [_ground(tile, corner, params), _standing(tile, corner, MOST_TRIANGLES // len(own))]
        drives += [pose[:, :3] - [*corner, -0.8] for pose in paths_of(tile)]
    lines = (Lines(tuple(drives), "path", "#c53030", 0.5),) if drives else ()
    title = f"City {city} as it was converted, {len(own)} tiles"
    return Scene(title, (Panel("surfaces by class", (*meshes, *lines)),), elevation=40.0)


def _standing(tile: Shard, corner: np.ndarray, most: int) -> Mesh:
    """What stands on the ground of a tile; thinned evenly above `most` triangles."""
    triangles, labels = tile.array("surface_N33"), tile.array("surface_label_N")
    step = -(-len(labels) // most) or 1
    shift = np.append(np.array(tile.attributes["box"][:2]) - corner, 0.0)
    points = triangles[::step].reshape(-1, 3) + shift
    return Mesh(points, np.arange(len(points)).reshape(-1, 3), labels[::step], FINE_PALETTE)


def _ground(tile: Shard, corner: np.ndarray, params: PlateauParams) -> Mesh:
    """The ground of a tile's built-up part as a relief of squares, each in the class of the voxel on the ground."""
    voxel_m, base_XY = tile.attributes["voxel_m"], tile.array("base_XY")
    step = max(1, round(GROUND_M / voxel_m))
    below = int(params.conversion.below_m / voxel_m + 1e-9)
    columns = tile.array("voxels_XYL")[::step, ::step, : below + 2]
    filled = columns != EMPTY
    label_XY = np.take_along_axis(columns, np.argmax(filled, axis=2)[:, :, None], axis=2)[:, :, 0]
    height_XY = (base_XY[::step, ::step] + np.argmax(filled, axis=2)) * voxel_m
    x, y = (tile.attributes["box"][k] - corner[k] + np.arange(n) * step * voxel_m for k, n in enumerate(label_XY.shape))
    points = np.stack([*np.meshgrid(x, y, indexing="ij"), height_XY], axis=-1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(len(x) - 1), np.arange(len(y) - 1), indexing="ij")
    near = _near_buildings(tile, x + corner[0], y + corner[1])[:-1, :-1]
    first = (i * len(y) + j)[near]
    faces = np.concatenate(
        [np.stack([first, first + len(y), first + len(y) + 1], 1), np.stack([first, first + len(y) + 1, first + 1], 1)]
    )
    used, faces = np.unique(faces, return_inverse=True)
    label = label_XY[:-1, :-1][near]
    return Mesh(points[used], faces.reshape(-1, 3), np.concatenate([label, label]), FINE_PALETTE)


def _near_buildings(tile: Shard, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which nodes lie in the tile's region and within `MARGIN_M` of what stands or is driven, as a box."""
    box = np.array(tile.attributes["box"][:2])
    spots = np.concatenate([tile.array("surface_N33")[:, 0, :2] + box, tile.array("pose_P4")[:, :2], np.zeros((0, 2))])
    region = np.array(tile.attributes["region"])
    low, high = (spots.min(0) - MARGIN_M, spots.max(0) + MARGIN_M) if len(spots) else (region[:2], region[2:])
    low, high = np.maximum(low, region[:2] - GROUND_M), np.minimum(high, region[2:])
    return ((x >= low[0]) & (x <= high[0]))[:, None] & ((y >= low[1]) & (y <= high[1]))[None, :]


def map_figure(shards: Sequence[Path], splits: Mapping[str, Any]) -> Figure:
    """Map of every city's driven part from above: tiles, paths and splits, in kilometres from the city's corner."""
    tiles = [Shard(path) for path in shards]
    groups = sorted({tile.attributes["group"] for tile in tiles})
    figure, axes = plt.subplots(1, len(groups), figsize=(max(5.6, 4.2 * len(groups)), 4.0), squeeze=False)
    for axis, group in zip(axes.flat, groups, strict=True):
        _draw_city(axis, [tile for tile in tiles if tile.attributes["group"] == group], splits)
        axis.set(aspect="equal", xlabel="east (km)", title=f"city {group}")
    axes[0, 0].set_ylabel("north (km)")
    handles = [Patch(color=colour, label=name) for name, colour in SPLIT_COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_city(axis: Axes, tiles: Sequence[Shard], splits: Mapping[str, Any]) -> None:
    """The tiles of one city, each in the colour of its split; the view is where anything is driven."""
    corner = np.min([tile.attributes["region"][:2] for tile in tiles], axis=0)
    region_K4 = (np.array([tile.attributes["region"] for tile in tiles]) - [*corner, *corner]) / 1000
    drives_K = [[(pose[:, :2] - corner) / 1000 for pose in paths_of(tile)] for tile in tiles]
    spots = np.concatenate(
        [*(line for lines in drives_K for line in lines), region_K4.reshape(-1, 2)[: 2 * (not any(drives_K))]]
    )
    low, high = spots.min(0) - MARGIN_M / 500, spots.max(0) + MARGIN_M / 500
    for tile, (x0, y0, x1, y1), lines in zip(tiles, region_K4, drives_K, strict=True):
        name = tile.path.stem
        colour = next((SPLIT_COLOURS[split] for split in SPLIT_COLOURS if name in splits[split]), "#9ca3af")
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=f"{colour}1a", edgecolor=colour))
        label = {"va": "top", "fontsize": 7, "color": colour, "clip_on": True}
        axis.text(max(x0, low[0]) + 0.01, min(y1, high[1]) - 0.01, tile.attributes["mesh"], **label)
        for line in lines:
            axis.plot(*line.T, color=colour, linewidth=0.9)
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


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
