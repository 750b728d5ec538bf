"""Whole trainings of a study whose samples lack labels: schedules of its groups, resuming, and what is logged."""

import math

import pytest
import torch

from stepladder.core.types import TrainingPhase
from stepladder.machine.signals import Preempted
from stepladder.training import curves
from stepladder.training.parallel import DistributedContext
from stepladder.training.task_gradients import TaskGradients, choose
from stepladder.training.tasks import Tasks
from tests.training.conftest import begin_worker, flat, kill_all, log_of, train_here, untimed, wait_for_step, weights
from tests.training.ranks import in_two, training_of
from tests.training.toy.pair.study import PairData
from tests.training.two_tasks import Net, TwoTasks

ALL = TrainingPhase("all", 1)

STEPS = 12
EVERY = {"training": {"steps": STEPS, "batch": 4, "checkpoint_every": 2, "keep": 20, "validate_every": 6}}


def pair(make_run, name, model=None, **training):
    """A run of the two-task study."""
    return make_run(name, {"study": "pair", "model": model or {}, "training": {**EVERY["training"], **training}})


def stopped(run, step):
    """Train up to a step, as a signal would stop it."""
    asked = []

    def stop():
        asked.append(1)
        return len(asked) >= step

    with pytest.raises(Preempted):
        train_here(run, stop)
    assert run.events("checkpoint")[-1]["step"] == step


@pytest.mark.parametrize("way", ["mixed", "alternating", "sequential"])
@pytest.mark.parametrize("step", [1, 3, 7])
def test_resumed_at_any_step_it_ends_with_the_same_bits(make_run, way, step):
    """At step 1 no optimizer state of the other task exists yet: it must not be there after resuming either."""
    values = {"mixing": way, "ema": 0.9}
    straight, halved = (pair(make_run, name, {"learned": True}, **values) for name in ("straight", "halved"))
    train_here(straight)
    stopped(halved, step)
    train_here(halved)
    one, two = flat(weights(straight)), flat(weights(halved))
    assert one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())
    assert untimed(straight) == untimed(halved)


def test_accumulation_and_workers_change_nothing_under_alternation(make_run):
    found = []
    for number, values in enumerate(({}, {"accumulate": 2}, {"accumulate": 4, "workers": 1})):
        run = pair(make_run, f"run_{number}", mixing="alternating", **values)
        train_here(run)
        found.append(flat(weights(run)))
    for other in found[1:]:
        assert all(torch.allclose(value, other[name], atol=2e-6) for name, value in found[0].items())


def test_steps_tell_only_of_the_tasks_they_taught(make_run):
    run = pair(make_run, "run", mixing="alternating", validate_every=100)
    train_here(run)
    told = [{name for name in line if name.startswith("loss_")} for line in run.metrics() if "loss" in line]
    assert told == [{"loss_a"}, {"loss_b"}, {"loss_a", "loss_b"}] * (STEPS // 3)
    [line] = [line for line in run.metrics() if "validation_loss" in line]
    assert line["validation_loss"] == pytest.approx(line["validation_loss_a"] + line["validation_loss_b"])


def test_the_head_of_a_task_that_no_group_labels_keeps_its_first_weights(make_run):
    run = pair(make_run, "run", {"groups": ["a"]}, weight_decay=0.5)
    first = train_here(pair(make_run, "first", {"groups": ["a"]}, steps=1, weight_decay=0.5)).model.state_dict()
    last = train_here(run).model.state_dict()
    assert torch.equal(first["heads.b.weight"], last["heads.b.weight"])
    assert not torch.equal(first["heads.a.weight"], last["heads.a.weight"])


def gradient_of(model, task, batch):
    """Of a task's mean, in what both share: one vector."""
    model.zero_grad()
    loss = TwoTasks().loss(model, batch, ALL)
    (loss.sums[task] / batch[f"known_{task}_U"].sum()).backward()
    return torch.cat([p.grad.flatten() for name, p in model.named_parameters() if name.startswith("trunk")]).double()


def test_gradients_of_tasks_are_logged_with_each_validation_and_are_what_they_say(make_run):
    job = train_here(run := pair(make_run, "run", mixing="mixed"))
    lines = [line for line in run.metrics() if "validation_loss" in line]
    names = {"task_gradient/a", "task_gradient/b", "task_cosine/a~b"}
    assert len(lines) == 2 and all({name for name in line if name.startswith("task_")} == names for line in lines)
    job.model.eval()
    batch = job.task_gradients._batch
    assert len(batch["x_C"]) == 4 and all(batch[f"known_{task}_U"].any() for task in "ab")
    a, b = (gradient_of(job.model, task, batch) for task in "ab")
    assert lines[-1]["task_gradient/a"] == pytest.approx(float(a.norm()), rel=1e-5)
    assert lines[-1]["task_cosine/a~b"] == pytest.approx(float(a @ b / a.norm() / b.norm()), rel=1e-5)


def test_measuring_gradients_changes_no_bit_of_training(make_run, monkeypatch):
    measured, unmeasured = (pair(make_run, name, {"learned": True}, ema=0.9) for name in ("measured", "unmeasured"))
    train_here(measured)
    monkeypatch.setattr(TaskGradients, "measure", lambda self, state: {})
    train_here(unmeasured)
    one, two = flat(weights(measured)), flat(weights(unmeasured))
    assert one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())
    kept = [{name: value for name, value in line.items() if "/" not in name} for line in untimed(measured)]
    assert kept == untimed(unmeasured) != untimed(measured)


