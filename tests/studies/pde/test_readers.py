"""Every published layout is read; every way a file can be wrong is an error with its name, or a counted issue."""

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.pde.readers import particles, points, source
from stepladder.studies.pde.readers.fields import Take
from stepladder.study import StudyError

from . import layouts
from .layouts import FRAMES, POINTS

GRIDS = {
    "1D_Advection_Sols_beta0.4.hdf5": ("advection", {"beta": 0.4}, "periodic"),
    "1D_Burgers_Sols_Nu0.001.hdf5": ("burgers", {"eps": 0.001}, "periodic"),
    "ReacDiff_Nu0.5_Rho2.0.hdf5": ("reaction_diffusion", {"nu": 0.5, "rho": 2.0}, "periodic"),
}


# Layouts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRIDS)
def test_one_dimensional_files_keep_coefficient_and_coordinates(tmp_path, name):
    equation, coefficients, boundary = GRIDS[name]
    path = layouts.tensor(tmp_path / name)
    fields = source.read(path)
    assert (fields.equation, fields.coefficients, fields.boundary) == (equation, coefficients, boundary)
    assert fields.u.shape == (3, FRAMES, POINTS, 1) and fields.u.dtype == np.float32
    assert len(fields.times_T) == FRAMES, "the time coordinate of the file has one more"
    assert np.allclose(fields.axes[0], layouts.axis(POINTS))
    assert {issue.kind for issue in fields.issues} == {"coefficient taken from the file name"}
    assert source.length(path) == 3


def test_an_attribute_wins_and_must_agree_with_the_name(tmp_path):
    fields = source.read(layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.01.hdf5", Nu=0.01))
    assert fields.coefficients == {"eps": 0.01} and not fields.issues
    with pytest.raises(StudyError, match=r"attribute says eps=0.02, its name 0.01"):
        source.read(layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.01_x.hdf5", Nu=0.02))


@settings(max_examples=25)
@given(first=st.integers(0, 2), count=st.integers(1, 3), point=st.integers(1, 4), frame=st.integers(1, 4))
def test_a_part_of_a_file_is_the_part_of_the_whole(tmp_path_factory, first, count, point, frame):
    path = tmp_path_factory.getbasetemp() / "1D_Burgers_Sols_Nu1.0.hdf5"
    if not path.exists():
        layouts.tensor(path)
    whole, part = source.read(path), source.read(path, Take(first, count, point, frame))
    assert np.array_equal(part.u, whole.u[first : first + count, ::frame, ::point])
    assert np.array_equal(part.times_T, whole.times_T[::frame])
    assert np.array_equal(part.axes[0], whole.axes[0][::point])


def test_darcy_keeps_question_and_answer_apart(tmp_path):
    fields = source.read(layouts.darcy(tmp_path / "2D_DarcyFlow_beta10.0_Train.hdf5"), Take(every_point=2))
    assert fields.u.shape == (3, 1, 4, 4, 1) and fields.given.shape == (3, 4, 4, 1)
    assert fields.coefficients == {"beta": 10.0} and fields.boundary == "dirichlet"


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_compressible_flow_keeps_all_its_fields_in_order(tmp_path, dims):
    name = f"{dims}D_CFD_Rand_M0.1_Eta1e-08_Zeta0.01_trans_Train.hdf5"
    path = layouts.flow(tmp_path / name, dims)
    fields = source.read(path)
    assert fields.names == ("density", "pressure", "Vx", "Vy", "Vz")[: 2 + dims]
    assert fields.u.shape == (2, FRAMES, *(POINTS,) * dims, 2 + dims)
    assert fields.coefficients["eta"] == 1e-8 and fields.coefficients["zeta"] == 0.01
    assert fields.boundary == "outflow" and fields.coefficients.get("M", 0.1) == 0.1
    with h5py.File(path) as file:
        assert np.array_equal(fields.u[..., 2], file["Vx"][()])


@pytest.mark.parametrize(
    ("name", "dims", "count", "equation"),
    [
        ("1D_diff-sorp_NA_NA.h5", 1, 1, "diffusion_sorption"),
        ("2D_diff-react_NA_NA.h5", 2, 2, "reaction_diffusion_2d"),
        ("2D_rdb_NA_NA.h5", 2, 1, "shallow_water"),
    ],
)
def test_grouped_files_are_read_group_by_group(tmp_path, name, dims, count, equation):
    fields = source.read(layouts.groups(tmp_path / name, dims, count), Take(1, 2))
    assert fields.equation == equation and fields.u.shape == (2, FRAMES, *(POINTS,) * dims, count)
    with h5py.File(tmp_path / name) as file:
        assert np.array_equal(fields.u[0], file["0001/data"][()])


def test_incompressible_flow_keeps_velocity_dye_and_force(tmp_path):
    fields = source.read(layouts.incompressible(tmp_path / "ns_incom_inhom_2d_512-3.h5"))
    assert fields.names == ("Vx", "Vy", "dye") and fields.u.shape == (2, FRAMES, POINTS, POINTS, 3)
    assert fields.given.shape == (2, POINTS, POINTS, 2) and fields.boundary == "wall"
    assert [issue.kind for issue in fields.issues] == ["coefficient from the published configuration"]


def test_the_wells_files_give_every_field_that_varies(tmp_path):
    fields = source.read(layouts.well(tmp_path / "tiny.hdf5"), Take(1, 2, every_point=2))
    assert fields.names == ("density", "velocity_x", "velocity_y")
    assert fields.u.shape == (2, FRAMES, 4, 3, 3) and fields.boundary == "periodic"
    assert fields.facts["parameters"]["gamma"] == pytest.approx(1.4)
    assert source.read(layouts.well(tmp_path / "b.hdf5", "ODD")).boundary == "mixed"


def test_particles_come_with_box_radius_and_types(tmp_path):
    fields = source.read(layouts.lagrangian(tmp_path / "set"))
    assert fields.kind == "particles" and fields.u.shape == (2, FRAMES, 6, 2)
    assert np.allclose(np.diff(fields.times_T), 0.1) and fields.types_P.shape == (6,)
    assert fields.facts["default_connectivity_radius"] == 0.3


def test_torch_files_are_told_apart_by_their_keys(tmp_path):
    paths = layouts.torch_files(tmp_path)
    read = {name: source.read(path) for name, path in paths.items()}
    assert read["burgers"].coefficients["eps"] == pytest.approx(0.01 * np.pi)
    assert read["burgers"].u.shape == (4, 3, 8, 1)
    assert set(np.unique(read["darcy"].given)) == {0.0, 1.0} and read["darcy"].u.shape == (4, 1, 6, 6, 1)
    poisson = read["poisson"]
    assert poisson.points_PD.shape == (3, 5, 2) and poisson.coefficients["mu1"].shape == (3,)
    assert poisson.edges_E2.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]], "each edge once"
    assert read["car"].u.shape == (2, 1, 9, 1) and read["car"].edges_E2.shape[1] == 2


