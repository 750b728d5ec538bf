"""Samples: windows and whole trajectories tell the truth about state, frames, steps, coefficients and neighbours."""

import pickle

import numpy as np
import pytest
from torch.utils.data import default_collate

from stepladder.core.types import Dataset, StudyError
from stepladder.data import shards
from stepladder.studies.pde.data import conversion, equations
from stepladder.studies.pde.data.dataset import Cases, Windows
from stepladder.studies.pde.data.solvers import burgers as burgers_solver
from stepladder.studies.pde.data.solvers import tasks
from stepladder.studies.pde.params import PdeConversion, PdeEvaluation, PdeModel, PdeParams
from stepladder.studies.pde.study import study
from tests.studies.pde import layouts
from tests.studies.pde.layouts import FRAMES, POINTS


def params(model=None, evaluation=None, **changes):
    return PdeParams(
        study="pde",
        model=PdeModel(**(model or {})),
        evaluation=PdeEvaluation(**(evaluation or {})),
        conversion=PdeConversion(**changes),
    )


def convert(raw, folder, given):
    """All raw files of a folder as shards."""
    paths = []
    for asset in conversion.assets([raw], given):
        paths.append(folder / f"{asset.id}.h5")
        shards.write(paths[-1], conversion.convert(asset, given), "recipe")
    return paths


@pytest.fixture(scope="module")
def burgers(tmp_path_factory):
    """Two groups of three trajectories of five frames, one in two blocks."""
    raw = tmp_path_factory.mktemp("raw")
    for eps in ("0.01", "0.1"):
        layouts.tensor(raw / f"1D_Burgers_Sols_Nu{eps}.hdf5")
    return convert(raw, tmp_path_factory.mktemp("shards"), params(block=2))


def test_windows_cover_every_start_and_carry_the_physics(burgers):
    windows = Windows(burgers, params({"rollout": 2}))
    assert isinstance(windows, Dataset) and len(windows) == 2 * 3 * (FRAMES - 2)
    u = shards.Shard(burgers[0]).array("u_NTXC")
    sample = windows.sample(1)
    assert np.array_equal(sample["input_XC"], u[0, 1]) and np.array_equal(sample["target_TXC"], u[0, 2:4])
    assert sample["dx"] == pytest.approx(1 / POINTS) and sample["dt"] == pytest.approx(0.01)
    told = equations.symbols("burgers", sample["coefficient_K"])
    assert told["eps"] == pytest.approx(0.01) and sample["equation"] == equations.number("burgers")
    assert equations.BOUNDARIES[sample["boundary"]] == "periodic"
    assert sample["position_XD"].shape == (POINTS, 1) and sample["index"] == 1


def test_units_are_trajectories_across_blocks_and_groups_are_coefficients(burgers):
    windows = Windows(burgers, params())
    assert len(set(windows.clusters)) == 6, "blocks of one file number their trajectories on"
    assert set(windows.groups) == {"burgers eps=0.01", "burgers eps=0.1"}
    assert windows.weights == {"burgers eps=0.01": 1.0, "burgers eps=0.1": 1.0}
    tempered = Windows(burgers[:3], params({"temperature": 1.0}))
    assert tempered.weights["burgers eps=0.01"] == 3 * tempered.weights["burgers eps=0.1"] / 2


def test_cases_run_from_the_first_state_to_the_horizon(burgers):
    cases = Cases(burgers, params())
    assert len(cases) == 6 and cases.sample(0)["target_TXC"].shape == (FRAMES - 1, POINTS, 1)
    assert Cases(burgers, params(evaluation={"horizon": 2})).sample(0)["target_TXC"].shape[0] == 2
    u = shards.Shard(burgers[0]).array("u_NTXC")
    assert np.array_equal(cases.sample(1)["input_XC"], u[1, 0])
    batch = default_collate([cases.sample(i) for i in range(6)])
    assert batch["target_TXC"].shape == (6, FRAMES - 1, POINTS, 1)


def test_a_dataset_goes_to_another_process_whole(burgers):
    windows = Windows(burgers, params())
    other = pickle.loads(pickle.dumps(windows))
    assert all(np.array_equal(a, b) for a, b in zip(windows.sample(3).values(), other.sample(3).values(), strict=True))


def test_too_few_frames_for_the_rollout_are_refused(burgers):
    with pytest.raises(StudyError, match=rf"{FRAMES} frames are too few for model.rollout = {FRAMES}"):
        Windows(burgers, params({"rollout": FRAMES}))


def test_a_steady_problem_asks_its_given_field(tmp_path):
    layouts.darcy(tmp_path / "raw.hdf5", beta=1.0).rename(tmp_path / "2D_DarcyFlow_beta1.0.hdf5")
    paths = convert(tmp_path, tmp_path / "shards", params())
    sample = Windows(paths, params()).sample(0)
    assert sample["input_YXC"].min() > 0 and sample["target_TYXC"].shape == (1, POINTS, POINTS, 1)
    assert sample["dt"] == 0 and len(Windows(paths, params())) == len(Cases(paths, params())) == 3


def test_a_force_stays_with_its_flow(tmp_path):
    layouts.incompressible(tmp_path / "ns_incom_inhom_2d_512-0.h5")
    sample = Cases(convert(tmp_path, tmp_path / "shards", params()), params()).sample(0)
    assert sample["input_YXC"].shape == (POINTS, POINTS, 3) and sample["given_YXC"].shape == (POINTS, POINTS, 2)


