"""Files that are broken, foreign or contradict themselves: an error with their name, or a counted row."""

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from stepladder.core.types import StudyError
from stepladder.studies.pde.data.readers import source
from tests.studies.pde import layouts
from tests.studies.pde.layouts import FRAMES, POINTS

GRIDS = {
    "1D_Advection_Sols_beta0.4.hdf5": ("advection", {"beta": 0.4}, "periodic"),
    "1D_Burgers_Sols_Nu0.001.hdf5": ("burgers", {"eps": 0.001}, "periodic"),
    "ReacDiff_Nu0.5_Rho2.0.hdf5": ("reaction_diffusion", {"nu": 0.5, "rho": 2.0}, "periodic"),
}


def test_a_coefficient_that_nobody_tells_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"Burgers_lost.hdf5: coefficient 'eps' is neither an attribute nor"):
        source.read(layouts.tensor(tmp_path / "Burgers_lost.hdf5"))


def test_a_file_without_a_known_equation_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"mystery.hdf5: which equation\?"):
        source.read(layouts.tensor(tmp_path / "mystery.hdf5"))


@pytest.mark.parametrize("shape", [(3, POINTS, FRAMES), (FRAMES, 3, POINTS), (3, FRAMES + 3, POINTS)])
def test_wrong_axis_order_and_missing_frames_are_refused(tmp_path, shape):
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu1.0.hdf5", shape)
    with pytest.raises(StudyError, match=r"Nu1.0.hdf5: tensor has shape .* wrong axis order"):
        source.read(path)


def test_unknown_keys_are_named(tmp_path):
    with h5py.File(tmp_path / "odd.hdf5", "w") as file:
        file["solution"] = np.zeros(3)
    with pytest.raises(StudyError, match=r"odd.hdf5: no known layout; it holds solution"):
        source.read(tmp_path / "odd.hdf5")
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu1.0.hdf5")
    with h5py.File(path, "a") as file:
        del file["x-coordinate"]
    with pytest.raises(StudyError, match=r"no dataset 'x-coordinate', only t-coordinate, tensor"):
        source.read(path)
    flow = layouts.flow(tmp_path / "2D_CFD_Rand_M0.1_Eta0.1_Zeta0.1.hdf5", 2)
    with h5py.File(flow, "a") as file:
        del file["Vy"]
    with pytest.raises(StudyError, match=r"2-dimensional flow needs Vy"):
        source.read(flow)
    torch.save({"a": torch.zeros(2)}, tmp_path / "odd.pt")
    with pytest.raises(StudyError, match=r"odd.pt: no known layout; it holds a"):
        source.read(tmp_path / "odd.pt")
    with pytest.raises(StudyError, match=r"no reader for '.csv'"):
        source.read(tmp_path / "table.csv")


