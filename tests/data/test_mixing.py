"""How groups are mixed in training: shares are exact, each draw has one taker, and no step depends on those before."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.config import ParameterError, check
from stepladder.core.schema import MixedTrainingParams, TrainingParams
from stepladder.data.mixing import order_of, shares
from stepladder.data.sampling import Order, SamplingError, StepBatches

SEEDS = st.integers(0, 2**63)
SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)
WAYS = st.sampled_from(["mixed", "alternating", "sequential"])
QUIETLY = settings(deadline=None, max_examples=50)


class Groups:
    """A dataset of groups `g0`, `g1`, ... of these sizes."""

    def __init__(self, sizes, weights=None):
        self.groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
        self.weights = weights or {}

    def __len__(self):
        return len(self.groups)


def ordered(data, seed=0, stages=((0, 60),), **values):
    return order_of(data, MixedTrainingParams(**values), seed, stages)


def groups_of(order, data, batch, steps):
    """The groups that each step draws from, step by step."""
    taken = [
        [data.groups[index] for _, index in draws]
        for step in steps
        for draws in StepBatches(order, batch, 0, 0).step(step)
    ]
    return [Counter(str(name) for name in step) for step in taken]


def test_a_study_that_does_not_offer_mixing_draws_as_ever():
    data, plain = Groups([5, 9], {"g0": 1.0, "g1": 2.0}), TrainingParams(batch=3)
    wanted = Order(data.groups, data.weights, 7)
    for training in (plain, MixedTrainingParams(batch=3)):
        order = order_of(data, training, 7, [(0, 10)])
        assert type(order) is Order and [order.index(n) for n in range(200)] == [wanted.index(n) for n in range(200)]


@QUIETLY
@given(sizes=SIZES, temperature=st.floats(0, 3), seed=SEEDS)
def test_shares_follow_the_temperature(sizes, temperature, seed):
    data = Groups(sizes, {"g0": 1.0})  # what the study says does not matter then
    order = ordered(data, seed, temperature=temperature)
    drawn = Counter(str(data.groups[order.index(n)]) for n in range(2 * order.block))
    for group, size in enumerate(sizes):
        share = size**temperature / sum(other**temperature for other in sizes)
        assert abs(drawn[f"g{group}"] - share * 2 * order.block) <= 1


def test_temperature_draws_no_group_that_the_study_leaves_out():
    assert shares(Groups([4, 9], {"g0": 0.0, "g1": 1.0}), MixedTrainingParams(temperature=0.5)) == {"g0": 0, "g1": 3}


@QUIETLY
@given(sizes=SIZES, batch=st.integers(1, 7), seed=SEEDS, rounds=st.integers(1, 4))
def test_alternating_steps_are_of_one_group_each_and_all_have_as_many(sizes, batch, seed, rounds):
    data = Groups(sizes)
    order = ordered(data, seed, mixing="alternating", batch=batch)
    taken = groups_of(order, data, batch, range(rounds * len(sizes)))
    assert [list(step) for step in taken] == [[f"g{i}"] for i in range(len(sizes))] * rounds


@QUIETLY
@given(
    sizes=SIZES,
    weights=st.lists(st.floats(0.5, 2.0), min_size=5, max_size=5),
    batch=st.integers(1, 7),
    stages=st.lists(st.integers(40, 70), min_size=1, max_size=3),
    seed=SEEDS,
)
def test_sequential_gives_every_group_its_share_of_every_stage_in_one_piece(sizes, weights, batch, stages, seed):
    names = [f"g{i}" for i in range(len(sizes))]
    data = Groups(sizes, dict(zip(names, weights, strict=False)))
    ends = np.cumsum(stages).tolist()
    spans = list(zip([0, *ends], ends, strict=False))
    order = ordered(data, seed, spans, mixing="sequential", batch=batch)
    for begin, end in spans:
        taken = groups_of(order, data, batch, range(begin, end))
        assert all(len(step) == 1 for step in taken)
        turns = [next(iter(step)) for step in taken]
        assert turns == sorted(turns)  # in one piece, in the order of names
        for name in names:
            share = data.weights[name] / sum(data.weights.values())
            assert abs(turns.count(name) - share * (end - begin)) <= 1


@QUIETLY
@given(sizes=SIZES, way=WAYS, batch=st.integers(1, 7), seed=SEEDS)
def test_a_groups_samples_come_in_epochs_whichever_way(sizes, way, batch, seed):
    data = Groups(sizes)
    order = ordered(
        data, seed, [(0, 40 * len(sizes))], mixing=way, batch=batch, temperature=None if way == "alternating" else 0
    )
    drawn = [order.index(n) for n in range(40 * len(sizes) * batch)]
    for group, size in enumerate(sizes):
        mine = [index for index in drawn if data.groups[index] == f"g{group}"]
        for epoch in range(len(mine) // size):
            assert len(set(mine[epoch * size : (epoch + 1) * size])) == size


@QUIETLY
@given(
    sizes=SIZES,
    way=WAYS,
    batch=st.integers(1, 12),
    world=st.integers(1, 3),
    accumulate=st.integers(1, 2),
    start=st.integers(0, 59),
    seed=SEEDS,
)
def test_each_draw_has_one_taker_and_resuming_changes_nothing(sizes, way, batch, world, accumulate, start, seed):
    if batch < world * accumulate:
        return
    data, values = Groups(sizes), {"mixing": way, "batch": batch}
    if way == "sequential":
        values["temperature"] = 0.0
    whole = [draw for micro in StepBatches(ordered(data, seed, **values), batch, 0, 60) for draw in micro]
    assert [n for n, _ in whole] == list(range(60 * batch))
    ranks = [StepBatches(ordered(data, seed, **values), batch, start, 60, r, world, accumulate) for r in range(world)]
    assert sorted(draw for rank in ranks for micro in rank for draw in micro) == whole[start * batch :]


def test_what_cannot_be_mixed_so_is_refused_in_words():
    with pytest.raises(SamplingError, match=r"leaves no step of a stage of 2 to the group 'g0' of g0, g1, g2: raise"):
        ordered(Groups([1, 50, 50]), stages=[(0, 60), (60, 62)], mixing="sequential")
    with pytest.raises(SamplingError, match="not fixed: use mixed or alternating"):
        ordered(Groups([5]), stages=None, mixing="sequential")
    with pytest.raises(ParameterError, match=r"temperature = 0\.5 has no effect"):
        check(MixedTrainingParams, {"mixing": "alternating", "temperature": 0.5})
