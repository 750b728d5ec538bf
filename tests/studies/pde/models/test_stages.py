"""The later stages: flow, consistency student, steady prior, and the gates between them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from stepladder.core.config import ParameterError, check
from stepladder.core.study import find
from stepladder.core.types import Batch, Loss
from stepladder.studies.pde.data.equations import BOUNDARIES, COEFFICIENTS, number
from stepladder.studies.pde.data.solvers import darcy
from stepladder.studies.pde.data.solvers.initial import two_valued
from stepladder.studies.pde.evaluation import metrics
from stepladder.studies.pde.models.stages import forecaster as networks
from stepladder.studies.pde.models.stages import plan
from stepladder.studies.pde.models.stages.colour import Colour
from stepladder.studies.pde.models.stages.consistency import ConsistencyStudent
from stepladder.studies.pde.models.stages.flow import ResidualFlow, crps
from stepladder.studies.pde.models.stages.steady import SteadyPrior, darcy_residual
from stepladder.studies.pde.params import PdeParams
from stepladder.training.step import lone_train_state, train_step
from tests.studies.pde.batches import grid_batch


def noisy_batch(count: int, seed: int = 0) -> Batch:
    """Truth is the state plus white noise of 0.1 that nobody can foresee."""
    batch = grid_batch(points=16, count=count, seed=seed)
    batch["target_TXC"] = (batch["input_XC"] + 0.1 * torch.randn_like(batch["input_XC"]))[:, None]
    return batch


def learn(network: nn.Module, loss: Callable[[int], Loss], steps: int, rate: float = 1e-2) -> None:
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).total.backward()
        optimizer.step()


def flow() -> ResidualFlow:
    torch.manual_seed(0)
    return ResidualFlow(1, 1, channels=16, modes=9, layers=2)


def test_crps_by_hand() -> None:
    truth = torch.zeros(1, 4, 1)
    pair = torch.stack([truth + 1, truth + 3])
    assert crps(pair, truth).item() == 2 - 0.5 * 2
    assert crps(pair[:1], truth).item() == 1
    assert crps(torch.stack([truth, truth]), truth).item() == 0


@pytest.fixture(scope="module")
def trained_flow() -> ResidualFlow:
    """Over the operator that says nothing changes."""
    network, batches = flow(), [noisy_batch(40, seed) for seed in range(1, 9)]
    learn(network, lambda step: network.loss(batches[step % 8], batches[step % 8]["input_XC"]), 110)
    return network


@pytest.mark.slow
def test_the_flow_learns_how_wrong_the_operator_is(trained_flow: ResidualFlow) -> None:
    """Draws spread as the truth does around the forecast, so their CRPS beats the sure forecast's."""
    batch = noisy_batch(20, seed=9)
    sure = batch["input_XC"]
    with torch.no_grad():
        members = torch.stack([trained_flow.draw(batch, sure, torch.randn_like(sure)) for _ in range(8)])
    truth = batch["target_TXC"][:, 0]
    assert 0.06 < (members - sure).std() < 0.14
    assert crps(members, truth).mean() < 0.85 * crps(sure[None], truth).mean()


@pytest.mark.slow
def test_the_student_learns_to_do_it_in_one_step(trained_flow: ResidualFlow) -> None:
    """From the same noise, one evaluation lands nearer to the teacher's sixteen than the copied network did."""
    student, batch = ConsistencyStudent(trained_flow, grid=8, average=0.8), noisy_batch(20, seed=9)
    noise, sure = torch.randn_like(batch["input_XC"]), batch["input_XC"]
    batches = [noisy_batch(40, seed) for seed in range(1, 9)]

    def loss(step: int) -> Loss:
        return student.loss(batches[step % 8], batches[step % 8]["input_XC"], trained_flow, step)

    student.slow.requires_grad_(False)
    loss(0)  # begins as a copy
    with torch.no_grad():
        wanted = trained_flow.draw(batch, sure, noise, 16)
        before = (student.draw(batch, sure, noise) - wanted).square().mean()
    learn(student, loss, 40, rate=3e-3)
    with torch.no_grad():
        after = (student.draw(batch, sure, noise) - wanted).square().mean()
    assert after < 0.7 * before


