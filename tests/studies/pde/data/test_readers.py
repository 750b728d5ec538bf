"""Every published layout is read; every way a file can be wrong is an error with its name, or a counted issue."""

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.pde.data.readers import particles, points, source
from stepladder.studies.pde.data.readers.fields import Take
from tests.studies.pde import layouts
from tests.studies.pde.layouts import FRAMES, POINTS

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
    with h5py.File(tmp_path / "ns_incom_inhom_2d_512-3.h5", "a") as file:
        file.attrs["config"] = "NU: 0.02\nn_batch: 2\n"
    told = source.read(tmp_path / "ns_incom_inhom_2d_512-3.h5")
    assert told.coefficients == {"nu": 0.02} and not told.issues


@pytest.mark.parametrize("number", ["1.e-8", "1e-08", "1.E-8", "1", "1.", "1.0", "0.001", "12.5"])
def test_every_spelling_of_a_number_in_a_name_is_read(tmp_path, number):
    path = layouts.flow(tmp_path / f"1D_CFD_Rand_Eta{number}_Zeta{number}_periodic_Train.hdf5", 1, eta=float(number))
    assert source.read(path).coefficients == {"eta": float(number), "zeta": float(number)}
    last = layouts.tensor(tmp_path / f"1D_Burgers_Sols_Nu{number}.hdf5")
    assert source.read(last).coefficients == {"eps": float(number)}


def test_grouped_files_tell_their_coefficients_in_their_configuration(tmp_path):
    path = layouts.groups(tmp_path / "2D_diff-react_NA_NA.h5", 2, 2, "sim: {Du: 0.5, Dv: 7E-1, k: 0.1}\nname: k\n")
    fields = source.read(path)
    assert fields.coefficients == {"Du": 0.5, "Dv": 0.7, "k": 0.1} and not fields.issues
    with h5py.File(path, "a") as file:
        file.attrs["k"] = 0.2
    assert source.read(path).coefficients["k"] == 0.2, "an attribute of its own wins"
    with h5py.File(path, "a") as file:
        file["0000"].attrs["config"] = "sim: {Du: 0.6, Dv: 0.7}"
    with pytest.raises(StudyError, match=r"0001 has the coefficients .*0.5.* not .*0.6.*: split the file"):
        source.read(path, Take(1, 1))
    with h5py.File(path, "a") as file:
        file["0000"].attrs["config"] = "sim: {Du"
    with pytest.raises(StudyError, match=r"NA_NA.h5: 0000: the attribute config is no YAML"):
        source.read(path)


def test_published_coefficients_are_counted(tmp_path):
    fields = source.read(layouts.groups(tmp_path / "2D_diff-react_NA_NA.h5", 2, 2, "sim: {Du: 0.001}"))
    assert fields.coefficients == {"Du": 1e-3, "Dv": 5e-3, "k": 5e-3}
    assert {issue.kind for issue in fields.issues} == {"coefficient from the published configuration"}
    assert [issue.example for issue in fields.issues] == [f"2D_diff-react_NA_NA.h5: {s}=0.005" for s in ("Dv", "k")]
    assert not source.read(layouts.groups(tmp_path / "2D_rdb_NA_NA.h5", 2, 1)).issues, "it has no coefficient"


def test_what_else_a_grouped_file_holds_is_no_trajectory(tmp_path):
    path = layouts.groups(tmp_path / "2D_rdb_NA_NA.h5", 2, 1)
    with h5py.File(path, "a") as file:
        file.create_group("0_notes"), file.create_group("notes")
        file["7"] = np.zeros(2)
    assert source.length(path) == 3 and source.read(path).u.shape[0] == 3


def test_the_wells_files_give_every_field_that_varies(tmp_path):
    fields = source.read(layouts.well(tmp_path / "tiny.hdf5"), Take(1, 2, every_point=2))
    assert fields.names == ("density", "velocity_x", "velocity_y")
    assert fields.u.shape == (2, FRAMES, 4, 3, 3) and fields.boundary == "periodic"
    assert fields.facts["parameters"]["gamma"] == pytest.approx(1.4)
    assert source.read(layouts.well(tmp_path / "b.hdf5", "ODD")).boundary == "mixed"


