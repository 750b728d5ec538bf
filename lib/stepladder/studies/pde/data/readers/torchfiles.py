"""Files of `torch.save`: neuraloperator's Darcy, Burgers and car, PINA's holed Poisson mesh.

They are told apart by their keys. Only plain tensors are read (`weights_only`): such a file runs no code.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepladder.core.types import StudyError
from stepladder.studies.pde.data.readers.fields import Fields, Take
from stepladder.studies.pde.data.readers.points import near_edges

CAR_NEIGHBOURS = 6


def load(path: Path) -> Any:
    """The file's content; `StudyError` where it cannot be read or holds no tensors."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(f"{path.name} cannot be read ({reason}); fetch it again") from None


def length(content: Any, name: str) -> int:
    """Number of trajectories; `StudyError` where the file is of no known layout."""
    if isinstance(content, list):
        return len(content)
    found = [key for key in ("mu", "x") if isinstance(content, dict) and key in content]
    if not found:
        raise StudyError(f"{name} holds a {type(content).__name__} without `mu` or `x`: it is no file of trajectories")
    return len(content[found[0]])


def read(content: Any, take: Take, name: str) -> Fields:
    """The part `take` of a loaded file.

    Raises:
        StudyError: the keys fit no known file, or shapes do not fit each other.
    """
    if isinstance(content, list) and content and isinstance(content[0], dict) and "press" in content[0]:
        return _car(content[take.rows], name)
    if isinstance(content, dict) and {"x", "y", "mu", "edge_index", "triang"} <= set(content):
        return _holed_poisson(content, take, name)
    if isinstance(content, dict) and {"x", "y", "visc"} <= set(content):
        return _burgers(content, take, name)
    if isinstance(content, dict) and {"x", "y"} <= set(content):
        return _darcy(content, take, name)
    keys = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise StudyError(f"{name}: no known layout; it holds {keys}")


def _burgers(content: dict, take: Take, name: str) -> Fields:
    """neuraloperator: `x` (N, X) initial state, `y` (N, T, X) whose first frame it is, `visc` the viscosity.

    The file holds no coordinates. The solver it was made with takes x in (0, 1) and t in (0, 1).
    """
    x_NX, y_NTX = content["x"].numpy(), content["y"].numpy()
    if x_NX.shape[0] != y_NTX.shape[0] or x_NX.shape[-1] != y_NTX.shape[-1]:
        raise StudyError(f"{name}: x has shape {x_NX.shape}, y {y_NTX.shape}: wrong axis order")
    frames, points = y_NTX.shape[1:]
    u = y_NTX[take.rows, take.frames, take.points].astype(np.float32)[..., None]
    axis, times = (np.arange(points) / points)[take.points], np.linspace(0, 1, frames)[take.frames]
    eps = float(content["visc"].ravel()[0]) * np.pi
    return Fields("grid", "burgers", ("u",), u, times, (axis,), coefficients={"eps": eps}, facts={"assumed": "x, t"})


def _darcy(content: dict, take: Take, name: str) -> Fields:
    """neuraloperator: `x` (N, Y, X) which of two coefficients a cell has, `y` the answer.

    The file tells neither the two values nor the scale of the answer (no pair of values tried gives more than its
    shape), so the given field is the indicator and the equation one without coefficients.
    """
    x, y = content["x"].numpy(), content["y"].numpy()
    if x.shape != y.shape or x.ndim != 3:
        raise StudyError(f"{name}: x has shape {x.shape}, y {y.shape}: both must be (N, Y, X)")
    place = take.rows, take.points, take.points
    u, given = y[place].astype(np.float32)[:, None, ..., None], x[place].astype(np.float32)[..., None]
    axes = tuple((np.arange(n) / n)[take.points] for n in x.shape[1:])
    return Fields("grid", "darcy_indicator", ("u",), u, np.zeros(1), axes, boundary="dirichlet", given=given)


def _holed_poisson(content: dict, take: Take, name: str) -> Fields:
    """PINA: nodes `x`, `y` (P, N), solution `u` (P, N), parameters `mu` (N, 2), edges, triangles.

    All samples share edges and triangles; the nodes move with the parameters, so where they are is the given field.
    """
    x_PN, y_PN, u_PN = (content[key].numpy() for key in ("x", "y", "u"))
    mu_N2 = content["mu"].numpy()[take.rows]
    if u_PN.shape != x_PN.shape or u_PN.shape[1] != len(content["mu"]):
        raise StudyError(f"{name}: u has shape {u_PN.shape}, nodes {x_PN.shape}, mu {tuple(content['mu'].shape)}")
    points_NPD = np.stack([x_PN.T, y_PN.T], axis=-1)[take.rows].astype(np.float32)
    return Fields(
        "mesh",
        "poisson",
        ("u",),
        u_PN.T[take.rows, None, :, None].astype(np.float32),
        np.zeros(1),
        points_PD=points_NPD,
        coefficients={"mu1": mu_N2[:, 0], "mu2": mu_N2[:, 1]},
        boundary="dirichlet",
        given=points_NPD,
        cells_M3=content["triang"].numpy().astype(np.int32),
        edges_E2=np.unique(np.sort(content["edge_index"].numpy().T, axis=1), axis=0).astype(np.int32),
    )


def _car(cars: list[dict], name: str) -> Fields:
    """neuraloperator: surfaces of cars, `vertices` (P, 3), normals, pressure `press` (1, P); distance fields are left.

    The file holds no faces, so edges join each vertex to its nearest ones (of the first car: all have the same
    topology). The normals are the given field.
    """
    shapes = {tuple(car["vertices"].shape) for car in cars}
    if len(shapes) > 1:
        raise StudyError(f"{name}: cars of different sizes {sorted(shapes)}: convert them one by one")
    vertices_NPD = np.stack([car["vertices"].numpy() for car in cars])
    normals_NPD = np.stack([car["vertex_normals"].numpy() for car in cars])
    u = np.stack([car["press"].numpy() for car in cars])[..., None].astype(np.float32)
    edges_E2 = near_edges(vertices_NPD[0], CAR_NEIGHBOURS)
    return Fields(
        "mesh",
        "car_pressure",
        ("pressure",),
        u,
        np.zeros(1),
        points_PD=vertices_NPD,
        coefficients={},
        boundary="wall",
        given=normals_NPD,
        edges_E2=edges_E2,
        facts={"units": "pressure as published, normalised", "inlet speed": "not told by the file"},
    )
