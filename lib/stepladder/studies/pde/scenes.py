"""What trajectories and forecasts look like: space-time reliefs, fields on grids and meshes, particles; and the figures
that say more than a relief: truth | prediction | error with spectra and drift.

Decisions:
- One colour scale for truth and prediction of a sample, from blue (low) over white to red (high), and one of its own
  for the error, so that a small error looks small only beside its legend.
- A one-dimensional trajectory is a surface over (x, t); of more axes, a frame is a surface over its first two; heights
  are exaggerated to `RELIEF` of the width, and the legend has the values.
- A mesh is drawn on its triangles, scattered points as small tiles, particles as paths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.spatial import Delaunay

from stepladder.studies.pde import equations
from stepladder.studies.pde.dataset import Trajectories, key
from stepladder.studies.pde.params import PdeParams
from stepladder.study import Prediction, Sample
from stepladder.view import Lines, Mesh, Panel, Scene

BINS = 9  # colours of a scale
RELIEF = 0.25  # height of a surface as a share of its width
MOST_FRAMES, MOST_POINTS = 80, 160  # of a surface over space and time
FLOOR = 1e-12  # of an amplitude on a logarithmic axis
FRAMES = 4  # shown of a trajectory in a preview, at most
SPLIT_COLOURS = {"train": "#1f3a5f", "validation": "#2a9d8f", "test": "#d98e04"}


class Scale:
    """Values to colours: `BINS` equal steps between `low` and `high`, named by their range.

    `named=False` names them by their share of the range instead, where panels of different ranges stand together.
    """

    def __init__(self, low: float, high: float, colours: str, named: bool = True):
        self.low, self.high = low, high if high > low else low + 1e-12
        edges = np.linspace(self.low, self.high, BINS + 1)
        shades = plt.get_cmap(colours)(np.linspace(0.04, 0.96, BINS))
        names = [
            f"{edges[i]:.2g} to {edges[i + 1]:.2g}" if named else f"{i / BINS:.0%} to {(i + 1) / BINS:.0%} of the range"
            for i in range(BINS)
        ]
        self.palette = {i: (name, to_hex(shade)) for i, (name, shade) in enumerate(zip(names, shades, strict=True))}

    def bins(self, values: np.ndarray) -> np.ndarray:
        """Colour of every value, uint8."""
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return np.clip((share * BINS).astype(int), 0, BINS - 1).astype(np.uint8)

    def height(self, values: np.ndarray) -> np.ndarray:
        """Values as 0 ... 1."""
        return (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)


def scenes(sample: Sample, prediction: Prediction | None, params: PdeParams, named: bool = True) -> dict[str, Scene]:
    """Truth, forecast and error of one sample, early and at the end of its rollout; `named` as in `Scale`."""
    truth = np.asarray(sample[key(sample, "target_")])
    guess = None if prediction is None else np.asarray(prediction[key(prediction, "u_B")][0].cpu())
    name = equations.NAMES[int(sample["equation"])]
    if name == "lagrangian":
        return {"paths": _paths_scene(sample, truth, guess)}
    if truth.ndim == 3 and "edge_E2" not in sample:
        state = np.asarray(sample[key(sample, "input_")])[None]
        whole = [None if u is None else _thinned(np.concatenate([state, u])) for u in (truth, guess)]
        return {
            "rollout": _fields_scene(_space_time(whole[0]), *whole, f"{name}: x to the right, t to the back", named)
        }
    frames = {"first": 0, "last": len(truth) - 1} if len(truth) > 1 else {"answer": 0}
    surface = _mesh_surface(sample) if "edge_E2" in sample else _grid_surface(sample)
    return {
        which: _fields_scene(
            surface, truth[frame], None if guess is None else guess[frame], f"{name}, {which} frame", named
        )
        for which, frame in frames.items()
    }


def _fields_scene(
    surface: "Surface", truth: np.ndarray, guess: np.ndarray | None, title: str, named: bool = True
) -> Scene:
    """First field of truth, forecast and error on a surface."""
    values = truth[..., 0].ravel()
    scale = Scale(float(values.min()), float(values.max()), "RdBu_r", named)
    panels = [Panel("truth", (surface.mesh(values, scale),))]
    if guess is not None:
        error = np.abs(guess[..., 0].ravel() - values)
        panels.append(Panel("forecast", (surface.mesh(guess[..., 0].ravel(), scale),)))
        panels.append(Panel("absolute error", (surface.mesh(error, Scale(0.0, float(error.max()), "Oranges")),)))
    return Scene(title, tuple(panels), unit="widths", azimuth=-70.0, elevation=40.0, columns=3)


class Surface:
    """Points of a plane and its triangles, lifted by values."""

    def __init__(self, plane_N2: np.ndarray, faces_M3: np.ndarray, relief: float = RELIEF):
        width = float(np.ptp(plane_N2, axis=0).max()) or 1.0
        self.plane_N2, self.faces_M3, self.relief = plane_N2 / width, faces_M3, relief

    def mesh(self, values_N: np.ndarray, scale: Scale) -> Mesh:
        """The surface coloured by values; heights where it has a relief."""
        values_N = np.tile(values_N, len(self.plane_N2) // len(values_N))  # a line of points is drawn as a band
        height = self.relief * np.clip(scale.height(values_N), -0.5, 1.5)
        points = np.column_stack([self.plane_N2, height])
        return Mesh(points, self.faces_M3, scale.bins(values_N[self.faces_M3].mean(axis=1)), scale.palette)


def _space_time(truth_TXC: np.ndarray) -> Surface:
    """Space to the right, time to the back."""
    frames, points = truth_TXC.shape[:2]
    x, t = np.meshgrid(np.arange(points) / points, np.arange(frames) / frames)
    return Surface(np.stack([x.ravel(), t.ravel()], axis=1), _grid_faces(frames, points))


def _thinned(u_TXC: np.ndarray) -> np.ndarray:
    """At most about `MOST_FRAMES` x `MOST_POINTS` of a trajectory: a picture has no more pixels."""
    return u_TXC[:: -(-len(u_TXC) // MOST_FRAMES), :: -(-u_TXC.shape[1] // MOST_POINTS)]


def _grid_surface(sample: Sample) -> Surface:
    """A grid's first two axes; of a third axis the middle is not shown, the first two make the plane."""
    position = np.asarray(sample[key(sample, "position_")])
    rows, columns = position.shape[:2]
    plane = position.reshape(rows, columns, -1, position.shape[-1])[:, :, 0, :2]
    return Surface(plane[..., ::-1].reshape(-1, 2), _grid_faces(rows, columns))


