"""When checkpoints are due: by steps, or by what they cost."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.schema import TrainingParams
from stepladder.training import saving
from stepladder.training.parallel import DistributedContext
from stepladder.training.saving import FIRST, Saves, interval
from tests.training.conftest import flat, train_here, untimed, weights

MEASURED = {"checkpoint_every": 0, "interruption_hours": 2.0}


def lost_share(steps, save, step, mean):
    """Time lost by saving and by what is done again, as a share: of `steps` between saves, half is lost at a time."""
    seconds = steps * step
    return save / seconds + (seconds / 2 + save) / mean


@settings(deadline=None)
@given(save=st.floats(0.01, 600), step=st.floats(0.01, 10), hours=st.floats(0.5, 200))
def test_no_other_interval_loses_less_time(save, step, hours):
    mean = hours * 3600
    found = interval(save, step, mean)
    others = np.unique(np.geomspace(1, 20 * found + 2, 400).round())
    best = min(lost_share(n, save, step, mean) for n in others)
    assert lost_share(found, save, step, mean) <= best * 1.2 + 1e-12 or found == 1


def test_the_plan_of_captions_saves_hours():
    """Saves of 5 to 10 minutes every 50 steps of 3 s: with one interruption a day, every 2.0 to 2.8 hours is best."""
    seconds = [interval(60 * minutes, 3.0, 24 * 3600.0) * 3 for minutes in (5, 10)]
    assert seconds == pytest.approx([7200, 10182], rel=0.01)


def test_a_checkpoint_every_so_many_steps_needs_no_clock():
    saves = Saves(TrainingParams(checkpoint_every=5), DistributedContext())
    saves.open(0)
    assert [step for step in range(1, 21) if saves.due(step)] == [5, 10, 15, 20]


def test_measured_the_next_one_follows_from_what_the_last_cost(monkeypatch):
    clock = iter([100.0, 100.0 + FIRST * 0.5 + 4.0, 1000.0])
    monkeypatch.setattr(saving.time, "monotonic", lambda: next(clock))
    saves = Saves(TrainingParams(**MEASURED), DistributedContext())
    saves.open(40)
    assert next(step for step in range(41, 100) if saves.due(step)) == 40 + FIRST
    saves.done(40 + FIRST, 4.0)
    every = interval(4.0, 0.5, 7200.0)  # 480 steps
    assert next(step for step in range(61, 1000) if saves.due(step)) == 60 + every == 540


def test_no_result_depends_on_it(make_run):
    fixed, measured = make_run("fixed"), make_run("measured", {"training": MEASURED})
    train_here(fixed), train_here(measured)
    saved = [event["step"] for event in measured.events("checkpoint")]
    assert saved == [7, 14, 21, 28, 30]  # every validation was the best one, and that saves too
    assert saved != [event["step"] for event in fixed.events("checkpoint")]
    assert untimed(fixed) == untimed(measured)
    one, two = flat(weights(fixed)), flat(weights(measured))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    again = train_here(make_run("fixed", {"training": MEASURED})).run
    assert again.events("resumed"), "it may change on the way"