def test_samples_are_chosen_so_that_every_task_is_labelled():
    data = PairData(["a", "b"], 0)
    tasks = Tasks(TwoTasks(), Net())
    chosen = choose(tasks, data, range(14), 3)
    assert chosen["known_a_U"][:, 0].tolist() == [1, 0, 1] and chosen["known_b_U"][:, 0].tolist() == [0, 1, 0]
    assert len(choose(tasks, PairData(["a"], 0), range(7), 3)["x_C"]) == 3


@pytest.mark.slow
@pytest.mark.drill
def test_killed_under_alternation_and_resumed_equals_uninterrupted(make_run):
    values = {"mixing": "alternating", "steps": 300, "checkpoint_every": 7, "validate_every": 100, "keep": 2}
    whole, killed = (pair(make_run, name, {"learned": True}, **values) for name in ("whole", "killed"))
    train_here(whole)
    child = begin_worker(killed)
    wait_for_step(killed, 40, child)
    kill_all(child)
    assert begin_worker(killed).wait(timeout=300) == 0, log_of(killed)
    assert killed.events("resumed")
    one, two = flat(weights(whole)), flat(weights(killed))
    assert one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())
    assert untimed(whole) == untimed(killed)


@pytest.mark.slow
@pytest.mark.drill
def test_two_processes_learn_as_one(make_run, tmp_path):
    """Also where one of them has no label of a task: a batch of two, divided among two ranks."""
    jobs, runs = [], []
    for way in ("mixed", "alternating"):
        for shard in (False, True):
            values = {"mixing": way, "batch": 2, "ema": 0.9, "processes": 2, "shard": shard}
            alone, two = (pair(make_run, f"{n}_{way}_{shard}", {"learned": True}, **values) for n in ("one", "two"))
            training_of(alone, DistributedContext())
            jobs.append({"run": str(two.folder)})
            runs.append((alone, two))
    in_two(tmp_path / "ranks", jobs)
    for alone, two in runs:
        one, other = flat(weights(alone)), flat(weights(two))
        assert one.keys() == other.keys()
        assert all(torch.allclose(value.float(), other[name].float(), atol=2e-5) for name, value in one.items())
        for line, same in zip(untimed(alone), untimed(two), strict=True):
            losses = {name: value for name, value in line.items() if "loss" in name}
            assert losses.keys() == {name for name in same if "loss" in name}
            assert all(math.isclose(value, same[name], rel_tol=1e-4) for name, value in losses.items())


def test_the_curve_shows_how_tasks_pull_where_there_are_some(make_run):
    train_here(run := pair(make_run, "run"))
    _, _, norms, cosines = curves.training_curve(run.metrics()).axes
    assert norms.get_legend_handles_labels()[1] == ["a", "b"] and norms.get_ylabel() == "gradient norm"
    assert cosines.get_legend_handles_labels()[1] == ["a and b"] and cosines.get_xlabel() == "optimizer step"
    told = [line["task_cosine/a~b"] for line in run.metrics() if "validation_loss" in line]
    assert cosines.lines[0].get_ydata().tolist() == told
    plain = [{name: value for name, value in line.items() if "/" not in name} for line in run.metrics()]
    assert len(curves.training_curve(plain).axes) == 2
