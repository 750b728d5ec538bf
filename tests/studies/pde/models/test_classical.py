"""The rivals of a network: each is what it says, and the classical solvers are close to the truth."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from stepladder.data import shards
from stepladder.studies.pde.data import conversion
from stepladder.studies.pde.data.dataset import Cases, key
from stepladder.studies.pde.data.solvers import tasks
from stepladder.studies.pde.evaluation import metrics
from stepladder.studies.pde.models.baselines import classical, fits
from stepladder.studies.pde.params import PdeConversion, PdeParams
from tests.studies.pde import layouts

PARAMS = PdeParams(study="pde", conversion=PdeConversion(every_frame=20))


def shards_of(folder, *made):
    """Shards of files `(task, coefficients, trajectories, points, first)`."""
    for number, (name, coefficients, trajectories, points, first) in enumerate(made):
        tasks.make(folder / "raw", name, tasks.Job(coefficients, trajectories, points, 0, first), number)
    paths = []
    for asset in conversion.assets([folder / "raw"], PARAMS):
        paths.append(folder / f"{asset.id}.h5")
        shards.write(paths[-1], conversion.convert(asset, PARAMS), "recipe")
    return paths


def error(batch, prediction):
    truth = batch[key(batch, "target_")].double()
    return metrics.nrmse(prediction[classical.answer_name(batch)].double(), truth).mean().item()


def batch_of(paths):
    cases = Cases(paths, PARAMS)
    return default_collate([cases.sample(i) for i in range(len(cases))])


@pytest.mark.parametrize(
    ("task", "coefficients", "points", "coarse", "fine"),
    [
        ("burgers", {"eps": 0.1}, 64, 0.02, 0.01),
        ("advection", {"beta": 0.4}, 64, 0.2, 0.01),
        ("reaction_diffusion", {"nu": 0.5, "rho": 1.0}, 64, 0.005, 0.001),
        ("darcy", {"beta": 1.0}, 32, 0.2, 1e-5),
        ("reaction_diffusion_2d", {}, 16, 0.2, 1e-5),
        ("navier_stokes", {}, 32, 0.2, 1e-5),
    ],
)
def test_solvers_come_near_the_truth_and_finer_ones_nearer(
    tmp_path, monkeypatch, task, coefficients, points, coarse, fine
):
    monkeypatch.setattr(classical, "COARSE", min(32, points // 2))
    paths = shards_of(tmp_path, (task, coefficients, 2, points, 0))
    batch = batch_of(paths)
    errors = {name: error(batch, method(batch)) for name, method in classical.baselines(paths).items()}
    assert errors["coarse_solver"] < coarse and errors["fine_solver"] < fine, errors
    guess = errors.get("persistence", errors.get("mean_answer"))
    assert errors["fine_solver"] <= errors["coarse_solver"] < guess


def test_guesses_are_what_they_say(tmp_path):
    batch = batch_of(shards_of(tmp_path, ("burgers", {"eps": 0.1}, 2, 32, 0)))
    still = classical.persistence(batch)["u_BTXC"]
    assert torch.equal(still[:, 3], batch["input_XC"])
    flat = classical.spatial_mean(batch)["u_BTXC"]
    assert torch.allclose(flat[:, 2, 5], batch["input_XC"].mean(1))
    assert error(batch, {"u_BTXC": flat}) < error(batch, {"u_BTXC": still}), "late, everything is near the mean"


def test_ridge_learns_each_physics_apart_and_beats_the_guesses(tmp_path):
    train = shards_of(tmp_path / "a", *(("advection", {"beta": b}, 12, 16, 0) for b in (0.1, 0.5)))
    test = shards_of(tmp_path / "b", *(("advection", {"beta": b}, 3, 16, 100) for b in (0.1, 0.5)))
    ridge, batch = fits.Ridge(train), batch_of(test)
    assert len(ridge.maps) == 2
    errors = [error(batch, method(batch)) for method in (ridge, classical.spatial_mean, classical.persistence)]
    assert errors[0] < 0.5 * min(errors[1:]), errors
    unseen = batch_of(shards_of(tmp_path / "c", ("advection", {"beta": 2.0}, 1, 16, 0)))
    assert torch.equal(ridge(unseen)["u_BTXC"], classical.persistence(unseen)["u_BTXC"])


def test_a_linear_map_is_found_exactly():
    rng = np.random.default_rng(0)
    step = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    u = [rng.normal(size=(20, 4))]
    for _ in range(5):
        u.append(u[-1] @ step)
    fitted = fits.fit_step(np.stack(u, axis=1))
    assert np.allclose(fitted[:4], step, atol=1e-3) and np.allclose(fitted[4], 0, atol=1e-3)


def test_the_nearest_question_gives_its_answer(tmp_path):
    paths = shards_of(tmp_path, ("darcy", {}, 4, 16, 0))
    batch = batch_of(paths)
    assert error(batch, fits.Nearest(paths)(batch)) == 0


def test_particles_go_straight_on_or_stand_still(tmp_path):
    path = layouts.lagrangian(tmp_path / "raw")
    given = PARAMS.model_copy(update={"conversion": PdeConversion()})
    (asset,) = conversion.assets([path.parent], given)
    shards.write(tmp_path / "a.h5", conversion.convert(asset, given), "recipe")
    batch = default_collate([Cases([tmp_path / "a.h5"], given).sample(0)])
    state = batch["input_XC"]
    straight, still = classical.persistence(batch)["u_BTXC"], classical.spatial_mean(batch)["u_BTXC"]
    assert torch.allclose(straight[:, 1, :, :2], state[..., :2] + 2 * state[..., 2:])
    assert torch.equal(still[:, 1, :, :2], state[..., :2]) and (still[..., 2:] == 0).all()


def test_walled_flow_has_no_periodic_solver(tmp_path):
    layouts.incompressible(tmp_path / "ns_incom_inhom_2d_512-0.h5")
    given = PARAMS.model_copy(update={"conversion": PdeConversion()})
    (asset,) = conversion.assets([tmp_path], given)
    shards.write(tmp_path / "shard" / "a.h5", conversion.convert(asset, given), "recipe")
    batch = default_collate([Cases([tmp_path / "shard" / "a.h5"], given).sample(0)])
    assert torch.equal(
        *(m(batch)["u_BTYXC"] for m in (classical.persistence, lambda batch: classical.solver(batch, None)))
    )


def mesh_shards(folder, count=40):
    """A mesh of three nodes whose answer is quadratic in two parameters: shards of train and test."""
    mu = torch.rand(count, 2)
    nodes = torch.rand(3, 1).expand(3, count) + 0.01 * mu[:, 0]
    u = torch.stack([mu[:, 0], mu[:, 0] * mu[:, 1], 1 + mu[:, 1] ** 2])
    mesh = {"edge_index": torch.tensor([[0, 1, 2], [1, 2, 0]]), "triang": torch.tensor([[0, 1, 2]])}
    folder.mkdir()
    torch.save({"x": nodes, "y": nodes.flip(0), "u": u, "mu": mu, **mesh}, folder / "mesh.pt")
    given = PARAMS.model_copy(update={"conversion": PdeConversion(block=count // 2)})
    paths = []
    for asset in conversion.assets([folder], given):
        paths.append(folder / "shards" / f"{asset.id}.h5")
        shards.write(paths[-1], conversion.convert(asset, given), "recipe")
    return paths


def test_steady_fits_answer_from_parameters_where_samples_have_their_own(tmp_path):
    torch.manual_seed(0)
    train, test = mesh_shards(tmp_path / "mesh")
    found, batch = classical.baselines([train]), batch_of([test])
    assert list(found) == ["mean_answer", "nearest", "ridge"], "no solver, nothing to persist"
    errors = [error(batch, method(batch)) for method in (*found.values(), fits.SteadyRidge([train], 2))]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01, errors


def test_no_baseline_only_repeats_another(tmp_path):
    path = layouts.lagrangian(tmp_path / "raw")
    given = PARAMS.model_copy(update={"conversion": PdeConversion()})
    (asset,) = conversion.assets([path.parent], given)
    shards.write(tmp_path / "a.h5", conversion.convert(asset, given), "recipe")
    assert list(classical.baselines([tmp_path / "a.h5"])) == ["persistence", "spatial_mean"]


def test_linear_steps_of_two_lengths_are_two_maps(tmp_path):
    slow = shards_of(tmp_path / "slow", ("advection", {"beta": 0.4}, 8, 16, 0))
    given = PARAMS.model_copy(update={"conversion": PdeConversion(every_frame=2 * PARAMS.conversion.every_frame)})
    (asset,) = conversion.assets([tmp_path / "slow" / "raw"], given)
    shards.write(tmp_path / "fast.h5", conversion.convert(asset, given), "recipe")
    ridge = fits.Ridge([*slow, tmp_path / "fast.h5"])
    assert len(ridge.maps) == 2
    batch = batch_of(slow)
    assert torch.equal(ridge(batch)["u_BTXC"], fits.Ridge(slow)(batch)["u_BTXC"])


def test_coarse_cells_divide_any_number_of_points():
    assert [len(classical._coarser(np.arange(float(points)), 32)) for points in (128, 100, 96, 31, 37)] == [
        32,
        25,
        32,
        31,
        37,
    ]