def test_particles_move_on_across_the_border_of_their_box(tmp_path):
    layouts.lagrangian(tmp_path / "raw")
    paths = convert(tmp_path / "raw", tmp_path / "shards", params())
    cases = Cases(paths, params())
    sample = cases.sample(0)
    state, ahead = sample["input_XC"], sample["target_TXC"]
    assert state.shape == (6, 4) and ahead.shape == (FRAMES - 3, 6, 4)
    assert np.allclose(ahead[0, :, :2] - state[:, :2], ahead[0, :, 2:], atol=1e-6), (
        "place = place before + displacement"
    )
    assert np.abs(ahead[..., 2:]).max() < 0.1, "no jump of a box's length"
    u = shards.Shard(paths[0]).array("u_NTXC")[0]
    assert np.allclose(np.mod(ahead[..., :2], 1.0), u[3:], atol=1e-5), "the same places modulo the box"
    came = np.mod(state[:, :2] - state[:, 2:] - sample["before_XD"], 1.0)
    assert np.allclose(came, u[0], atol=1e-5), "two displacements before it was there"
    assert sample["edge_E2"].dtype == np.int64 and sample["type_X"].shape == (6,)


def test_a_moving_mesh_gives_each_sample_its_own_nodes(tmp_path):
    path = layouts.torch_files(tmp_path)["poisson"]
    for other in ("burgers", "darcy", "car"):
        (tmp_path / f"{other}.pt").unlink()
    cases = Cases(convert(path.parent, tmp_path / "shards", params()), params())
    one, two = cases.sample(0), cases.sample(1)
    assert not np.array_equal(one["position_XD"], two["position_XD"]) and one["edge_E2"].shape == (4, 2)
    assert one["cell_M3"].max() < 5 and np.array_equal(one["input_XC"], one["position_XD"])


def test_early_windows_come_as_often_as_the_profile_says(burgers):
    plain, early = Windows(burgers, params()), Windows(burgers, params({"early": 6}))
    starts = [place[2] for place in early.places]
    trajectories = [place[2] for place in plain.places].count(0)
    assert [starts.count(start) // trajectories for start in sorted(set(starts))] == [6, 3, 2, 2]
    assert set(starts) == {place[2] for place in plain.places} and len(set(early.places)) == len(plain)


def test_particles_are_scored_on_stretches_and_know_their_box(tmp_path):
    layouts.lagrangian(tmp_path / "raw")
    paths = convert(tmp_path / "raw", tmp_path / "shards", params())
    cases = Cases(paths, params(evaluation={"horizon": 1}))
    assert [place[2:] for place in cases.places] == [(2, 1), (3, 1)] * 2
    assert len(set(cases.clusters)) == len(cases) == 4
    assert cases.sample(1)["target_TXC"].shape[0] == 1
    assert cases.sample(0)["box_2D"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert len(Cases(paths, params())) == 2, "without a horizon a trajectory is one case"


def sharp_and_smooth(folder, model):
    """Windows over finely sampled files of eps 0.1 and 1, a trajectory each."""
    for eps in (0.1, 1.0):
        tasks.make(folder / "raw", "burgers", tasks.Job({"eps": eps}, 1, 64, 0, 0))
    return Windows(convert(folder / "raw", folder, params(points=64)), params(model))


def test_another_clock_shows_a_solution_at_another_viscosity(tmp_path):
    windows = sharp_and_smooth(tmp_path, {"stride": 10, "rescale": 1.0})
    rng, eps = np.random.Generator(np.random.Philox(key=1)), []
    for index in range(len(windows)):
        sample = windows.sample(index, rng)
        eps.append(equations.symbols("burgers", sample["coefficient_K"])["eps"])
        state, after = sample["input_XC"][:, 0].astype(float), sample["target_TXC"][0, :, 0]
        solved = burgers_solver.solve(state[None], eps[-1], np.array([0.0, sample["dt"]]))[0, 1]
        assert np.abs(solved - after).max() < 0.01 * np.ptp(state) + 1e-6  # float32 of waves that have died
        assert sample["dt"] == pytest.approx(0.1)
    assert len({round(value, 3) for value in eps}) > 10 and 0.099 < min(eps) < max(eps) < 1.01


def test_samples_are_plain_without_a_generator_and_steps_are_strides(tmp_path):
    windows = sharp_and_smooth(tmp_path, {"stride": 10, "rescale": 1.0})
    u = shards.Shard(windows.shards[0].shard.path).array("u_NTXC")
    sample = windows.sample(3)
    assert np.array_equal(sample["input_XC"], u[0, 30]) and np.array_equal(sample["target_TXC"], u[0, 40:41])
    assert len(windows) == 2 * 20
    cases = Cases([table.shard.path for table in windows.shards], params({"stride": 10}))
    assert np.array_equal(cases.sample(0)["target_TXC"], u[0, 10::10])


def test_particles_take_no_strides(tmp_path):
    layouts.lagrangian(tmp_path / "raw")
    paths = convert(tmp_path / "raw", tmp_path, params())
    with pytest.raises(StudyError, match=r"model.stride = 2: particles"):
        Windows(paths, params({"stride": 2}))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"kind": "mesh"}, "model.kind is mesh in the profile, grid here"),
        ({"answers": 1}, "model.answers > 0 is True in the profile, False here"),
        ({"periodic": False}, "model.periodic is False in the profile, True here"),
    ],
)
def test_shards_that_the_network_was_not_made_for_are_refused(burgers, model, said):
    with pytest.raises(StudyError, match=said):
        study.dataset(burgers, params(model))
    assert len(study.evaluation_dataset(burgers, params())) == 6


def test_more_supernodes_than_points_are_refused(tmp_path):
    paths = convert(layouts.lagrangian(tmp_path / "raw").parent, tmp_path, params())
    with pytest.raises(StudyError, match=r"model.supernodes = 64: .* has 6 points"):
        study.dataset(paths, params({"kind": "particles"}))
