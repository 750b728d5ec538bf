"""Schedules of the learning rate against torch's own, and the one that goes by validation through kills."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from stepladder.core import files
from stepladder.core.config import ParameterError, merge
from stepladder.core.schema import TrainingParams
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, schedule, worker
from stepladder.training.optimize import Plateau, learning_rate_factor
from tests.training.conftest import flat, train_here, untimed, weights

PLATEAU = {
    "schedule": "plateau",
    "plateau_factor": 0.5,
    "plateau_patience": 0,
    "plateau_threshold": 0.2,
    "plateau_floor": 0.1,
    "validate_every": 3,
}


def sgd():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def rates_of(scheduler, optimizer, count):
    """The rate of every step under a scheduler of torch."""
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@settings(deadline=None)
@given(steps=st.integers(2, 80), warmup=st.integers(0, 30))
def test_linear_falls_as_torch_lets_it_fall(steps, warmup):
    optimizer, warmup = sgd(), min(warmup, steps - 1)
    scheduler = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps - warmup)
    theirs = rates_of(scheduler, optimizer, steps - warmup)
    ours = [learning_rate_factor("linear", step, steps, warmup) for step in range(warmup, steps)]
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.slow
def test_linear_is_the_schedule_of_that_name_in_transformers():
    """After warm-up; ours begins it at 1 / warmup, theirs at 0."""
    optimization = pytest.importorskip("transformers.optimization")
    optimizer = sgd()
    theirs = rates_of(optimization.get_linear_schedule_with_warmup(optimizer, 7, 40), optimizer, 40)
    ours = [learning_rate_factor("linear", step, 40, 7) for step in range(40)]
    assert ours[7:] == pytest.approx(theirs[7:]) and ours[:7] == pytest.approx(theirs[1:8])


@settings(deadline=None)
@given(
    losses=st.lists(st.one_of(st.floats(0.01, 2.0), st.just(math.nan), st.just(1.0)), max_size=40),
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 4),
    threshold=st.floats(0, 0.3),
    floor=st.floats(0, 1),
)
def test_plateau_cuts_the_rate_as_torch_does(losses, factor, patience, threshold, floor):
    training = TrainingParams(
        schedule="plateau",
        plateau_factor=factor,
        plateau_patience=patience,
        plateau_threshold=threshold,
        plateau_floor=floor,
    )
    optimizer, known = sgd(), Plateau()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=threshold, min_lr=floor, eps=0.0
    )
    for loss in losses:
        scheduler.step(loss)
        known = Plateau.of(known.after(loss, training).told())  # through what a checkpoint keeps
        assert known.factor(training) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_a_loss_below_zero_must_fall_to_be_better():
    training = TrainingParams(schedule="plateau", plateau_threshold=0.1, plateau_patience=0)
    known = Plateau().after(-1.0, training)
    assert known.after(-1.05, training).cuts == 1 and known.after(-1.2, training).cuts == 0


def test_a_plateau_cuts_the_rate_and_begins_anew_with_every_stage(make_run):
    values = {"model": {"stages": ["first", "second"], "worsens": True}, "training": {**PLATEAU, "steps": 12}}
    run = make_run(values=merge(values, {"training": {"warmup": 0}}))
    train_here(run)
    rates = [line["lr"] for line in run.metrics() if "lr" in line]
    one = [1e-3] * 6 + [5e-4] * 3 + [2.5e-4] * 3  # the first validation is the best one
    assert rates == pytest.approx(one * 2)


def test_killed_and_resumed_a_plateau_goes_on_bit_for_bit(make_run):
    values = {"training": {**PLATEAU, "learning_rate": 0.02}}
    whole, parts = make_run("whole", values), make_run("parts", values)
    train_here(whole)
    for count in (4, 5, 8):
        asked = iter(range(1, 100))
        with pytest.raises(Preempted):
            train_here(parts, lambda asked=asked, count=count: next(asked) >= count)
    train_here(parts)
    assert len({line["lr"] for line in whole.metrics() if "lr" in line}) > 5  # three of warm-up: it was cut
    assert untimed(parts) == untimed(whole)
    one, two = flat(weights(whole)), flat(weights(parts))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def fingerprint(run):
    study, params = worker.read_parameters(run)
    return schedule.config_fingerprint(run, study, params, params.training)


def test_what_a_plateau_goes_by_makes_another_training_with_it_alone(make_run):
    plain = fingerprint(make_run("plain"))
    assert not any("plateau" in name or "validat" in name for name in plain)  # as fingerprints of old
    assert fingerprint(make_run("other", {"training": {"validate_every": 3, "plateau_factor": 0.3}})) == plain
    one, two = ({"training": {**PLATEAU, "validate_every": every}} for every in (3, 4))
    assert schedule.changed(fingerprint(make_run("one", one)), fingerprint(make_run("two", two))) == [
        "training.validate_every"
    ]


def test_a_plateau_without_validation_is_refused():
    with pytest.raises(ParameterError, match="there is no validation sample"):
        schedule.check_plateau(TrainingParams(schedule="plateau"), validated=False)


def test_a_seal_of_old_says_nothing_of_plateaus(make_run):
    run = make_run(values={"training": {"steps": 5}})
    train_here(run)
    place = run.checkpoints / "step_00000005"
    seal = files.read_json(place / "COMMITTED")
    del seal["plateau"]
    files.write_json(place / "COMMITTED", seal)
    assert checkpoint.progress_of(place).plateau is None