@pytest.mark.drill
@pytest.mark.parametrize("kind", ["tensor", "groups", "particles", "torch", "comsol", "npz", "mat"])
def test_half_a_file_is_an_error_that_names_it(tmp_path, kind):
    if kind == "tensor":
        path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu1.0.hdf5", (300, FRAMES, POINTS))
    elif kind == "groups":
        path = layouts.groups(tmp_path / "2D_rdb_NA_NA.h5", 2, 1)
    elif kind == "particles":
        path = layouts.lagrangian(tmp_path / "set")
    elif kind == "torch":
        path = layouts.torch_files(tmp_path)["burgers"]
    elif kind == "comsol":
        path = tmp_path / "tiny.dat"
        path.write_text(layouts.COMSOL)
    elif kind == "npz":
        path = tmp_path / "shape.npz"
        np.savez(path, X_test=np.zeros((9, 2)), y_ref=np.zeros((9, 1)))
    else:
        path = tmp_path / "burgers.mat"
        scipy.io.savemat(path, {"usol": np.zeros((8, 5)), "x": np.zeros(8), "t": np.zeros(5)}, do_compression=True)
    content = path.read_bytes()
    # a text file is cut between two lines, where only its header can tell
    path.write_bytes(content[: content.rfind(b"\n1  ")] if kind == "comsol" else content[: len(content) // 2])
    with pytest.raises(StudyError, match=path.name):
        source.read(path)


def test_trajectories_with_nan_are_left_out_and_counted(tmp_path):
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu1.0.hdf5", Nu=1.0)
    with h5py.File(path, "a") as file:
        file["tensor"][1, 2, 3] = np.nan
    fields = source.read(path)
    assert len(fields.u) == 2 and np.isfinite(fields.u).all()
    issue = next(issue for issue in fields.issues if "NaN" in issue.kind)
    assert issue.count == 1 and issue.example.endswith("trajectory 1")
    with h5py.File(path, "a") as file:
        file["tensor"][:, 0, 0] = np.inf
    with pytest.raises(StudyError, match="no trajectory is free of NaN"):
        source.read(path)


def test_particles_without_their_metadata_are_refused(tmp_path):
    path = layouts.lagrangian(tmp_path / "set", dim=3)
    with pytest.raises(StudyError, match=r"positions are 2-dimensional, metadata.json says 3"):
        source.read(path)
    (path.parent / "metadata.json").write_text("{}")
    with pytest.raises(StudyError, match=r"metadata.json lacks dim, dt, bounds"):
        source.read(path)
    (path.parent / "metadata.json").unlink()
    with pytest.raises(StudyError, match=r"train.h5: no metadata.json beside it"):
        source.read(path)


def test_particles_of_changing_types_are_refused(tmp_path):
    path = layouts.lagrangian(tmp_path / "set")
    with h5py.File(path, "a") as file:
        file["00001/particle_type"][2] = 3
    with pytest.raises(StudyError, match=r"train.h5: particle_type of 00001 is not that of 00000"):
        source.read(path)
    with h5py.File(path, "a") as file:
        del file["00000/particle_type"]
        file["00000/particle_type"] = np.zeros(4, np.int32)
    with pytest.raises(StudyError, match=r"particle_type of 00000 has shape \(4,\), but there are 6 particles"):
        source.read(path)


def test_comsol_tables_that_do_not_fit_their_header_are_refused(tmp_path):
    path = tmp_path / "tiny.dat"
    path.write_text(layouts.COMSOL.replace("u (m/s) @ t=0.5", "u (m/s) @ t=0.25"))
    with pytest.raises(StudyError, match=r"4 columns are not 2 fields at 3 times"):
        source.read(path)
    path.write_text("1 2 3\n4 5\n")
    with pytest.raises(StudyError, match="lines of different lengths"):
        source.read(path)
    path.write_text(layouts.COMSOL.replace("u (m/s) @ t=0.5", "u (m/s) @ t=0"))
    with pytest.raises(StudyError, match=r"column 'u \(m/s\) @ t=0' stands twice"):
        source.read(path)
    path.write_text(
        "% x                       u @ Re=100               v @ Re=200\n0 1 2\n1 2 3\n".replace(
            "% x", "% Dimension: 1\n% x"
        )
    )
    with pytest.raises(StudyError, match=r"Re is 100 and 200: split the file by Re"):
        source.read(path)
    path.write_text(layouts.COMSOL.replace("Dimension:          2", "Dimension:          6"))
    with pytest.raises(StudyError, match="6 columns cannot be 6 coordinates and a field"):
        source.read(path)


def half_metadata(folder):
    path = layouts.lagrangian(folder)
    (folder / "metadata.json").write_text((folder / "metadata.json").read_text()[:40])
    return path


def text(folder, content):
    (folder / "tiny.dat").write_text(content)
    return folder / "tiny.dat"


def pickled(folder, content):
    torch.save(content, folder / "odd.pt")
    return folder / "odd.pt"


def arrays(path, **content):
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        scipy.io.savemat(path, content)
    return path


def shorter(path, key):
    """One row less of a dataset."""
    with h5py.File(path, "a") as file:
        less = file[key][:-1]
        del file[key]
        file[key] = less
    return path


WRONG = {
    "half the metadata": (half_metadata, "metadata.json beside it cannot be read"),
    "a damaged number": (
        lambda folder: text(folder, layouts.COMSOL.replace("10 ", "1O ")),
        "is not what its ending says",
    ),
    "a text": (lambda folder: text(folder, "TITLE = flow\nVARIABLES = x\n"), "is not what its ending says"),
    "lists for tensors": (lambda folder: pickled(folder, {"x": [1], "y": [2]}), "is not what its ending says"),
    "a list of numbers": (lambda folder: pickled(folder, [1, 2]), "no known layout; it holds list"),
    "a number for tensors": (lambda folder: pickled(folder, {"x": 1, "y": 2}), "is not what its ending says"),
    "values of fewer points": (
        lambda folder: arrays(folder / "a.mat", x=np.zeros(4), y=np.zeros(4), w=np.zeros(3)),
        "4 points, but values of 3",
    ),
    "values of more points": (
        lambda folder: arrays(folder / "a.npz", X_test=np.zeros((4, 2)), y_ref=np.zeros((5, 1))),
        "4 points, but values of 5",
    ),
    "a table of one axis": (
        lambda folder: arrays(folder / "a.npz", X_test=np.zeros((4, 2)), y_ref=np.zeros(4)),
        "is not what its ending says",
    ),
    "a group of fewer frames": (
        lambda folder: shorter(layouts.groups(folder / "2D_rdb_NA_NA.h5", 2, 1), "0001/data"),
        "0001/data has shape",
    ),
    "less dye than velocity": (
        lambda folder: shorter(layouts.incompressible(folder / "ns.h5"), "particles"),
        "particles has shape",
    ),
    "less force than velocity": (
        lambda folder: shorter(layouts.incompressible(folder / "ns.h5"), "force"),
        "force has shape",
    ),
    "less pressure than density": (
        lambda folder: shorter(layouts.flow(folder / "1D_CFD_Rand_Eta0.1_Zeta0.1.hdf5", 1), "pressure"),
        "pressure has shape",
    ),
    "less coefficient than answer": (
        lambda folder: shorter(layouts.darcy(folder / "2D_DarcyFlow_beta1.0_Train.hdf5"), "nu"),
        "nu has shape",
    ),
    "a field of fewer frames": (
        lambda folder: shorter(layouts.well(folder / "tiny.hdf5"), "dimensions/time"),
        "t0_fields/density has shape",
    ),
}


@pytest.mark.drill
@pytest.mark.parametrize("kind", WRONG)
def test_content_that_nobody_foresaw_is_an_error_that_names_the_file(tmp_path, kind):
    make, said = WRONG[kind]
    path = make(tmp_path)
    with pytest.raises(StudyError, match=f"{path.name}.*{said}"):
        source.read(path)


def test_the_length_of_a_foreign_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(StudyError, match=r"odd.pt is not what its ending says \(TypeError"):
        source.length(pickled(tmp_path, {"x": 1}))
    with pytest.raises(StudyError, match=r"odd.pt is not what its ending says"):
        source.peek(pickled(tmp_path, {"x": [1], "y": [2]}))
    with pytest.raises(FileNotFoundError):
        source.read(tmp_path / "missing.hdf5")
