"""One optimizer step: exact accumulation, schedules, and the parameter contract."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import default_collate

from stepladder.core.schema import TrainingParams
from stepladder.core.study import Study
from stepladder.core.types import Loss, TrainingPhase
from stepladder.data import draws
from stepladder.training.optimize import EMA, learning_rate_factor
from stepladder.training.smoke import check_divided
from stepladder.training.step import Clock, StepModule, make_train_state, train_step, update
from stepladder.training.trainable import ContractError, match_weights, parameter_contract, set_trainable

ALL = TrainingPhase("all", 10)


class Linear:
    """A study with nothing but a loss."""

    tasks = Study.tasks

    def loss(self, model, batch, phase):
        error = model["used"](batch["x"]) - batch["y"]
        return Loss((error**2).mean(), {"absolute": error.abs().mean()})


def make_model():
    torch.manual_seed(0)
    return nn.ModuleDict({"used": nn.Linear(3, 1), "other": nn.Linear(2, 2)})


def batch_of(rows):
    rows = range(rows) if isinstance(rows, int) else rows
    return default_collate([{"x": torch.arange(3.0) * (i + 1) / 10, "y": torch.tensor([i / 5])} for i in rows])


def step_in(micros, **values):
    """A model after one step over `micros`, and the step's result."""
    training = TrainingParams(batch=sum(len(m) for m in micros), accumulate=len(micros), clip_norm=100.0, **values)
    model = make_model()
    set_trainable(model, TrainingPhase("used", 1, ("used",)))
    train_state = make_train_state(StepModule(Linear(), model, ALL), model, training, seed=0)
    return model, train_step(train_state, 0, [batch_of(rows) for rows in micros])


@pytest.mark.parametrize("micros", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2, 3], [4, 5]], [[i] for i in range(6)]])
def test_accumulation_does_not_change_the_step(micros):
    whole, one = step_in([range(6)])
    parts, many = step_in(micros)
    assert torch.allclose(one.loss, many.loss) and torch.allclose(one.norm, many.norm)
    assert torch.allclose(one.parts["absolute"], many.parts["absolute"])
    assert torch.allclose(whole["used"].weight, parts["used"].weight, atol=1e-7)


def test_a_step_follows_the_formula_of_adamw():
    model, _ = step_in([range(4)], learning_rate=0.1, weight_decay=0.5)
    before = make_model()
    Linear().loss(before, batch_of(4), ALL).total.backward()
    expected = before["used"].weight * (1 - 0.1 * 0.5) - 0.1 * torch.sign(before["used"].weight.grad)
    assert torch.allclose(model["used"].weight, expected, atol=1e-4)
    bias = before["used"].bias - 0.1 * torch.sign(before["used"].bias.grad)  # vectors are not decayed
    assert torch.allclose(model["used"].bias, bias, atol=1e-4)


def test_clipping_bounds_the_gradient_and_tells_its_norm():
    model = make_model()
    set_trainable(model, TrainingPhase("used", 1, ("used",)))
    train_state = make_train_state(StepModule(Linear(), model, ALL), model, TrainingParams(batch=4, clip_norm=1e-3), 0)
    seen = []
    train_state.optimizer.register_step_pre_hook(
        lambda *_: seen.append(math.sqrt(sum(float((p.grad**2).sum()) for p in train_state.trainable)))
    )
    result = train_step(train_state, 0, [batch_of(4)])
    assert float(result.norm) > 1e-3
    assert seen[0] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_computes_nearly_the_same_loss(precision):
    assert float(step_in([range(4)], precision=precision)[1].loss) == pytest.approx(
        float(step_in([range(4)])[1].loss), rel=0.05
    )


def test_phases_are_timed():
    model = make_model()
    set_trainable(model, TrainingPhase("used", 1, ("used",)))
    train_state, clock = (
        make_train_state(StepModule(Linear(), model, ALL), model, TrainingParams(batch=4), 0),
        Clock(torch.device("cpu")),
    )
    train_step(train_state, 0, [batch_of(4)], clock)
    assert list(clock.seconds) == ["load", "host_to_device", "forward", "backward", "optimizer"]
    assert all(seconds > 0 for seconds in clock.seconds.values())