def _mesh_surface(sample: Sample) -> Surface:
    """A mesh's own triangles, or those of its points in the plane, long slivers left out."""
    points = np.asarray(sample["position_XD"], dtype=np.float64)
    if points.shape[1] == 1:
        points = np.column_stack([points, np.zeros(len(points))])
        points = np.concatenate([points, points + np.array([0, 0.1 * np.ptp(points[:, 0])])])
    if "cell_M3" in sample:
        return Surface(points[:, :2], np.asarray(sample["cell_M3"]), relief=0.0)
    faces = Delaunay(points[:, :2]).simplices
    corners = points[faces][..., :2]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(axis=1)
    return Surface(points[:, :2], faces[longest < 4 * np.median(longest)], relief=0.0)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Two triangles for every square of a grid of points."""
    y, x = np.mgrid[: rows - 1, : columns - 1].reshape(2, -1)
    corner = (y * columns + x)[:, None]
    return np.concatenate([corner + np.array([0, 1, columns]), corner + np.array([1, columns + 1, columns])])


def _paths_scene(sample: Sample, truth_TXC: np.ndarray, guess_TXC: np.ndarray | None) -> Scene:
    """Paths of particles, true and forecast."""
    panels = [Panel("truth", (_paths(truth_TXC, "true path", "#1f3a5f"),))]
    if guess_TXC is not None:
        both = (_paths(truth_TXC, "true path", "#1f3a5f"), _paths(guess_TXC, "forecast path", "#d98e04"))
        panels.append(Panel("forecast", both))
    return Scene("Particles", tuple(panels), unit="length", columns=2)


def _paths(u_TXC: np.ndarray, name: str, colour: str) -> Lines:
    half = u_TXC.shape[-1] // 2
    position = np.pad(u_TXC[..., :half], ((0, 0), (0, 0), (0, 3 - half)))
    return Lines(tuple(position.transpose(1, 0, 2)[:200].astype(float)), name, colour)


# Figures -------------------------------------------------------------------------------------------------------------


def preview(sample: Sample, params: PdeParams) -> Figure:
    """The state and the frames after it, in the same colours."""
    state, ahead = np.asarray(sample[key(sample, "input_")]), np.asarray(sample[key(sample, "target_")])
    if state.ndim == 2 and "edge_E2" not in sample:
        return _preview_line(sample, state, ahead)
    shown = [0, len(ahead) - 1] if len(ahead) > 1 else [0]
    pictures = [("given", state), *((f"frame {frame + 1}", ahead[frame]) for frame in shown)]
    figure, axes = plt.subplots(1, len(pictures), figsize=(3.2 * len(pictures), 3.0), squeeze=False)
    for axis, (title, values) in zip(axes[0], pictures, strict=True):
        drawn = _draw_field(axis, sample, values)
        axis.set(title=title, xlabel="x")
        figure.colorbar(drawn, ax=axis, shrink=0.8, label="first field (dimensionless)")
    axes[0, 0].set_ylabel("y")
    return figure


def _preview_line(sample: Sample, state_XC: np.ndarray, ahead_TXC: np.ndarray) -> Figure:
    """Curves of a one-dimensional sample."""
    x, dt = np.asarray(sample["position_XD"])[:, 0], float(sample["dt"])
    figure, axis = plt.subplots(figsize=(5.4, 3.0))
    axis.plot(x, state_XC[:, 0], color="#6b7280", label="state")
    shown = np.unique(np.linspace(0, len(ahead_TXC) - 1, FRAMES).round().astype(int))
    for shade, frame in zip(np.linspace(0.35, 0.95, len(shown)), shown, strict=True):
        colour = plt.get_cmap("Oranges")(shade)
        axis.plot(x, ahead_TXC[frame, :, 0], color=colour, label=f"+{(frame + 1) * dt:.3g}")
    name = equations.NAMES[int(sample["equation"])]
    told = equations.symbols(name, np.asarray(sample["coefficient_K"]))
    axis.set(xlabel="x (length)", ylabel="u (dimensionless)", title=equations.group(name, told))
    axis.legend(title="time after", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_field(axis: plt.Axes, sample: Sample, values: np.ndarray) -> Any:
    """First field of a frame on a grid, a mesh or as points."""
    position = np.asarray(sample[key(sample, "position_")])
    if "edge_E2" not in sample:
        plane = values.reshape(*values.shape[:2], -1)[..., 0]
        extent = (position[..., 1].min(), position[..., 1].max(), position[..., 0].min(), position[..., 0].max())
        axis.grid(False)
        return axis.imshow(plane, origin="lower", extent=extent, cmap="RdBu_r")
    flat = position if position.shape[1] > 1 else np.column_stack([position, np.zeros(len(position))])
    axis.set_aspect("equal")
    return axis.scatter(flat[:, 0], flat[:, 1], c=values[:, 0], s=max(2, 4000 / len(flat)), cmap="RdBu_r")


def forecast_figure(rows: Mapping[str, tuple[Sample, Prediction]], params: PdeParams) -> Figure:
    """One-dimensional forecasts, one to a row: truth, forecast and error over space and time, last spectrum, drift."""
    size = (14.5, 2.7 * len(rows) + 0.3)
    figure, axes = plt.subplots(len(rows), 5, figsize=size, width_ratios=[1, 1, 1, 1.1, 1.1], squeeze=False)
    for own, (title, (sample, prediction)) in zip(axes, rows.items(), strict=True):
        truth = np.asarray(sample[key(sample, "target_")], dtype=np.float64)[..., 0]
        guess = prediction[key(prediction, "u_B")][0, ..., 0].double().cpu().numpy()
        times = (np.arange(len(truth)) + 1) * float(sample["dt"])
        _draw_space_time(own[:3], {"truth": truth, "forecast": guess, "error": guess - truth}, sample, times)
        own[0].set_title(f"{title}: truth")
        _draw_spectra_and_drift(own[3:], truth, guess, float(np.asarray(sample["input_XC"])[:, 0].mean()), times)
    return figure


def _draw_space_time(
    axes: Sequence[plt.Axes], pictures: Mapping[str, np.ndarray], sample: Sample, times: np.ndarray
) -> None:
    """Pictures over space and time; truth and forecast in one scale, the error in its own."""
    x, truth = np.asarray(sample["position_XD"])[:, 0], pictures["truth"]
    for axis, (title, u_TX) in zip(axes, pictures.items(), strict=True):
        most = max(np.abs(u_TX).max(), FLOOR)
        low, high = (-most, most) if title == "error" else (truth.min(), truth.max())
        look = {"origin": "lower", "aspect": "auto", "cmap": "RdBu_r", "vmin": low, "vmax": high}
        drawn = axis.imshow(u_TX, extent=(x[0], x[-1], 0, times[-1]), **look)
        axis.grid(False)
        axis.set(title=title, xlabel="x (length)", ylabel="t (time)" if title == "truth" else "")
        axis.figure.colorbar(drawn, ax=axis, shrink=0.85)


def _draw_spectra_and_drift(
    axes: Sequence[plt.Axes], truth_TX: np.ndarray, guess_TX: np.ndarray, start: float, times: np.ndarray
) -> None:
    """Spectrum of the last frame and the mean over time, of truth and forecast."""
    for title, u_TX, colour in (("truth", truth_TX, "#1f3a5f"), ("forecast", guess_TX, "#d98e04")):
        amplitude = np.abs(np.fft.rfft(u_TX[-1]))[1:] / u_TX.shape[1]
        axes[0].loglog(np.arange(1, len(amplitude) + 1), np.maximum(amplitude, FLOOR), color=colour, label=title)
        axes[1].plot(times, u_TX.mean(axis=1) - start, color=colour, label=title)
    axes[0].set(title="spectrum of the last frame", xlabel="wave number", ylabel="amplitude")
    axes[1].set(title="drift of the mean", xlabel="t (time)", ylabel="mean of u, less the first")
    for axis in axes:
        axis.legend()


def overview(shards: Sequence[Path], splits: Mapping[str, Any]) -> Figure:
    """One trajectory of every group, and how many trajectories each split has of it."""
    tables = [Trajectories(path) for path in shards]
    groups = list(dict.fromkeys(table.group for table in tables))
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(8.4, 1.9 * len(groups) + 0.9), width_ratios=[1.4, 1], squeeze=False
    )
    for (left, right), group in zip(axes, groups, strict=True):
        own = [table for table in tables if table.group == group]
        _draw_trajectory(left, own[0])
        left.set_title(group)
        counts = {name: sum(t.count for t in own if t.shard.path.stem in splits[name]) for name in SPLIT_COLOURS}
        right.barh(list(counts), list(counts.values()), color=list(SPLIT_COLOURS.values()))
        right.set(xlabel="trajectories", title="in each split" if group == groups[0] else "")
        right.invert_yaxis()
        for place, count in enumerate(counts.values()):
            right.text(count, place, f" {count}", va="center", fontsize=8)
        right.margins(x=0.15)
    return figure


def _draw_trajectory(axis: plt.Axes, table: Trajectories) -> None:
    """The first trajectory of a shard: over space and time, or its last frame."""
    sample = table.sample(0, table.starts.start, table.frames - 1 - table.starts.start if not table.steady else 1)
    ahead = np.asarray(sample[key(sample, "target_")])
    if ahead.ndim == 3 and table.kind == "grid":
        x, time_T = np.asarray(sample["position_XD"])[:, 0], table.shard.array("time_T")
        extent = (time_T[0], time_T[-1], x[0], x[-1])
        axis.imshow(ahead[..., 0].T, origin="lower", aspect="auto", cmap="RdBu_r", extent=extent)
        axis.grid(False)
        axis.set(xlabel="t (time)", ylabel="x (length)")
    elif table.kind == "particles":
        half = ahead.shape[-1] // 2
        for path in ahead[..., :half].transpose(1, 0, 2)[:200]:
            axis.plot(path[:, 0], path[:, 1], linewidth=0.8)
        axis.set(xlabel="x (length)", ylabel="y (length)")
    else:
        _draw_field(axis, sample, ahead[-1])
        axis.set(xlabel="x (length)", ylabel="y (length)")


def gallery(shards: Sequence[Path], params: PdeParams) -> Scene:
    """A trajectory of every group as a surface, nine at most."""
    tables: dict[str, Trajectories] = {}
    for path in shards:
        table = Trajectories(path)
        tables.setdefault(table.group, table)
    panels = []
    for group, table in list(tables.items())[:9]:
        start = table.starts.start
        sample = table.sample(0, start, 1 if table.steady else table.frames - 1 - start)
        for scene in list(scenes(sample, None, params, named=False).values())[-1:]:
            panels.append(Panel(group, scene.panels[0].items))
    return Scene(
        "One trajectory of every group", tuple(panels), unit="widths", azimuth=-70.0, elevation=40.0, columns=3
    )