@pytest.mark.parametrize("axes", [1, 2])
def test_whitened_residuals_have_one_size_at_all_wave_numbers(axes: int) -> None:
    """And colouring gives them back."""
    torch.manual_seed(0)
    state = grid_batch(axes, points=16, count=40)["input_XC" if axes == 1 else "input_YXC"]
    residual = 1e-3 * state + 1e-6 * torch.randn_like(state)
    colour = Colour(1, 8)
    colour.fit(residual)
    white = colour.whitened(residual)
    assert 0.9 < white.std() < 1.1
    torch.testing.assert_close(colour.coloured(white), residual, rtol=1e-4, atol=1e-9)
    drawn = colour.coloured(torch.randn_like(residual))
    rough = [metrics.spectrum(u[:, None])[:, :, 5:].mean() for u in (drawn, residual)]
    assert 0.7 < rough[0] / rough[1] < 1.4, "noise is as smooth as what it is to become"


def test_the_velocity_knows_the_time() -> None:
    network, batch = flow(), grid_batch(points=16)
    x = torch.randn(3, 16, 1)
    early, late = (network.velocity(batch, batch["input_XC"], x, torch.full((3,), tau)) for tau in (0.1, 0.9))
    assert (early - late).abs().max() > 1e-3


def test_a_student_of_a_straight_flow_is_right_at_once() -> None:
    """A constant velocity means straight paths: one evaluation then does what the teacher needs many for."""
    teacher, batch = flow(), grid_batch(points=16)
    head = teacher.backbone.head[-1]
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, 0.7)
    student, sure, noise = ConsistencyStudent(flow()), batch["input_XC"], torch.randn(3, 16, 1)
    assert student.loss(batch, sure, teacher).total < 1e-10
    drawn, wanted = student.draw(batch, sure, noise), teacher.draw(batch, sure, noise, 16)
    torch.testing.assert_close(drawn, wanted, rtol=1e-5, atol=1e-5)


def test_slow_weights_follow_once_per_optimizer_step() -> None:
    """Whatever the accumulation."""
    teacher, batch = flow(), grid_batch(points=16)

    def after(steps: list[int]) -> torch.Tensor:
        student = ConsistencyStudent(teacher)
        student.loss(batch, batch["input_XC"], teacher, 0)
        nn.init.ones_(student.fast.lift.weight)
        for step in steps:
            student.loss(batch, batch["input_XC"], teacher, step)
        return student.slow.lift.weight

    assert torch.equal(after([0, 0]), teacher.backbone.lift.weight)
    assert torch.equal(after([1]), after([1, 1, 1]))
    torch.testing.assert_close(after([1]), 0.95 * teacher.backbone.lift.weight + 0.05)


def darcy_batch(count: int, points: int = 12) -> Batch:
    a_NYX = two_valued(0, range(count), points)
    u_NYX = darcy.solve(a_NYX)
    coefficient_BK = torch.zeros(count, len(COEFFICIENTS))
    coefficient_BK[:, COEFFICIENTS.index("force")] = 1.0
    return {
        "input_YXC": torch.from_numpy(a_NYX).float()[..., None],
        "target_TYXC": torch.from_numpy(u_NYX).float()[:, None, ..., None],
        "coefficient_K": coefficient_BK,
        "dx": torch.full((count,), 1 / points),
        "dt": torch.zeros(count),
        "equation": torch.full((count,), number("darcy")),
        "boundary": torch.full((count,), BOUNDARIES.index("dirichlet")),
    }


def test_solutions_have_no_residual() -> None:
    a_NYX = two_valued(1, range(2), 16)
    u = torch.from_numpy(darcy.solve(a_NYX, beta=2.0))
    force, dx = torch.full((2,), 2.0, dtype=u.dtype), torch.full((2,), 1 / 16, dtype=u.dtype)
    residual = darcy_residual(torch.from_numpy(a_NYX), u, force, dx)
    assert residual.abs().max() < 1e-8
    bent = darcy_residual(torch.from_numpy(a_NYX), 1.1 * u, force, dx)
    np.testing.assert_allclose(bent.numpy(), -0.2, atol=1e-8)


def test_rounds_of_correction_help() -> None:
    """Starting from an operator that answers zero."""
    torch.manual_seed(0)
    batch, prior = darcy_batch(8, points=16), SteadyPrior(channels=8, modes=4, rounds=2)
    nothing = torch.zeros_like(batch["input_YXC"])
    prior.fit_scale(batch, 0.9 * batch["target_TYXC"][:, 0])
    learn(prior, lambda step: prior.loss(batch, nothing), 25)
    parts = prior.loss(batch, nothing).parts
    assert parts["last"] < parts["first"] < 1.0