@settings(deadline=None)
@given(
    steps=st.integers(1, 300),
    warmup=st.integers(0, 400),
    schedule=st.sampled_from(["cosine", "linear", "constant", "wsd", "plateau"]),
)
def test_schedules_stay_between_zero_and_one_and_warm_up(steps, warmup, schedule):
    factors = [learning_rate_factor(schedule, step, steps, warmup) for step in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    rising = factors[: min(warmup, steps)]
    assert rising == sorted(rising) and (not rising or rising[-1] == 1)
    falling = factors[min(warmup, steps) :]
    assert falling == sorted(falling, reverse=True)


def test_wsd_decays_over_the_last_fifth_only():
    factors = [learning_rate_factor("wsd", step, 110, 10) for step in range(110)]
    assert factors[10:90] == [1.0] * 80 and factors[90] < 1 and factors[-1] < 0.06


def test_average_follows_its_formula_and_is_lent_to_the_model():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    ema = EMA(model, 0.9)
    model.weight.data.fill_(2.0)
    ema.update(0)  # keeps (1 + 0) / (10 + 0) of the old value
    assert ema.values["weight"].item() == pytest.approx(0.1 * 1 + 0.9 * 2)
    with ema.applied():
        assert model.weight.item() == pytest.approx(1.9)
    assert model.weight.item() == 2.0


def test_frozen_modules_stand_still():
    model = nn.ModuleDict({"kept": nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "learns": nn.Linear(2, 2)})
    set_trainable(model, TrainingPhase("s", 1, ("learns",)))
    assert not model["kept"].training and not model["kept"][1].training and model["learns"].training
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["learns.weight", "learns.bias"]


def test_a_mistyped_prefix_is_named():
    with pytest.raises(ContractError, match=r"stage 's' trains 'usd'.*did you mean 'used'"):
        set_trainable(make_model(), TrainingPhase("s", 1, ("usd",)))


def test_the_contract_counts_parameters_by_module():
    rows = parameter_contract(Linear(), make_model(), TrainingPhase("s", 1, ("used",)), batch_of(2))
    assert rows == [
        {"module": "used", "parameters": 4, "trainable": 4, "gradient": 4},
        {"module": "other", "parameters": 6, "trainable": 0, "gradient": 0},
        {"module": "total", "parameters": 10, "trainable": 4, "gradient": 4},
    ]


def test_a_trainable_parameter_without_gradient_fails():
    with pytest.raises(ContractError, match=r"no gradient reaches other\.weight, other\.bias"):
        parameter_contract(Linear(), make_model(), ALL, batch_of(2))


def test_weights_that_do_not_fit_are_named():
    weights = dict(make_model().state_dict())
    weights["extra.weight"] = weights.pop("other.bias")
    weights["used.weight"] = torch.zeros(1, 5)
    with pytest.raises(ContractError) as error:
        match_weights(make_model(), weights)
    for part in ("surplus: extra.weight", "missing: other.bias", "mismatched: used.weight (1, 5) != (1, 3)"):
        assert part in str(error.value)
    with pytest.raises(ContractError, match="surplus"):
        parameter_contract(Linear(), make_model(), ALL, batch_of(2), checkpoint=weights)


def test_the_model_is_told_the_optimizer_step_not_the_micro_batch():
    """Losses that are computed now and then count optimizer steps, also under accumulation and after a resume."""
    told = []

    class Counting(Linear):
        def loss(self, model, batch, phase):
            told.append(model.optimizer_step)
            return super().loss(model, batch, phase)

    model, training = make_model(), TrainingParams(batch=4, accumulate=2)
    set_trainable(model, TrainingPhase("used", 1, ("used",)))
    train_state = make_train_state(StepModule(Counting(), model, ALL), model, training, seed=0)
    for step in (7, 8):
        train_step(train_state, step, [batch_of(2), batch_of(2)])
    assert told == [7, 7, 8, 8]


def test_the_average_of_a_later_stage_is_warmed_up_anew():
    """Or it would carry what the stage began with: weights that nobody trained."""
    training = TrainingParams(batch=2, ema=0.999, learning_rate=1e-12)
    train_state = make_train_state(nn.Identity(), nn.Linear(1, 1), training, 0)
    train_state.begin, first = 5000, train_state.model.weight.detach().clone()
    train_state.model.weight.data.add_(1.0)
    for parameter in train_state.trainable:
        parameter.grad = torch.zeros_like(parameter)
    update(train_state, 5000)
    assert train_state.ema.values["weight"].item() == pytest.approx(first.item() + 0.9)


@pytest.mark.parametrize("noise", [torch.randn_like, draws.randn_like])
def test_noise_that_does_not_follow_the_sample_is_found(noise):
    """Torch's own would give the samples of all processes and micro-batches equal numbers."""

    class Noisy(Linear):
        fit = Study.fit

        def loss(self, model, batch, phase):
            return super().loss(model, {**batch, "x": batch["x"] + noise(batch["x"])}, phase)

    found = check_divided(Noisy(), make_model(), batch_of(5), TrainingPhase("used", 1, ("used",)))
    assert found.ok == (noise is draws.randn_like)
    assert found.ok or "stepladder.data.draws" in found.reason