def test_the_wells_constant_fields_and_parameters_are_kept_and_told(tmp_path):
    path = layouts.well(tmp_path / "tiny.hdf5")
    with h5py.File(path, "a") as file:
        file.attrs["simulation_parameters"], file.attrs["beta"] = ["gamma", "beta", "lost"], 0.5
        file["scalars/Ra"], mask = np.arange(3.0), file["t0_fields/mask"][()]
    fields = source.read(path, Take(1, 2, every_point=2))
    assert fields.facts["given"] == ["mask"] and fields.given.shape == (2, 4, 3, 1)
    assert all(np.array_equal(given[..., 0], mask[::2, ::2]) for given in fields.given)
    (issue,) = fields.issues
    assert issue.kind == "parameter that the model is not told" and issue.count == 4
    assert issue.example == "tiny.hdf5: Ra = 3 values, beta = 0.5, gamma = 1.4, lost = 0 values"


@pytest.mark.parametrize("shape", [(FRAMES, POINTS), (FRAMES, POINTS, 1)], ids=["no axis", "one point"])
def test_the_wells_fields_may_vary_along_some_axes_only(tmp_path, shape):
    path = layouts.well(tmp_path / "tiny.hdf5")
    with h5py.File(path, "a") as file:
        inflow = file.create_dataset("t0_fields/inflow", data=layouts.values(*shape))
        inflow.attrs.update({"sample_varying": False, "time_varying": True, "dim_varying": [True, False]})
        wanted = np.broadcast_to(inflow[()].reshape(FRAMES, POINTS, 1), (2, FRAMES, POINTS, 6))
    fields = source.read(path, Take(1))
    assert np.array_equal(fields.u[..., fields.names.index("inflow")], wanted)
    assert source.read(path, Take(0, 2, 2, 2)).u.shape == (2, 3, 4, 3, 4)


def test_the_wells_contradictions_are_refused(tmp_path):
    path = layouts.well(tmp_path / "tiny.hdf5")
    times_NT = np.tile(0.1 * np.arange(FRAMES), (3, 1))
    with h5py.File(path, "a") as file:
        del file["dimensions/time"]
        file["dimensions/time"] = times_NT
    assert np.allclose(source.read(path).times_T, times_NT[0])
    with h5py.File(path, "a") as file:
        file["dimensions/time"][2] *= 1.01
    with pytest.raises(StudyError, match=r"tiny.hdf5: trajectory 2 has other times than trajectory 0"):
        source.read(path, Take(0, 1))
    with h5py.File(path, "a") as file:
        file["dimensions/time"][2], file.attrs["n_trajectories"] = times_NT[0], 9
    for ask in (source.length, source.read):
        with pytest.raises(StudyError, match=r"tiny.hdf5: n_trajectories is 9, but t0_fields/density holds 3"):
            ask(path)


def test_particles_come_with_box_radius_and_types(tmp_path):
    fields = source.read(layouts.lagrangian(tmp_path / "set"))
    assert fields.kind == "particles" and fields.u.shape == (2, FRAMES, 6, 2)
    assert np.allclose(np.diff(fields.times_T), 0.1) and fields.types_P.shape == (6,)
    assert fields.facts["default_connectivity_radius"] == 0.3
    sparse = source.read(layouts.lagrangian(tmp_path / "sparse", write_every=100), Take(every_frame=2))
    assert np.allclose(np.diff(sparse.times_T), 0.1 * 100 * 2), "dt is the solver's step"


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
    part = source.read(tmp_path / "tiny.dat", Take(every_point=2, every_frame=2))
    assert np.array_equal(part.u, fields.u[:, ::2]) and part.times_T.tolist() == [0], "a mesh keeps its points"


def test_matlab_grids_are_thinned_as_all_grids(tmp_path):
    path, u_XT = tmp_path / "burgers.mat", layouts.values(8, 5)
    scipy.io.savemat(path, {"usol": u_XT, "x": np.arange(8.0), "t": np.arange(5.0)})
    part = source.read(path, Take(every_point=4, every_frame=2))
    assert np.array_equal(part.u[0, ..., 0], u_XT.T[::2, ::4])
    assert part.axes[0].tolist() == [0, 4] and part.times_T.tolist() == [0, 2, 4]
    assert len(source.read(path, Take(1, 1)).u) == 0, "it holds one trajectory"


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), radius=st.floats(0.05, 0.5), periodic=st.booleans())
def test_neighbours_are_all_pairs_within_the_radius(seed, radius, periodic):
    position = np.random.default_rng(seed).uniform(0, 1, (12, 2))
    found = particles.neighbours(position, radius, np.ones(2) if periodic else None)
    gap = position[:, None] - position
    distance = np.linalg.norm(gap - np.round(gap) if periodic else gap, axis=-1)
    i, j = np.nonzero(np.triu(distance <= radius, 1))
    assert sorted(map(tuple, found.tolist())) == sorted(zip(i.tolist(), j.tolist(), strict=True))


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
