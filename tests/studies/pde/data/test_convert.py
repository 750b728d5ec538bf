"""From raw files to shards: nothing that decides the physics is lost, blocks never share a trajectory."""

import h5py
import numpy as np
import pytest
import torch

from stepladder.core.types import StudyError
from stepladder.data import convert as road
from stepladder.data import shards
from stepladder.studies.pde.data import conversion, equations, synthesis
from stepladder.studies.pde.data.readers.fields import Take
from stepladder.studies.pde.data.readers.source import read
from stepladder.studies.pde.data.solvers import tasks
from stepladder.studies.pde.params import PdeConversion, PdeData, PdeParams, Task
from stepladder.studies.pde.study import study
from tests.studies.pde import layouts
from tests.studies.pde.layouts import FRAMES, POINTS


def params(data=None, **changes):
    return PdeParams(study="pde", data=PdeData(**(data or {})), conversion=PdeConversion(**changes))


def shard_of(path, given, folder):
    """The only shard of a folder of raw files."""
    (asset,) = conversion.assets([path.parent], given)
    shards.write(folder / f"{asset.id}.h5", conversion.convert(asset, given), "recipe")
    return shards.Shard(folder / f"{asset.id}.h5")


def test_a_shard_holds_what_the_raw_file_held(tmp_path):
    (tmp_path / "raw").mkdir()
    raw = layouts.flow(tmp_path / "raw" / "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.1_periodic.hdf5", 2)
    shard = shard_of(raw, params(points=4, every_frame=2), tmp_path)
    with h5py.File(raw) as file:
        assert np.array_equal(shard.array("u_NTYXC")[..., 1], file["pressure"][:, ::2, ::2, ::2])
    assert shard.attributes["fields"] == ["density", "pressure", "Vx", "Vy"]
    assert shard.attributes["coefficients"] == {"M": 0.1, "eta": 0.01, "zeta": 0.1}
    assert shard.attributes["group"] == "compressible_2d eta=0.01 zeta=0.1 M=0.1"
    vector = dict(zip(equations.COEFFICIENTS, shard.array("coefficient_NK")[0].tolist(), strict=True))
    assert vector["mach"] == pytest.approx(0.1) and vector["viscosity"] == pytest.approx(0.01)
    assert shard.array("position_YXD").shape == (4, 4, 2)
    assert np.allclose(np.diff(shard.array("time_T")), 0.1)
    assert shard.attributes["boundary"] == "periodic" and shard.attributes["sources"][0]["name"] == raw.name


def test_blocks_divide_a_file_without_dividing_or_repeating_a_trajectory(tmp_path):
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5", (7, FRAMES, POINTS))
    whole = read(path).u
    blocks = conversion.assets([tmp_path], params(block=3))
    assert [asset.meta["trajectories"] for asset in blocks] == [3, 3, 1]
    assert {asset.group for asset in blocks} == {"burgers eps=0.1"} and len({asset.id for asset in blocks}) == 3
    parts = [conversion.convert(asset, params(block=3)).arrays["u_NTXC"] for asset in blocks]
    assert np.array_equal(np.concatenate(parts), whole)
    assert [a.meta["trajectories"] for a in conversion.assets([tmp_path], params(most=2))] == [2]


def test_groups_that_are_not_asked_for_are_left_out(tmp_path):
    for eps in ("0.1", "0.01"):
        layouts.tensor(tmp_path / f"1D_Burgers_Sols_Nu{eps}.hdf5")
    layouts.tensor(tmp_path / "1D_Advection_Sols_beta1.0.hdf5")
    found = conversion.assets([tmp_path], params({"groups": ["burgers eps=0.1", "advection"]}))
    assert [asset.group for asset in found] == ["advection beta=1", "burgers eps=0.1"]


