"""The contract of a stage's first step: what is told, what is refused, and that looking changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stepladder.core.schema import TrainingParams
from stepladder.core.types import Loss, TrainingPhase
from stepladder.machine.signals import Preempted
from stepladder.training import checks, optimize
from stepladder.training.contract import FirstStep, checksum, faults
from stepladder.training.logbook import TrainingError
from stepladder.training.step import lone_train_state, train_step
from stepladder.training.trainable import ContractError, set_trainable
from tests.training.conftest import train_here, untimed
from tests.training.networks import CASES, NETWORKS
from tests.training.test_parallel import SAMPLES, begun
from tests.training.test_tasks import A, batch_of, state_of


class Chain:
    """Mean square of a chain of layers."""

    def tasks(self, model):
        return {}

    def loss(self, model, batch, phase):
        return Loss(model(batch["x"]).square().mean())


class Layers(nn.Module):
    """Two layers that answer, a slow copy of the first, and one that nothing uses."""

    def __init__(self, follow=False, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.slow, self.idle = (nn.Linear(3, 3, dtype=dtype) for _ in range(4))
        self.follow = follow

    def forward(self, x):
        if self.follow:
            with torch.no_grad():
                self.slow.weight.lerp_(self.a.weight, 0.5)
        return self.b(self.a(x.to(self.a.weight)))


def first_step(model, trainable, meddle=lambda model: None, **training):
    """The rows of one step of a model whose `trainable` parts learn."""
    training = TrainingParams(batch=2, **training)
    state = lone_train_state(Chain(), model, TrainingPhase("s", 1, trainable), training, seed=0)
    first = FirstStep(state)
    train_step(state, 0, [{"x": torch.ones(2, 3)}], watch=first)
    meddle(model)
    return first.rows()


def verdicts(rows):
    return {row["group"]: row["verdict"] for row in rows}


def test_a_step_is_told_group_by_group():
    rows = first_step(Layers(), ("a",))
    assert verdicts(rows) == {"a": "learns", "b": "stands still", "slow": "stands still", "idle": "stands still"}
    assert [(row["trained"], row["parameters"], row["changed"]) for row in rows] == [(True, 12, True)] + [
        (False, 12, False)
    ] * 3
    model = Layers()
    model.b.requires_grad_(False)
    model(torch.ones(2, 3)).square().mean().backward()
    norm = torch.cat([p.grad.flatten() for p in model.a.parameters()]).norm()
    assert rows[0]["gradient"] == pytest.approx(float(norm)) and rows[1]["gradient"] is None and not faults(rows)


def test_a_group_is_divided_where_only_a_part_of_it_learns():
    rows = first_step(Layers(), ("a.weight",))
    assert [(r["group"], r["trained"], r["parameters"]) for r in rows[:2]] == [("a", True, 9), ("a", False, 3)]


def test_what_breaks_the_contract_is_named():
    def move(model):
        model.b.bias.data[0] += 1e-6

    assert faults(first_step(Layers(), ("a",), move)).startswith("b is frozen and moved")
    assert "idle is trained and gets no gradient" in faults(first_step(Layers(), ("a", "idle")))
    rounded = faults(first_step(Layers(dtype=torch.bfloat16), ("a",), learning_rate=1e-9, weight_decay=0.0))
    assert rounded.startswith("a is trained, has a gradient of") and "float32" in rounded


def test_a_gradient_of_zeros_is_told_and_not_refused():
    """As before a layer that begins at zero."""
    model = Layers()
    nn.init.zeros_(model.b.weight)
    rows = first_step(model, ("a", "b"), weight_decay=0.0)
    assert verdicts(rows)["a"] == "gradient zero" and verdicts(rows)["b"] == "learns" and not faults(rows)


def test_what_a_model_sets_itself_is_told_unless_it_is_given():
    rows = first_step(Layers(follow=True), ("a",))
    assert verdicts(rows)["slow"] == "set by the model" and not faults(rows)
    model = Layers(follow=True)
    model.given = {"slow": "some weights"}
    assert faults(first_step(model, ("a",))).startswith("slow is frozen and moved")


def test_a_task_that_nothing_labels_gets_no_gradient_and_is_not_refused():
    state = state_of(batch=3)
    first = FirstStep(state)
    train_step(state, 0, [batch_of(3, [A] * 3)], watch=first)
    rows = first.rows()
    assert "nothing labelled" in verdicts(rows).values() and not faults(rows)


def test_a_step_without_any_label_leaves_the_proof_to_the_next():
    state = state_of(batch=3)
    first = FirstStep(state)
    train_step(state, 0, [batch_of(3, [(False, False)] * 3)], watch=first)
    assert first.rows() is None


@pytest.mark.parametrize(("scale", "finite"), [(2.0**10, True), (2.0**127, False)])
def test_scaled_gradients_are_told_at_their_size_and_an_overflow_leaves_it_to_the_next_step(scale, finite):
    """As in float16 on a card."""
    plain, training = first_step(Layers(), ("a",)), TrainingParams(batch=2)
    model = Layers()
    state = lone_train_state(Chain(), model, TrainingPhase("s", 1, ("a",)), training, seed=0)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    first = FirstStep(state)
    train_step(state, 0, [{"x": torch.ones(2, 3) * (1 if finite else 8)}], watch=first)
    rows = first.rows()
    assert (rows is not None) == finite
    assert not finite or rows[0]["gradient"] == pytest.approx(plain[0]["gradient"])


@settings(deadline=None)
@given(
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.int8, torch.complex64]),
    size=st.integers(1, 50),
)
def test_a_change_of_one_number_or_an_exchange_of_two_is_seen(seed, dtype, size):
    generator = torch.Generator().manual_seed(seed)
    values = (torch.randn(size, generator=generator) * 50).to(dtype)
    before, place = checksum(values), seed % size
    assert torch.equal(before, checksum(values.clone()))
    changed, turned = values.clone(), values.flip(0)
    changed[place] = values[place] + 1 if dtype == torch.int8 else values[place] * 1.1 + 0.1
    assert not torch.equal(before, checksum(changed))
    if dtype.is_floating_point and not torch.equal(turned, values):
        assert not torch.equal(before, checksum(turned))


def test_large_parameters_are_summed_in_parts(monkeypatch):
    values = torch.randn(1000)
    whole = checksum(values)
    bits = values.numpy().view(np.int32).astype(np.int64)
    assert int(whole) == int((bits * (2 * np.arange(1000) + 1)).sum())
    monkeypatch.setattr("stepladder.training.contract.CHUNK", 7)
    assert torch.equal(checksum(values), whole)


def test_every_stage_of_a_training_is_proven_once_and_shown(make_run):
    run = make_run(values={"model": {"stages": ["first", "second"]}, "training": {"steps": 6}})
    train_here(run)
    events = run.events("parameter_contract")
    assert [(event["stage"], event["step"]) for event in events] == [("first", 1), ("second", 7)]
    table = checks.contract_rows(events)
    assert set(table[table.state == "trained"].verdict) == {"learns"} and len(table) == 6
    assert set(table[table.state == "frozen"].verdict) == {"stands still"}
    assert checks.contract_rows([]).empty


def test_a_resumed_stage_is_not_proven_again(make_run):
    run, asked = make_run(), iter(range(1, 100))
    with pytest.raises(Preempted):
        train_here(run, lambda: next(asked) >= 12)
    train_here(run)
    assert len(run.events("parameter_contract")) == 1


def test_looking_changes_nothing(make_run, monkeypatch):
    looked, blind = make_run("looked"), make_run("blind")
    train_here(looked)
    monkeypatch.setattr("stepladder.training.contract.proven", lambda *_: True)
    train_here(blind)
    assert untimed(looked) == untimed(blind)


def test_a_broken_contract_stops_training_and_says_where(make_run, monkeypatch):
    def meddling(self, step):
        for parameter in self._live:
            parameter.data.add_(1.0)

    monkeypatch.setattr(optimize.EMA, "update", meddling)
    run = make_run(values={"model": {"stages": ["first"]}})
    with pytest.raises(TrainingError, match=r"first step of stage 'first' breaks .*second\.0 is frozen and moved"):
        train_here(run)
    assert run.events("parameter_contract") and not run.events("checkpoint")


def test_given_weights_are_not_trained():
    model = Layers()
    model.given = {"slow": "x"}
    with pytest.raises(ContractError, match=r"stage 's' trains slow.weight, which the model says is given"):
        set_trainable(model, TrainingPhase("s", 1, ("a", "sl")))
    model.given = {"slwo": "x"}
    with pytest.raises(ContractError, match="'slwo' is given, but nothing"):
        set_trainable(model, TrainingPhase("s", 1, ("a",)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "phase"), CASES)
def test_no_stage_of_a_study_breaks_the_contract(name, phase):
    train_state = begun(name, phase)
    first = FirstStep(train_state)
    train_step(train_state, 0, [NETWORKS[name].batch(SAMPLES)], watch=first)
    rows = first.rows()
    assert rows and not faults(rows)
    assert any(row["verdict"] == "learns" for row in rows)
