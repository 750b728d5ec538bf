"""Which sample is drawn when: the promises of `stepladder.data.sampling`, for any dataset, batch, rank and step."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from stepladder.data.sampling import (
    DRAW,
    PLAIN,
    Drawn,
    Order,
    SamplingError,
    StepBatches,
    Stream,
    loader,
    philox,
    torch_seed,
    validation_batches,
)

SEEDS = st.integers(0, 2**63)
QUIETLY = settings(deadline=None, max_examples=50)  # time is measured elsewhere


class Numbers:
    """A dataset whose sample shows its index and its randomness."""

    def __init__(self, size):
        self.weights = {}
        self.groups = np.array(["a"] * size)

    def __len__(self):
        return len(self.groups)

    def sample(self, index, rng):
        return {"index": index, "noise": np.float32(rng.random() if rng else -1.0)}


@QUIETLY
@given(size=st.integers(1, 300), seed=SEEDS, epochs=st.integers(1, 4))
def test_without_weights_every_epoch_is_a_permutation(size, seed, epochs):
    order = Order(["a", "b"] * (size // 2) + ["a"] * (size % 2), {}, seed)
    for epoch in range(epochs):
        assert sorted(order.index(n) for n in range(epoch * size, (epoch + 1) * size)) == list(range(size))


def test_epochs_and_seeds_differ():
    order = Order(["a"] * 50, {}, 0)
    first, second = ([order.index(n) for n in range(start, start + 50)] for start in (0, 50))
    other = [Order(["a"] * 50, {}, 1).index(n) for n in range(50)]
    assert first != second and first != other and first != sorted(first)


@QUIETLY
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    shares=st.lists(st.floats(0.01, 10.0), min_size=5, max_size=5),
    seed=SEEDS,
)
def test_weighted_shares_are_exact_and_no_sample_comes_twice_in_an_epoch(sizes, shares, seed):
    names = [f"g{i}" for i in range(len(sizes))]
    groups = np.repeat(names, sizes)
    weights = dict(zip(names, shares, strict=False))
    order = Order(groups, weights, seed)
    draws = 3 * order.block + 17
    drawn = [order.index(n) for n in range(draws)]
    for name, size in zip(names, sizes, strict=True):
        mine = [i for i in drawn if groups[i] == name]
        share = weights[name] / sum(weights.values())
        blocks = len([i for i in drawn[: 3 * order.block] if groups[i] == name])
        assert abs(blocks - share * 3 * order.block) <= 1
        epochs, rest = divmod(len(mine), size)
        for epoch in range(epochs):
            assert len(set(mine[epoch * size : (epoch + 1) * size])) == size
        assert len(set(mine[len(mine) - rest :])) == rest


@QUIETLY
@given(seed=SEEDS, numbers=st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_a_draw_does_not_depend_on_what_was_asked_before(seed, numbers):
    groups, weights = ["a"] * 7 + ["b"] * 30 + ["c"] * 3, {"a": 1.0, "b": 0.3, "c": 2.0}
    one = Order(groups, weights, seed)
    assert [one.index(n) for n in numbers] == [Order(groups, weights, seed).index(n) for n in numbers]


@QUIETLY
@given(
    batch=st.integers(1, 24),
    world=st.integers(1, 5),
    accumulate=st.integers(1, 4),
    start=st.integers(0, 9),
    seed=SEEDS,
)
def test_each_draw_has_one_taker_for_any_ranks_micro_batches_and_start(batch, world, accumulate, start, seed):
    order, stop = Order(["a"] * 40, {}, seed), 10
    if batch < world * accumulate:
        with pytest.raises(SamplingError, match=f"at least {world * accumulate}"):
            StepBatches(order, batch, start, stop, 0, world, accumulate)
        return
    ranks = [StepBatches(order, batch, start, stop, rank, world, accumulate) for rank in range(world)]
    taken = [draw for rank in ranks for micro in rank for draw in micro]
    numbers = [n for n, _ in taken]
    assert sorted(numbers) == list(range(start * batch, stop * batch))
    assert all(order.index(n) == index for n, index in taken)
    assert all(len(list(rank)) == len(rank) == (stop - start) * accumulate for rank in ranks)
    assert all(micro for rank in ranks for micro in rank)


@pytest.mark.slow
def test_loader_processes_change_nothing():
    data = Numbers(10)
    batches = StepBatches(Order(data.groups, {}, 3), 4, 2, 7)
    plain, parallel = (list(loader(Drawn(data, 3), batches, workers, 2)) for workers in (0, 2))
    for one, two in zip(plain, parallel, strict=True):
        assert torch.equal(one["index"], two["index"]) and torch.equal(one["noise"], two["noise"])


def test_opening_a_loader_leaves_torchs_generator_alone():
    data, before = Numbers(4), torch.get_rng_state()
    list(loader(Drawn(data, 0), StepBatches(Order(data.groups, {}, 0), 2, 0, 2), 0, 2))
    assert torch.equal(before, torch.get_rng_state())


def test_augmentation_is_a_function_of_seed_and_draw():
    data = Numbers(5)
    noise = {(seed, n): Drawn(data, seed)[(n, 2)]["noise"] for seed in (0, 1) for n in range(50)}
    assert len(set(noise.values())) == 100
    assert Drawn(data, 1)[(7, 2)]["noise"] == noise[1, 7]
    assert np.random.Generator(philox(1, DRAW, 7)).random() == pytest.approx(noise[1, 7])


def test_validation_samples_are_plain_fixed_and_come_when_due():
    data = Numbers(100)
    fixed = validation_batches(100, 4, 2)
    assert [index for batch in fixed for _, index in batch] == [0, 14, 28, 42, 57, 71, 85, 99]
    steps = StepBatches(Order(data.groups, {}, 0), 4, 0, 4)
    drawn = Drawn(data, 0, data)
    served = [default_collate([drawn[draw] for draw in batch]) for batch in Stream(steps, fixed, lambda s: s % 2 == 0)]
    assert [bool((batch["noise"] < 0).all()) for batch in served] == [False, False, True, True] * 2


@QUIETLY
@given(size=st.integers(0, 50), batch=st.integers(1, 9), count=st.integers(1, 4), world=st.integers(1, 3))
def test_validation_gives_every_rank_as_many_batches(size, batch, count, world):
    parts = [validation_batches(size, batch, count, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    together = [draw for part in parts for one in part for draw in one]
    assert len(together) == len(parts[0]) * batch
    assert all(n == PLAIN and 0 <= index < size for n, index in together)


def test_places_of_a_stream_are_independent():
    seeds = Counter(torch_seed(0, step, part) for step in range(150) for part in range(4))
    assert max(seeds.values()) == 1
    assert philox(0, 1, 5).random_raw() != philox(0, 2, 5).random_raw()


def test_samples_that_cannot_be_drawn_are_named():
    with pytest.raises(SamplingError, match="no samples to draw"):
        Order([], {}, 0)
    with pytest.raises(SamplingError, match="no weight for the group 'b'"):
        Order(["a", "b"], {"a": 1.0}, 0)
    with pytest.raises(SamplingError, match="all weights are zero"):
        Order(["a"], {"a": 0.0}, 0)


def test_a_group_of_weight_zero_is_never_drawn_and_absent_groups_do_not_matter():
    order = Order(["a", "b", "a"], {"a": 2.0, "b": 0.0, "elsewhere": 5.0}, 0)
    assert {order.index(n) for n in range(200)} == {0, 2}
