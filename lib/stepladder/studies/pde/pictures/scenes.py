"""What trajectories and forecasts look like in space: reliefs over space and time, grids, meshes, particles.

Decisions:
- One colour scale for truth and prediction of a sample, from blue (low) over white to red (high), and one of its own
  for the error, so that a small error looks small only beside its colour bar.
- A one-dimensional trajectory is a surface over (x, t); of more axes, a frame is a surface over its first two; heights
  are exaggerated to `RELIEF` of the width, and a colour bar has the values.
- A mesh is drawn on its triangles and seen from above, scattered points as small tiles.
- Particles are drawn in their box, where they start as small solids, then as paths. Short paths are drawn longer, and
  the title says how much.
- Pictures in the plane are in `figures.py`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import Delaunay

from stepladder.core.types import Picture, Prediction, Sample
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.dataset import Trajectories, key
from stepladder.studies.pde.params import PdeParams
from stepladder.studies.pde.pictures.figures import forecast_figure, longer, overview, preview
from stepladder.view.scene import Bar, Lines, Mesh, Panel, Scene
from stepladder.view.style import MODEL, MUTED, RIVAL, TRUTH

__all__ = ["forecast_figure", "gallery", "overview", "preview", "scenes"]

RELIEF = 0.25  # height of a surface as a share of its width
MOST_FRAMES, MOST_POINTS = 80, 160  # of a surface over space and time
MOST_PATHS = 200  # of particles
SOLID = 0.015  # half the height of a particle, as a share of its box
FIELD, SHARE = "first field (dimensionless)", "first field, from the lowest (0) to the highest value (1) of each panel"
HEIGHT = "Height and colour show the same value."
GALLERY = "A trajectory of every group: in one dimension space to the right and time to the back, else the last frame."
ABOVE = 89.0  # degrees of a camera that looks down


def scenes(sample: Sample, prediction: Prediction | None, params: PdeParams, own: bool = True) -> dict[str, Picture]:
    """Truth, forecast and error of one sample, early and at the end of its rollout.

    Values are told as they are. A truth alone may do without colours of its `own`: its values are then shares of their
    range, so that panels of different ranges can stand together.
    """
    truth = np.asarray(sample[key(sample, "target_")])
    guess = None if prediction is None else np.asarray(prediction[key(prediction, "u_B")][0].cpu())
    name = equations.NAMES[int(sample["equation"])]
    if name == "lagrangian":
        shown = "Where particles start, and their paths" + (": true and forecast." if guess is not None else ".")
        return {"paths": Picture(_paths_scene(sample, truth, guess), shown)}
    shown = "The first field" + (": truth, forecast and absolute error" if guess is not None else "")
    if truth.ndim == 3 and "edge_E2" not in sample:
        state = np.asarray(sample[key(sample, "input_")])[None]
        real = _thinned(np.concatenate([state, truth]))
        said = None if guess is None else _thinned(np.concatenate([state, guess]))
        title = f"{name}: x to the right, t to the back"
        scene = _fields_scene(_space_time(real), real, said, title, own)
        return {"rollout": Picture(scene, f"{shown}, over space and time.")}
    frames = {"first": 0, "last": len(truth) - 1} if len(truth) > 1 else {"answer": 0}
    surface = _mesh_surface(sample) if "edge_E2" in sample else _grid_surface(sample)
    titles = {"first": "first frame", "last": "last frame", "answer": "answer"}
    pictures = {}
    for which, frame in frames.items():
        said = None if guess is None else guess[frame]
        scene = _fields_scene(surface, truth[frame], said, f"{name}, {titles[which]}", own)
        pictures[which] = Picture(scene, f"{shown}, {titles[which]}.")
    return pictures


def _fields_scene(surface: "Surface", truth: np.ndarray, guess: np.ndarray | None, title: str, own: bool) -> Scene:
    """First field of truth, forecast and error on a surface."""
    values = truth[..., 0].ravel()
    low, high = float(values.min()), _above(values)
    bar = Bar(FIELD, low, high, "RdBu_r")
    if not own:
        values, bar = (values - low) / (high - low), Bar(SHARE, 0.0, 1.0, "RdBu_r")
    panels = [Panel("truth", (surface.mesh(values, bar),))]
    if guess is not None:
        error = np.abs(guess[..., 0].ravel() - values)
        wrong = Bar("absolute error (dimensionless)", 0.0, _above(np.append(error, 0.0)), "Oranges")
        panels.append(Panel("forecast", (surface.mesh(guess[..., 0].ravel(), bar),)))
        panels.append(Panel("absolute error", (surface.mesh(error, wrong),)))
    side = {"azimuth": -70.0, "elevation": 40.0} if surface.relief else {"azimuth": -90.0, "elevation": ABOVE}
    return Scene(title, tuple(panels), unit="", columns=3, note=HEIGHT if surface.relief else "", **side)


def _above(values: np.ndarray) -> float:
    """The highest value, or a little more where all are the same."""
    return max(float(values.max()), float(values.min()) + 1e-12)


class Surface:
    """Points of a plane and its triangles, lifted by values."""

    def __init__(self, plane_N2: np.ndarray, faces_M3: np.ndarray, relief: float = RELIEF):
        width = float(np.ptp(plane_N2, axis=0).max()) or 1.0
        self.plane_N2, self.faces_M3, self.relief = plane_N2 / width, faces_M3, relief

    def mesh(self, values_N: np.ndarray, bar: Bar) -> Mesh:
        """The surface coloured by values; heights where it has a relief."""
        values_N = np.tile(values_N, len(self.plane_N2) // len(values_N))  # a line of points is drawn as a band
        height = self.relief * np.clip((values_N - bar.low) / (bar.high - bar.low), -0.5, 1.5)
        points = np.column_stack([self.plane_N2, height])
        return Mesh(points, self.faces_M3, bar.shades(values_N[self.faces_M3].mean(axis=1)), {}, bar=bar)


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
    """Particles where they start, in their box, and their paths, true and forecast."""
    state_XC = np.asarray(sample["input_XC"])
    start_XD = state_XC[:MOST_PATHS, : state_XC.shape[-1] // 2]
    times = longer(start_XD, truth_TXC)
    solid = _solids(_space(start_XD), _space(np.asarray(sample["box_2D"])))
    true = _paths(start_XD, truth_TXC, times, "true path", TRUTH)
    panels = [Panel("truth", (*_box(sample), solid, true))]
    if guess_TXC is not None:
        guess = _paths(start_XD, guess_TXC, times, "forecast path", MODEL)
        panels.append(Panel("truth and forecast", (*_box(sample), solid, true, guess)))
    drawn = f", drawn {times:.0f} times as long" if times > 1 else ""
    return Scene(
        f"Particles: {len(truth_TXC)} frame{'s' * (len(truth_TXC) > 1)}{drawn}", tuple(panels), unit="length", columns=2
    )


def _space(points: np.ndarray) -> np.ndarray:
    """Points of one, two or three axes in space."""
    return np.pad(points, [(0, 0)] * (points.ndim - 1) + [(0, 3 - points.shape[-1])]).astype(float)


def _paths(start_XD: np.ndarray, u_TXC: np.ndarray, times: float, name: str, colour: str) -> Lines:
    """Paths from the start on, `times` as long as they are."""
    moved_TXD = u_TXC[:, : len(start_XD), : start_XD.shape[-1]] - start_XD
    path_TXD = start_XD + times * np.concatenate([np.zeros_like(moved_TXD[:1]), moved_TXD])
    return Lines(tuple(_space(path_TXD).transpose(1, 0, 2)), name, colour, 3.0)


def _box(sample: Sample) -> tuple[Lines, ...]:
    """The edges of the box."""
    low, high = np.asarray(sample["box_2D"], dtype=float)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, len(low))
    pairs = [(a, b) for a in range(len(corners)) for b in range(a) if (corners[a] != corners[b]).sum() == 1]
    return (Lines(tuple(_space(corners[list(pair)]) for pair in pairs), "box", RIVAL, 1.0),)


def _solids(points_N3: np.ndarray, box_23: np.ndarray) -> Mesh:
    """An octahedron at every point."""
    tips_63 = SOLID * np.ptp(box_23, axis=0).max() * np.concatenate([np.eye(3), -np.eye(3)])
    faces = [(x, y, z) for x in (0, 3) for y in (1, 4) for z in (2, 5)]
    every = 6 * np.arange(len(points_N3))[:, None, None] + np.array(faces)
    points = (points_N3[:, None] + tips_63).reshape(-1, 3)
    return Mesh(points, every.reshape(-1, 3), np.zeros(8 * len(points_N3), np.uint8), {0: ("particle", MUTED)})


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
        last = list(scenes(sample, None, params, own=False).values())[-1]
        panels.append(Panel(group, last.drawing.panels[0].items))
    kinds = {table.kind for table in tables.values()}
    unit, note = ("length", "") if kinds == {"particles"} else ("", HEIGHT if "grid" in kinds else "")
    side = {"azimuth": -70.0, "elevation": 40.0}
    return Scene("One trajectory of every group", tuple(panels), unit, **side, columns=3, note=note)
