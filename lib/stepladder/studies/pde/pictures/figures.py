"""What trajectories and forecasts look like in the plane: previews, overviews, forecasts with spectra and drift.

Decisions:
- The colours are those of `scenes`; a mesh is drawn on its triangles, particles as dots with their paths in their box.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stepladder.core.types import Prediction, Sample
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.dataset import Trajectories, key
from stepladder.studies.pde.params import PdeParams
from stepladder.view.style import MODEL, MUTED, RIVAL, SPLIT_COLOURS, TRUTH

FLOOR = 1e-12  # of an amplitude on a logarithmic axis, and of a path
FRAMES = 4  # shown of a trajectory in a preview, at most
MOST_PATHS = 200  # of particles
VISIBLE = 0.25  # length of the longest path, as a share of what the particles span


def preview(sample: Sample, params: PdeParams) -> Figure:
    """The state and the frames after it, in the same colours; what is given in a steady problem in its own."""
    state, ahead = np.asarray(sample[key(sample, "input_")]), np.asarray(sample[key(sample, "target_")])
    if state.ndim == 2 and "edge_E2" not in sample:
        return _preview_line(sample, state, ahead)
    if "box_2D" in sample:
        return _preview_particles(sample, state, ahead)
    position = np.asarray(sample[key(sample, "position_")])
    told = [] if np.array_equal(state, position) else [("given" if len(ahead) == 1 else "state", state)]
    later = [("answer", ahead[0])] if len(ahead) == 1 else [("frame 1", ahead[0]), (f"frame {len(ahead)}", ahead[-1])]
    pictures = told + later  # a mesh that is given by its points alone needs no picture of their coordinates
    figure, axes = plt.subplots(1, len(pictures), figsize=(3.2 * len(pictures), 3.0), squeeze=False)
    shown = [values[..., 0] for title, values in pictures if title != "given"]
    scale = {"vmin": min(map(np.min, shown)), "vmax": max(map(np.max, shown))}
    for axis, (title, values) in zip(axes[0], pictures, strict=True):
        drawn = _draw_field(axis, sample, values, **({} if title == "given" else scale))
        axis.set(title=title, xlabel="x (length)")
        figure.colorbar(drawn, ax=axis, shrink=0.8, label="first field (dimensionless)")
    axes[0, 0].set_ylabel("y (length)")
    return figure


def _preview_particles(sample: Sample, state_XC: np.ndarray, ahead_TXC: np.ndarray) -> Figure:
    """Particles and where they go, seen along every axis but the first."""
    axes_of_space = state_XC.shape[-1] // 2
    sides = [(0, 1)] if axes_of_space == 2 else [(0, 1), (0, 2)]
    figure, axes = plt.subplots(1, len(sides), figsize=(3.8 * len(sides), 3.4), squeeze=False)
    for axis, (across, up) in zip(axes[0], sides, strict=True):
        times = _draw_paths(axis, sample, state_XC[:, :axes_of_space], ahead_TXC, (across, up))
        axis.set(xlabel=f"{'xyz'[across]} (length)", ylabel=f"{'xyz'[up]} (length)")
    drawn = f", drawn {times:.0f} times as long" if times > 1 else ""
    axes[0, 0].set_title(f"{len(ahead_TXC)} frame{'s' * (len(ahead_TXC) > 1)}{drawn}")
    return figure


def _draw_paths(
    axis: Axes, sample: Sample, start_XD: np.ndarray, ahead_TXC: np.ndarray, sides: tuple[int, int]
) -> float:
    """Particles as dots, their paths from there, the box around them; how much longer the paths are drawn."""
    times, pair = longer(start_XD, ahead_TXC), list(sides)
    moved_TXD = ahead_TXC[..., : start_XD.shape[-1]] - start_XD
    path_TX2 = (start_XD + times * np.concatenate([np.zeros_like(moved_TXD[:1]), moved_TXD]))[..., pair]
    for path_T2 in path_TX2.transpose(1, 0, 2)[:MOST_PATHS]:
        axis.plot(*path_T2.T, linewidth=1.2)
    axis.scatter(*start_XD[:MOST_PATHS, pair].T, s=max(4, 120 / len(start_XD)), color=MUTED, zorder=3)
    (left, bottom), (right, top) = np.asarray(sample["box_2D"])[:, pair]
    axis.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color=RIVAL, linewidth=1)
    axis.set_aspect("equal")
    return times


def longer(start_XD: np.ndarray, ahead_TXC: np.ndarray) -> float:
    """How many times as long paths must be drawn for the longest to be a quarter of what the particles span."""
    moved_XD = ahead_TXC[-1, : len(start_XD), : start_XD.shape[-1]] - start_XD
    longest, span = np.linalg.norm(moved_XD, axis=-1).max(), np.ptp(start_XD, axis=0).max()
    return max(1.0, float(np.floor(VISIBLE * span / max(longest, FLOOR)))) if longest > FLOOR else 1.0


def _preview_line(sample: Sample, state_XC: np.ndarray, ahead_TXC: np.ndarray) -> Figure:
    """Curves of a one-dimensional sample."""
    x, dt = np.asarray(sample["position_XD"])[:, 0], float(sample["dt"])
    figure, axis = plt.subplots(figsize=(5.4, 3.0))
    axis.plot(x, state_XC[:, 0], color=MUTED, label="state")
    shown = np.unique(np.linspace(0, len(ahead_TXC) - 1, FRAMES).round().astype(int))
    for shade, frame in zip(np.linspace(0.35, 0.95, len(shown)), shown, strict=True):
        colour = plt.get_cmap("Blues")(shade)
        axis.plot(x, ahead_TXC[frame, :, 0], color=colour, label=f"+{(frame + 1) * dt:.3g}")
    name = equations.NAMES[int(sample["equation"])]
    told = equations.symbols(name, np.asarray(sample["coefficient_K"]))
    axis.set(xlabel="x (length)", ylabel="u (dimensionless)", title=equations.group(name, told))
    axis.legend(title="time after", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_field(axis: Any, sample: Sample, values: np.ndarray, **scale: Any) -> Any:
    """First field of a frame on a grid, a mesh or as points; `scale` is vmin and vmax, by default the frame's own."""
    position = np.asarray(sample[key(sample, "position_")])
    axis.set_aspect("equal")
    if "edge_E2" not in sample:
        plane = values.reshape(*values.shape[:2], -1)[..., 0]
        half = float(sample["dx"]) / 2  # a picture's corners are those of its cells, not their middles
        up, across = position.reshape(*position.shape[:2], -1, position.shape[-1])[:, :, 0, :2].transpose(2, 0, 1)
        extent = (across.min() - half, across.max() + half, up.min() - half, up.max() + half)
        axis.grid(False)
        return axis.imshow(plane, origin="lower", extent=extent, cmap="RdBu_r", **scale)
    if "cell_M3" in sample:
        axis.grid(False)
        cells = np.asarray(sample["cell_M3"])
        return axis.tripcolor(*position[:, :2].T, cells, values[:, 0], shading="gouraud", cmap="RdBu_r", **scale)
    flat = position if position.shape[1] > 1 else np.column_stack([position, np.zeros(len(position))])
    return axis.scatter(flat[:, 0], flat[:, 1], c=values[:, 0], s=max(2, 4000 / len(flat)), cmap="RdBu_r", **scale)


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
    axes: Sequence[Axes], pictures: Mapping[str, np.ndarray], sample: Sample, times: np.ndarray
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
        axis.figure.colorbar(drawn, ax=axis, shrink=0.85, label="error of u" if title == "error" else "u")


