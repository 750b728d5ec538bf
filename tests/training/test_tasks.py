"""Samples that lack the labels of some tasks: what is not labelled costs and teaches nothing, however it is divided."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.study import Study
from stepladder.core.types import Loss, TrainingPhase
from stepladder.training.smoke import check_absent, check_divided
from stepladder.training.step import StepModule, lone_train_state, train_step
from stepladder.training.tasks import Tasks, combine
from stepladder.training.trainable import ContractError, parameter_contract
from stepladder.training.validation import validation_losses
from tests.training.two_tasks import TWO, Net, TwoTasks, batch_of, sample_of

ALL = TrainingPhase("all", 100)
A, B, NONE, BOTH = (True, False), (False, True), (False, False), (True, True)


def state_of(labelled=BOTH, learned=False, study=None, **values):
    """A training state for batches of as many samples as `labelled` says."""
    torch.manual_seed(0)
    training = TrainingParams(**{"batch": 4, "clip_norm": 100.0, "weight_decay": 0.1, "learning_rate": 0.01, **values})
    return lone_train_state(study or TwoTasks(), Net(learned), ALL, training, seed=0)


def gradients(state, micros, step=0):
    """Name -> gradient of a step, None where there is none; the step is made."""
    found = {}
    hook = state.optimizer.register_step_pre_hook(
        lambda *_: found.update({n: p.grad.clone() for n, p in state.model.named_parameters() if p.grad is not None})
    )
    train_step(state, step, micros)
    hook.remove()
    return found


def head(state, task):
    """Everything that changes in what serves a task alone: weights, log variance, average and optimizer state."""
    own = {n: p for n, p in state.model.named_parameters() if n.startswith(f"heads.{task}") or n.endswith(f"e.{task}")}
    moments = {f"{n} {k}": v for n, p in own.items() for k, v in state.optimizer.state[p].items()}
    return {name: value.detach().clone() for name, value in {**own, **moments}.items()}


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_serves_an_absent_task_alone_stands_still_to_the_last_bit(learned, accumulate):
    """AdamW would decay its weights and go on by momentum for many steps."""
    state = state_of(learned=learned, accumulate=accumulate, ema=0.9)
    divided = lambda labelled: [batch_of(range(m, 4, accumulate), labelled) for m in range(accumulate)]  # noqa: E731
    for step in range(5):
        train_step(state, step, divided([BOTH] * 4))
    before, other = head(state, "b"), head(state, "a")
    for step in range(5, 25):
        assert not any(
            name.endswith(("b.weight", "b.bias", "e.b")) for name in gradients(state, divided([A] * 4), step)
        )
    after = head(state, "b")
    assert before.keys() == after.keys() and len(before) == (12 if learned else 8)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(torch.equal(value, head(state, "a")[name]) for name, value in other.items())


def test_a_step_in_which_nothing_is_labelled_costs_nothing_and_changes_nothing():
    state = state_of(learned=True)
    train_step(state, 0, [batch_of(4)])
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    result = train_step(state, 1, [batch_of(4, [NONE] * 4)])
    assert float(result.loss) == 0 and not result.parts and float(result.norm) == 0
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())


@pytest.mark.parametrize("learned", [False, True])
def test_a_batch_without_labels_costs_zero_through_a_graph_that_reaches_everything(learned):
    model = Net(learned)
    loss = TwoTasks().loss(model, batch_of(3, [NONE] * 3), ALL)
    loss.total.backward()
    assert float(loss.total.detach()) == 0 and all(math.isnan(part) for part in loss.parts.values())
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_mixed_batch_has_the_sum_of_the_separate_losses_and_gradients():
    mixed = gradients(state_of(batch=5), [batch_of(range(5), [A, A, A, B, B])])
    only_a = gradients(state_of(batch=3), [batch_of(range(3), [A] * 3)])
    only_b = gradients(state_of(batch=2), [batch_of(range(3, 5), [B] * 2)])
    assert set(mixed) == set(only_a) | set(only_b)
    for name, value in mixed.items():
        assert torch.allclose(value, sum(g[name] for g in (only_a, only_b) if name in g), atol=1e-6), name


@settings(deadline=None, max_examples=25)
@given(labels=st.lists(st.sampled_from([A, B, NONE, BOTH]), min_size=8, max_size=8), learned=st.booleans())
def test_micro_batches_make_the_same_step(labels, learned):
    whole = state_of(batch=8, learned=learned)
    result = train_step(whole, 0, [batch_of(8, labels)])
    for accumulate in (2, 4):
        parts = state_of(batch=8, learned=learned, accumulate=accumulate)
        micros = [batch_of(range(m, 8, accumulate), labels) for m in range(accumulate)]
        other = train_step(parts, 0, micros)
        assert torch.allclose(result.loss, other.loss, rtol=1e-5) and torch.allclose(result.norm, other.norm, rtol=1e-4)
        assert result.parts.keys() == other.parts.keys()
        for name, part in result.parts.items():
            assert torch.allclose(part, other.parts[name], rtol=1e-5)


def test_a_tasks_mean_is_over_labelled_units_of_the_whole_step():
    """Not a mean of means: one sample has many labelled units, the other few."""
    batch = batch_of(2)
    batch["known_a_U"] = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    state = state_of(batch=2, accumulate=2)
    error = (state.model(batch["x_C"])["a"] - batch["a_U"]) ** 2
    wanted = (error * batch["known_a_U"]).sum().item() / 4
    micros = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(2)]
    assert float(train_step(state, 0, micros).parts["a"]) == pytest.approx(wanted, rel=1e-6)


def test_learned_weights_follow_their_formula():
    model, sums, counts = Net(True), {"a": torch.tensor(6.0), "b": torch.tensor(8.0)}, {"a": 3.0, "b": 2.0}
    with torch.no_grad():
        model.log_variance["a"].fill_(0.5)
        model.log_variance["b"].fill_(-1.0)
    wanted = math.exp(-0.5) * 2 + 0.25 + 3 * (math.exp(1) * 4 - 0.5)
    assert combine(model, sums, counts, {"b": 3.0}).total.item() == pytest.approx(wanted)
    absent = combine(model, {**sums, "b": torch.tensor(0.0)}, {"a": 3.0, "b": 0.0})
    assert absent.total.item() == pytest.approx(math.exp(-0.5) * 2 + 0.25)


def test_learned_weights_settle_where_theory_says():
    """At the logarithm of twice the loss: exp(-s) L + s / 2 is least there."""
    study = TwoTasks()
    state = state_of(learned=True, batch=4, learning_rate=0.05, weight_decay=0.0)
    for name, parameter in state.model.named_parameters():
        parameter.requires_grad_(name.startswith("log_variance"))
    for step in range(400):
        result = train_step(state, step, [batch_of(4)])
    for task in TWO:
        assert state.model.log_variance[task].item() == pytest.approx(math.log(2 * float(result.parts[task])), abs=0.02)
    assert set(study.tasks(state.model)) == set(TWO)


@pytest.mark.parametrize("learned", [False, True])
def test_validation_is_over_all_labelled_units_and_an_absent_task_has_no_value(learned):
    state, step_module = state_of(learned=learned), None
    step_module = state.module
    batches = [batch_of(range(4), [A, NONE, NONE, NONE]), batch_of(range(4, 8), [A] * 4)]
    found = validation_losses(step_module, state, [range(4)] * 2, iter(batches))
    rows = batch_of([0, 4, 5, 6, 7])
    wanted = ((state.model(rows["x_C"])["a"] - rows["a_U"]) ** 2).mean().item()
    assert set(found) == {"validation_loss", "validation_loss_a"}
    assert found["validation_loss_a"] == pytest.approx(wanted, rel=1e-6)
    assert found["validation_loss"] == pytest.approx(wanted, rel=1e-6)


def test_validation_without_any_label_is_refused():
    state = state_of()
    with pytest.raises(ValueError, match="no validation sample is labelled for any of the tasks a, b"):
        validation_losses(state.module, state, [range(4)], iter([batch_of(4, [NONE] * 4)]))


def test_every_parameter_is_reached_where_the_batch_lacks_a_task():
    assert parameter_contract(TwoTasks(), Net(True), ALL, batch_of(3, [A] * 3))[-1]["gradient"] > 0


def test_a_batch_may_be_divided():
    assert check_divided(TwoTasks(), Net(), batch_of(5, [A, B, BOTH, A, NONE]), ALL).ok


def test_the_contract_finds_a_task_that_learns_from_what_is_not_labelled():
    class Leaking(TwoTasks):
        def model(self, params):
            return Net()

        def loss(self, model, batch, phase):
            error = ((model(batch["x_C"])["b"] - batch["b_U"]) ** 2).mean(1)
            blind = (error * batch["known_a_U"].sum(1)).sum()  # masked by what the other task knows
            sums = {**super().loss(model, batch, phase).sums, "b": blind if self.leaks else error.sum() * 0}
            return combine(model, sums, self.label_counts(batch))

    samples = [sample_of(n, tasks) for n, tasks in enumerate((A, BOTH, A))]
    params = Parameters(study="pair", training=TrainingParams(learning_rate=0.1))
    for leaks in (False, True):
        study = Leaking()
        study.leaks = leaks
        [found] = check_absent(study, params, samples, ALL)  # of task b: no sample lacks task a
        assert found.name == "b learns nothing where it is absent" and found.ok != leaks
    assert "reach 2 and move 0 of its 2 tensors: mask" in found.reason
    assert check_absent(study, params, samples[1:2], ALL) == []


def test_a_loss_that_counts_otherwise_than_the_study_is_found():
    class Miscounting(TwoTasks):
        def label_counts(self, batch):
            return {task: count + 1 for task, count in super().label_counts(batch).items()}

        def loss(self, model, batch, phase):
            loss = super().loss(model, batch, phase)
            return combine(model, loss.sums, TwoTasks.label_counts(self, batch))

    found = check_divided(Miscounting(), Net(), batch_of(5), ALL)
    assert not found.ok and "sum it over what label_counts counts" in found.reason


def test_what_a_study_says_wrongly_is_named():
    class Wrong(TwoTasks):
        said = {"a": ("heads.a.",), "b": ("heads.",)}  # noqa: RUF012

        def tasks(self, model):
            return self.said

    with pytest.raises(ContractError, match=r"heads\.a\.weight is said to serve a alone, and b alone"):
        Tasks(Wrong(), Net())
    Wrong.said = {"a": ("head.a",)}
    with pytest.raises(ContractError, match=r"task 'a' names 'head\.a', but no parameter starts so; did you mean"):
        Tasks(Wrong(), Net())
    Wrong.said = {"a": ("heads.a.",), "c": ("heads.b.",)}
    with pytest.raises(ContractError, match="does not count c"):
        Tasks(Wrong(), Net()).counts([batch_of(2)])

    class Plain(TwoTasks):
        def loss(self, model, batch, phase):
            return Loss(super().loss(model, batch, phase).total)

    with pytest.raises(ContractError, match="combine"):
        train_step(state_of(study=Plain()), 0, [batch_of(4)])


def test_a_study_without_tasks_has_none():
    class One(TwoTasks):
        tasks = Study.tasks

    module = StepModule(One(), nn.Linear(1, 1), ALL)
    assert not module.tasks and module.tasks.shared(module.model) == list(module.model.parameters())
