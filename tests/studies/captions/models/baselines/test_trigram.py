"""The trigram: proper probabilities, Witten and Bell's numbers, and likelihoods that add up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.captions.models.baselines.trigram import START, Trigram, steps

answers = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=8)


@given(answers, st.tuples(st.integers(START, 6), st.integers(START, 6)))
def test_probabilities_after_anything_sum_to_one(told: list[list[int]], history: tuple[int, int]) -> None:
    model = Trigram(told, 7)
    assert sum(model.probability(token, history) for token in range(7)) == pytest.approx(1)


def test_probabilities_are_those_of_witten_and_bell() -> None:
    model = Trigram([[1, 2], [1, 3]], 4)
    unigram = (1 + 3 * 0.25) / (4 + 3)  # 2 is one of four tokens, of three kinds
    bigram = (1 + 2 * unigram) / (2 + 2)  # after 1: two tokens, of two kinds
    assert model.probability(2, (START, 1)) == pytest.approx((1 + 2 * bigram) / (2 + 2))
    assert model.probability(2, (3, 1)) == pytest.approx(bigram), "an unseen history is forgotten"


def test_what_was_seen_is_likelier_and_nothing_is_impossible() -> None:
    model = Trigram([[1, 2, 3]] * 5 + [[1, 4]], 50)
    assert model.likelihood([1, 2, 3]) > model.likelihood([1, 4]) > model.likelihood([3, 2, 1])
    assert math.isfinite(model.likelihood([49, 48]))


def test_every_token_stands_behind_the_two_before_it() -> None:
    assert list(steps([5, 6, 7])) == [((START, START), 5), ((START, 5), 6), ((5, 6), 7)]