def _draw_spectra_and_drift(
    axes: Sequence[Axes], truth_TX: np.ndarray, guess_TX: np.ndarray, start: float, times: np.ndarray
) -> None:
    """Spectrum of the last frame and the mean over time, of truth and forecast."""
    for title, u_TX, colour in (("truth", truth_TX, TRUTH), ("forecast", guess_TX, MODEL)):
        amplitude = np.abs(np.fft.rfft(u_TX[-1]))[1:] / u_TX.shape[1]
        axes[0].loglog(np.arange(1, len(amplitude) + 1), np.maximum(amplitude, FLOOR), color=colour, label=title)
        axes[1].plot(times, u_TX.mean(axis=1) - start, color=colour, label=title)
    axes[0].set(title="spectrum of the last frame", xlabel="wave number", ylabel="amplitude")
    axes[1].set(title="drift of the mean", xlabel="t (time)", ylabel="mean of u, less the first")
    axes[0].legend()  # of both


def overview(shards: Sequence[Path], splits: Mapping[str, Any]) -> Figure:
    """One trajectory of every group, and how many trajectories each split has of it."""
    tables = [Trajectories(path) for path in shards]
    groups = list(dict.fromkeys(table.group for table in tables))
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(8.4, 1.9 * len(groups) + 0.9), width_ratios=[1.4, 1], squeeze=False
    )
    for (left, right), group in zip(axes, groups, strict=True):
        own = [table for table in tables if table.group == group]
        if drawn := _draw_trajectory(left, own[0]):
            figure.colorbar(drawn, ax=left, label="first field")
        left.set_title(group)
        counts = {name: sum(t.count for t in own if t.shard.path.stem in splits[name]) for name in SPLIT_COLOURS}
        right.barh(list(counts), list(counts.values()), color=list(SPLIT_COLOURS.values()))
        right.set(xlabel="trajectories", title="in each split" if group == groups[0] else "")
        right.invert_yaxis()
        for place, count in enumerate(counts.values()):
            right.text(count, place, f" {count}", va="center", fontsize=8)
        right.margins(x=0.15)
    return figure


def _draw_trajectory(axis: Axes, table: Trajectories) -> Any:
    """The first trajectory of a shard: over space and time, or its last frame; what has colours, None of particles."""
    sample = table.sample(0, table.starts.start, table.frames - 1 - table.starts.start if not table.steady else 1)
    ahead = np.asarray(sample[key(sample, "target_")])
    if ahead.ndim == 3 and table.kind == "grid":
        x, time_T = np.asarray(sample["position_XD"])[:, 0], table.shard.array("time_T")
        extent = (time_T[0], time_T[-1], x[0], x[-1])
        drawn = axis.imshow(ahead[..., 0].T, origin="lower", aspect="auto", cmap="RdBu_r", extent=extent)
        axis.grid(False)
        axis.set(xlabel="t (time)", ylabel="x (length)")
        return drawn
    axis.set(xlabel="x (length)", ylabel="y (length)")
    if table.kind == "particles":
        state_XC = np.asarray(sample["input_XC"])
        _draw_paths(axis, sample, state_XC[:, : state_XC.shape[-1] // 2], ahead, (0, 1))
        return None
    return _draw_field(axis, sample, ahead[-1])