def test_a_mesh_keeps_nodes_edges_triangles_and_each_samples_parameters(tmp_path):
    path = layouts.torch_files(tmp_path)["poisson"]
    for other in ("burgers", "darcy", "car"):
        (tmp_path / f"{other}.pt").unlink()
    shard = shard_of(path, params(), tmp_path / "shards")
    assert shard.attributes["kind"] == "mesh" and shard.attributes["steady"]
    assert shard.array("position_NXD").shape == (3, 5, 2) and shard.array("cell_M3").shape == (2, 3)
    assert shard.array("edge_E2").shape == (4, 2) and shard.array("u_NTXC").shape == (3, 1, 5, 1)
    place = equations.COEFFICIENTS.index("parameter_1")
    assert len(set(shard.array("coefficient_NK")[:, place].tolist())) == 3


def test_particles_keep_their_neighbours_across_the_boxs_border(tmp_path):
    path = layouts.lagrangian(tmp_path / "raw")
    with h5py.File(path, "a") as file:
        file["00000/position"][0, :2] = [[0.01, 0.5], [0.99, 0.5]]
        file["00000/position"][0, 2:] = [[0.5, 0.0], [0.5, 0.4], [0.2, 0.2], [0.8, 0.8]]
    shard = shard_of(path, params(), tmp_path)
    edges = shard.array("edge_NTE2")[0, 0]
    assert [0, 1] in edges.tolist(), "0.02 apart through the border"
    assert shard.attributes["group"] == "lagrangian" and shard.path.stem == "raw_train"


def test_a_grid_that_cannot_be_thinned_as_asked_is_refused(tmp_path):
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5")
    (asset,) = conversion.assets([tmp_path], params(points=3))
    with pytest.raises(StudyError, match=rf"{path.name}: 8 points cannot be thinned to conversion.points = 3"):
        conversion.convert(asset, params(points=3))
    with pytest.raises(
        StudyError, match=r"one frame is left of a time-dependent problem: lower conversion\.every_frame"
    ):
        conversion.convert(asset, params(every_frame=FRAMES))