# Gates ---------------------------------------------------------------------------------------------------------------


def small(**model: object) -> PdeParams:
    size = {"width": 8, "channels": 8, "modes": 4, "patch": 8, "heads": 2, "before": 1, "after": 1, "conditioning": 8}
    values = {"study": "pde", "profile": "test", "run": "test", "model": {**size, **model}}
    return check(PdeParams, {**values, "evaluation": {"members": 4}})


def forecaster(operator: Callable[[Batch], torch.Tensor] | None = None) -> tuple[networks.Forecaster, PdeParams]:
    """A model with all stages of a grid in time, perhaps with a known operator in its network's place."""
    torch.manual_seed(0)
    params = small(flow_steps=2, student_steps=2)
    built = networks.build(params)
    if operator:
        built.network.forward = operator
    return built.eval(), params


class Shelf:
    """The samples of one batch as a data set."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch["equation"])

    def sample(self, index: int, rng: None) -> dict:
        return {name: value[index] for name, value in self.batch.items()}


def test_stages_are_what_the_profile_asks_for() -> None:
    assert [phase.name for phase in plan.phases(small())] == ["operator"]
    assert [phase.name for phase in plan.phases(small(flow_steps=3, student_steps=2))] == list(networks.STAGES[:3])
    darcy_like = {"axes": 2, "answers": 1, "periodic": False}
    assert [phase.name for phase in plan.phases(small(**darcy_like, prior_steps=5))] == ["operator", "steady"]
    for wrong in ({"prior_steps": 2}, {"flow_steps": 2, **darcy_like}):
        with pytest.raises(ParameterError, match="_steps"):
            plan.phases(small(**wrong))


def test_every_stage_trains_its_own_part_and_nothing_else() -> None:
    model, params = forecaster()
    batch = grid_batch(points=16)
    training = params.training.model_copy(update={"batch": 3})
    for phase in plan.phases(params):
        before = {name: value.clone() for name, value in model.named_parameters()}
        learner = lone_train_state(find("pde"), model, phase, training, 0)
        for step in range(2):
            train_step(learner, step, [batch])
        changed = {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}
        outside = {name for name in changed if not name.startswith(phase.trainable)}
        assert changed and all(name.startswith("student.slow.") for name in outside)


def test_a_stage_that_does_not_win_leaves_its_predecessor() -> None:
    """The operator knows the answer: a flow that adds noise to it must be refused, and so must its student."""
    batch = grid_batch(points=16, count=6)
    state = batch["input_XC"]
    batch["target_TXC"] = torch.stack([0.5 * state, 0.25 * state], dim=1)
    model, params = forecaster(lambda b: 0.5 * b["input_XC"])
    verdicts = [plan.accept(phase, model, Shelf(batch), params) for phase in plan.phases(params)]
    assert [found.ok for found in verdicts] == [True, False, False]
    assert model.answering == "operator" and "predecessor answers" in verdicts[1].reason
    assert "teacher was not kept" in verdicts[2].reason


def test_a_stage_that_wins_answers() -> None:
    """Draws that land on the truth, of an operator that is wrong: kept, and predicted with from then on."""
    batch = grid_batch(points=16, count=4)
    batch["target_TXC"] = batch["input_XC"][:, None] * 0.5
    model, params = forecaster(lambda b: 0.8 * b["input_XC"])
    model.flow.draw = lambda batch, forecast, noise, evaluations=None: 0.5 * batch["input_XC"]
    operator, flow_stage, student = plan.phases(params)
    assert plan.accept(operator, model, Shelf(batch), params).ok
    found = plan.accept(flow_stage, model, Shelf(batch), params)
    assert found.ok and "CRPS" in found.reason and "spectrum" in found.reason
    assert model.answering == "flow"
    torch.testing.assert_close(model.predict(batch)["u_BTXC"], batch["target_TXC"])
    model.student.draw = lambda batch, forecast, noise, evaluations=None: 0.52 * batch["input_XC"]
    assert not plan.accept(student, model, Shelf(batch), params).ok, "further off than a tenth of nothing"


def test_an_operator_must_beat_what_costs_nothing() -> None:
    batch = grid_batch(points=16, count=4)
    model, params = forecaster(lambda b: -b["input_XC"])
    found = plan.accept(plan.phases(params)[0], model, Shelf(batch), params)
    assert not found.ok and "persistence" in found.reason and model.answering == "operator"


def test_the_same_question_gets_the_same_draw() -> None:
    model, _ = forecaster()
    model.keep("flow")
    batch = grid_batch(points=16)
    one, two = (model.predict(batch)["u_BTXC"] for _ in range(2))
    members = model.ensemble(batch, "flow")
    assert torch.equal(one, two) and members.shape[0] == 4 and not torch.equal(members[0], members[1])


def test_what_the_stages_are_worth_is_a_row_per_sampler() -> None:
    model, params = forecaster()
    table = plan.worth(model, [grid_batch(points=16)], params)
    assert table["stage"].tolist() == ["operator"] + 4 * ["flow"] + 3 * ["consistency"]
    assert table["answers"].tolist() == [True] + 7 * [False] and (table["CRPS"] > 0).all()


def test_the_steady_prior_is_judged_by_error_and_residual() -> None:
    """A prior that changes nothing is no better than its operator."""
    torch.manual_seed(0)
    params = small(axes=2, answers=1, periodic=False, prior_steps=2)
    model = networks.build(params).eval()
    batch = darcy_batch(4, points=16)
    refused = plan.accept(plan.phases(params)[1], model, Shelf(batch), params)
    assert not refused.ok and "residual" in refused.reason
    model.prior.answers = lambda batch, first: [first, batch["target_TYXC"][:, 0]]
    kept = plan.accept(plan.phases(params)[1], model, Shelf(batch), params)
    assert kept.ok and model.answering == "steady"


def test_a_drawn_forecast_does_not_depend_on_its_company() -> None:
    model, _ = forecaster()
    model.keep("flow")
    batch = grid_batch(points=16)
    together = model.predict(batch)["u_BTXC"]
    for item in range(len(together)):
        alone = model.predict({name: value[item : item + 1] for name, value in batch.items()})["u_BTXC"]
        torch.testing.assert_close(alone[0], together[item])


def test_a_steady_answer_that_ignores_its_question_is_not_kept() -> None:
    params = small(axes=2, answers=1, periodic=False)
    model, batch = networks.build(params).eval(), darcy_batch(6, points=16)
    mean = batch["target_TYXC"][:, 0].mean(0)
    model.network.forward = lambda batch: mean.expand(len(batch["dx"]), -1, -1, -1) * 1.5
    refused = plan.accept(plan.phases(params)[0], model, Shelf(batch), params)
    assert not refused.ok and "of the mean of the other answers" in refused.reason
    truth = dict(zip(batch["input_YXC"].sum((1, 2, 3)).tolist(), batch["target_TYXC"][:, 0], strict=True))
    model.network.forward = lambda batch: torch.stack([truth[s] for s in batch["input_YXC"].sum((1, 2, 3)).tolist()])
    assert plan.accept(plan.phases(params)[0], model, Shelf(batch), params).ok


def test_residuals_are_over_the_force() -> None:
    params = small(axes=2, answers=1, periodic=False, prior_steps=2)
    model, batch = networks.build(params).eval(), darcy_batch(4, points=16)
    told = {}
    for force in (1.0, 100.0):
        scaled = {**batch, "target_TYXC": batch["target_TYXC"] * force, "coefficient_K": batch["coefficient_K"] * force}
        model.network.forward = lambda batch: 1.1 * batch["target_TYXC"][:, 0]
        told[force] = plan.residuals(model, [scaled], params, "operator")["residual"]
    assert told[100.0] == pytest.approx(told[1.0], rel=1e-3)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"carry": True, "axes": 2}, "carry and diffuse are of the operator on periodic grids of one axis"),
        ({"diffuse": True, "name": "fno"}, "carry and diffuse are of the operator"),
        ({"name": "unet", "kind": "mesh"}, "works on grids only"),
        ({"student_steps": 2}, "a student needs a teacher"),
        ({"unrolled": 0.5}, "set rollout to 2 or more"),
        ({"heads": 3}, "width = 8 is not divisible by 2 x heads = 6"),
        ({"channels": 6}, "channels = 6 is not divisible"),
        ({"name": "unet", "channels": 10}, "channels in fours"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_by_name(model: dict, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        small(**model)