def test_comsol_tables_tell_fields_units_and_times(tmp_path):
    (tmp_path / "tiny.dat").write_text(layouts.COMSOL)
    fields = source.read(tmp_path / "tiny.dat")
    assert fields.names == ("u", "p") and fields.times_T.tolist() == [0, 0.5]
    assert fields.facts["units"] == {"u": "m/s", "p": "Pa"} and fields.facts["length_unit"] == "m"
    assert fields.u[0, :, 2].tolist() == [[9, 11], [10, 12]]


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), radius=st.floats(0.05, 0.5), periodic=st.booleans())
def test_neighbours_are_all_pairs_within_the_radius(seed, radius, periodic):
    position = np.random.default_rng(seed).uniform(0, 1, (12, 2))
    found = particles.neighbours(position, radius, np.ones(2) if periodic else None)
    gap = position[:, None] - position
    distance = np.linalg.norm(gap - np.round(gap) if periodic else gap, axis=-1)
    i, j = np.nonzero(np.triu(distance <= radius, 1))
    assert sorted(map(tuple, found.tolist())) == sorted(zip(i.tolist(), j.tolist(), strict=True))


# What can be wrong ---------------------------------------------------------------------------------------------------


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


def test_comsol_tables_that_do_not_fit_their_header_are_refused(tmp_path):
    path = tmp_path / "tiny.dat"
    path.write_text(layouts.COMSOL.replace("u (m/s) @ t=0.5", "u (m/s) @ t=0.25"))
    with pytest.raises(StudyError, match=r"4 columns are not 2 fields at 3 times"):
        source.read(path)
    path.write_text("1 2 3\n4 5\n")
    with pytest.raises(StudyError, match="lines of different lengths"):
        source.read(path)


# Real files ----------------------------------------------------------------------------------------------------------


def test_real_files_of_others_are_read(shared_data):
    folder = shared_data / "pde"
    shape = source.read(folder / "deepxde_Poisson_Lshape.npz")
    assert shape.u.shape == (1, 1, 19521, 1)
    assert [(i.kind, i.count) for i in shape.issues] == [("point without a value left out", 6400)]
    burgers = source.read(folder / "neuralop_burgers_train_16.pt", Take(0, 5))
    assert burgers.u.shape == (5, 17, 16, 1)
    assert source.read(folder / "neuralop_mini_car.pt").u.shape == (3, 1, 3586, 1)
    assert source.read(folder / "pina_holed_poisson.pt").edges_E2.shape == (3885, 2)
    assert source.read(folder / "pinns_KdV.mat").equation == "korteweg_de_vries"
    assert source.read(folder / "pinns_burgers_shock.mat").u.shape == (1, 100, 256, 1)
    cavity = source.read(folder / "pinnacle_lid_driven_a2.dat")
    assert cavity.names == ("u", "v", "p") and cavity.coefficients == {"Re": 100.0}
    assert source.read(folder / "pinnacle_heat_longtime.dat").u.shape == (1, 501, 192, 1)
    assert len(source.read(folder / "pinnacle_poisson_classic.dat").issues) == 1
    lennard_jones = source.read(folder / "lagrangebench_3D_LJ_3_1214every1" / "train.h5")
    assert lennard_jones.u.shape == (1, 1214, 3, 3) and lennard_jones.boundary == "periodic"


def test_edges_of_scattered_points_join_near_ones():
    line = np.arange(6.0)[:, None]
    edges = points.near_edges(line, 1)
    assert {tuple(edge) for edge in edges.tolist()} <= {(i, i + 1) for i in range(5)}


def test_a_torch_file_of_a_bare_tensor_is_named(tmp_path):
    path = tmp_path / "bare.pt"
    torch.save(torch.zeros(3, 2), path)
    with pytest.raises(StudyError, match=r"bare\.pt holds a Tensor .* no file of trajectories"):
        source.length(path)