@pytest.mark.drill
def test_broken_files_are_named_rows_and_harm_no_other(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    layouts.tensor(raw / "1D_Burgers_Sols_Nu0.1.hdf5")
    cut = layouts.tensor(raw / "1D_Burgers_Sols_Nu0.2.hdf5", (300, FRAMES, POINTS))
    cut.write_bytes(cut.read_bytes()[:9000])
    layouts.tensor(raw / "1D_Burgers_Sols_lost.hdf5")
    given = params()
    report = road.convert(conversion.assets([raw], given), given, tmp_path / "shards", road.Inline())
    states = dict(zip(report["asset"], report["state"], strict=True))
    assert states["1D_Burgers_Sols_Nu0.1"] == "converted" and list(states.values()).count("failed") == 2
    reasons = " ".join(report["reason"])
    assert "1D_Burgers_Sols_Nu0.2.hdf5 cannot be read" in reasons and "coefficient 'eps' is neither" in reasons
    again = road.convert(conversion.assets([raw], given), given, tmp_path / "shards", road.Inline())
    assert again["state"].tolist().count("kept") == 1


def test_a_nan_trajectory_is_an_issue_of_the_report(tmp_path):
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5", Nu=0.1)
    with h5py.File(path, "a") as file:
        file["tensor"][2, 0, 0] = np.nan
    given = params()
    report = road.convert(conversion.assets([tmp_path], given), given, tmp_path / "shards", road.Inline())
    table = road.issue_table(report)
    assert table["kind"].tolist() == ["trajectory with NaN left out"] and table["count"].tolist() == [1]


def test_our_files_and_published_ones_go_the_same_way(tmp_path):
    made = tasks.make(tmp_path, "burgers", tasks.Job({"eps": 0.1}, 2, 16, 0), 3)
    fields = read(made, Take(every_frame=10))
    assert fields.equation == "burgers" and fields.coefficients == {"eps": 0.1} and not fields.issues
    assert fields.u.shape == (2, 21, 16, 1) and np.allclose(np.diff(fields.times_T), 0.1)


# The study -----------------------------------------------------------------------------------------------------------


def test_coefficients_survive_the_common_vector():
    for name, equation in equations.EQUATIONS.items():
        told = {symbol: 0.5 + place for place, symbol in enumerate(equation.symbols)}
        assert equations.symbols(name, equations.vector(name, told)) == pytest.approx(told)


def test_a_profile_lists_the_tasks_that_are_made_for_it(tmp_path):
    wanted = {
        "tasks": [
            {"equation": "advection", "coefficients": {"beta": 0.4}, "files": 2, "trajectories": 2, "points": 16},
            {"equation": "darcy", "trajectories": 1, "points": 16},
        ]
    }
    given = params(wanted)
    (source,) = study.synthesize(tmp_path, 3, 0, given)
    files = ["1D_Advection_Sols_beta0.4_000.hdf5", "1D_Advection_Sols_beta0.4_001.hdf5"]
    assert source.members == (*files, "2D_DarcyFlow_beta1_Train_000.hdf5")
    found = conversion.assets([tmp_path], given)
    assert [asset.id for asset in found] == [
        "1D_Advection_Sols_beta0.4_000",
        "1D_Advection_Sols_beta0.4_001",
        "2D_DarcyFlow_beta1_Train_000",
    ]
    one, two = (conversion.convert(asset, given).arrays["u_NTXC"] for asset in found[:2])
    assert not np.array_equal(one, two), "trajectories are numbered through all files of a task"


def long_trajectory(folder, frames=24, repeats=0):
    """A LagrangeBench file of one long trajectory, whose first `repeats` frames stand twice."""
    path = layouts.lagrangian(folder, sequence_length_test=frames // 3)
    with h5py.File(path, "a") as file:
        del file["00001"], file["00000/position"]
        moves = layouts.RNG.normal(0.01, 0.002, (frames, 6, 2)).cumsum(axis=0)
        moves[1 : 2 * repeats : 2] = moves[0 : 2 * repeats : 2]
        file["00000/position"] = np.mod(layouts.RNG.uniform(0, 1, (6, 2)) + moves, 1.0).astype(np.float32)
    return path


def test_a_single_long_trajectory_is_cut_in_time(tmp_path):
    path = long_trajectory(tmp_path / "raw")
    found = conversion.assets([path.parent], params())
    assert [asset.id.rpartition("_")[2] for asset in found] == ["part000", "part001", "part002"]
    parts = [conversion.convert(asset, params()) for asset in found]
    assert np.array_equal(np.concatenate([part.arrays["u_NTXC"] for part in parts], axis=1), read(path).u[:1])
    assert all(len(part.arrays["time_T"]) == 8 and part.arrays["time_T"][0] == 0 for part in parts)
    thinned = conversion.assets([path.parent], params(every_frame=2))
    assert sum(asset.meta["frames"] for asset in thinned) == 12


def test_frames_that_repeat_their_predecessor_are_left_out_and_counted(tmp_path):
    path = long_trajectory(tmp_path / "raw", repeats=3)
    first, second, _ = (conversion.convert(asset, params()) for asset in conversion.assets([path.parent], params()))
    assert np.array_equal(first.arrays["u_NTXC"][0], read(path).u[0, 5:8])
    (issue,) = first.issues
    assert "repeats its predecessor" in issue.kind and issue.count == 5 and second.issues == ()


def test_a_mesh_knows_how_far_its_borders_are(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    layouts.torch_files(folder)
    given = params({"groups": ["poisson"]})
    (asset,) = conversion.assets([folder], given)
    arrays = conversion.convert(asset, given).arrays
    assert arrays["distance_NX2"].shape == (*arrays["position_NXD"].shape[:2], 2)
    assert (arrays["distance_NX2"][..., 0] == 0).all(), "two triangles have no inner point"


def test_a_file_without_known_layout_among_others_is_one_named_row(tmp_path):
    torch.save(torch.rand(3, 4), tmp_path / "bare.pt")
    layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5")
    assert [asset.group for asset in conversion.assets([tmp_path], params())] == ["burgers eps=0.1", "bare"]
    (bad,) = [asset for asset in conversion.assets([tmp_path], params()) if asset.group == "bare"]
    with pytest.raises(StudyError, match="no known layout"):
        conversion.convert(bad, params())


def test_files_that_begin_alike_are_of_one_kin(tmp_path):
    for beta in (0.1, 0.4):
        for number in range(2):
            job = tasks.Job({"beta": beta}, 4, 16, 0, 4 * number)
            tasks.make(tmp_path, "advection", job, number)
    split_group = {asset.id: asset.split_group for asset in conversion.assets([tmp_path], params(block=2))}
    slow = {name: value for name, value in split_group.items() if "beta0.1" in name}
    assert len(set(slow.values())) == 4, "two files of two blocks"
    assert {name.replace("beta0.1", "beta0.4"): value for name, value in slow.items()} == {
        name: value for name, value in split_group.items() if "beta0.4" in name
    }


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        layouts.tensor(tmp_path / folder / "1D_Burgers_Sols_Nu0.1.hdf5")
    with pytest.raises(StudyError, match=r"a/1D_Burgers_Sols_Nu0.1.hdf5 and .*b/1D.* would both become 1D_Burgers"):
        conversion.assets([tmp_path], params())


def test_groups_are_whole_words_and_a_wrong_one_is_named(tmp_path):
    for beta in (1, 10):
        layouts.darcy(tmp_path / f"2D_DarcyFlow_beta{beta}.0_Train.hdf5")
    (tmp_path / "half.hdf5").write_bytes(b"\x89HDF")
    found = conversion.assets([tmp_path], params({"groups": ["darcy beta=1"]}))
    assert [asset.group for asset in found] == ["darcy beta=1", "half"], (
        "what cannot be read is told, whatever is asked"
    )
    with pytest.raises(StudyError, match=r"data.groups names 'darcy Nu=1'; there are darcy beta=1, darcy beta=10"):
        conversion.assets([tmp_path], params({"groups": ["darcy Nu=1"]}))


def test_a_file_without_trajectories_is_a_named_row(tmp_path):
    layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5", (0, FRAMES, POINTS))
    (asset,) = conversion.assets([tmp_path], params())
    with pytest.raises(StudyError, match=r"1D_Burgers_Sols_Nu0\.1\.hdf5"):
        conversion.convert(asset, params())


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("x-coordinate", np.linspace(0, 1, POINTS) ** 2, "axis 0 of space is not evenly spaced"),
        ("x-coordinate", np.full(POINTS, np.nan), "axis 0 of space"),
        ("t-coordinate", [0, 0.01, 0.03, 0.07, 0.15, 0.3], "t is not evenly spaced"),
        ("t-coordinate", np.zeros(FRAMES + 1), "t is not evenly spaced"),
    ],
)
def test_uneven_steps_are_refused(tmp_path, name, values, said):
    path = layouts.tensor(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5")
    with h5py.File(path, "a") as file:
        file[name][...] = values
    (asset,) = conversion.assets([tmp_path], params())
    with pytest.raises(StudyError, match=said):
        conversion.convert(asset, params())


def test_tasks_that_make_one_file_are_refused(tmp_path):
    twice = [Task(equation="advection", coefficients={"beta": 0.4}, points=points) for points in (16, 32)]
    with pytest.raises(StudyError, match=r"1D_Advection_Sols_beta0\.4_000\.hdf5 twice"):
        synthesis.synthesize(tmp_path, 1, 0, twice)


def test_a_common_force_makes_no_kin(tmp_path):
    for number in range(2):
        tasks.make(tmp_path, "navier_stokes", tasks.Job({}, 1, 16, 0, number), number)
    one, two = conversion.assets([tmp_path], params())
    assert one.split_group != two.split_group
