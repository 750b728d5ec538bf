"""Blocks that depart from the others are named; what chance or the nature of a list does is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.download.suspect import suspects

Mix = dict[str, int]


def drawn(rng: random.Random, rows: int, rates: dict[str, float]) -> Mix:
    """Rows of a block, each failing by chance."""
    found = rng.choices([*rates, "ok"], [*rates.values(), 1 - sum(rates.values())], k=rows)
    return {outcome: found.count(outcome) for outcome in sorted(set(found))}


@given(st.integers(0, 10**6))
def test_blocks_that_differ_by_chance_alone_are_not_suspect(seed: int):
    rng = random.Random(seed)
    rates = {"gone": 0.2, "dns": 0.05, "timeout": 0.02}
    assert not suspects({block: drawn(rng, 200, rates) for block in range(12)})


def test_blocks_that_are_all_alike_are_not_suspect_however_bad():
    assert not suspects({block: {"ok": 100, "dns": 900} for block in range(10)})


@pytest.mark.parametrize("bad", [{3}, {0, 1, 2}])
def test_a_block_whose_network_was_down_is_named_with_its_reason(bad: set[int]):
    rng = random.Random(1)
    usual, down = {"gone": 0.1, "dns": 0.02}, {"gone": 0.08, "dns": 0.4}
    found = suspects({block: drawn(rng, 500, down if block in bad else usual) for block in range(10)})
    assert {one.block for one in found} == bad and {one.outcome for one in found} == {"dns"}
    assert str(found[0]).startswith(f"{min(bad):05d}: ") and "% dns, the other blocks 2%" in str(found[0])


def test_of_two_blocks_the_one_that_failed_is_suspect():
    found = suspects({0: {"ok": 180, "gone": 20}, 1: {"gone": 20, "decode": 180}})
    assert [(one.block, one.outcome) for one in found] == [(1, "decode")]


def test_a_list_whose_stretches_differ_by_nature_raises_the_bar():
    rng = random.Random(2)
    mixes = {block: drawn(rng, 500, {"gone": 0.05 + 0.04 * block}) for block in range(10)}
    assert not suspects(mixes)


def test_a_handful_of_rows_is_no_evidence():
    assert not suspects({**{block: {"ok": 900, "gone": 100} for block in range(9)}, 9: {"gone": 3}})


def test_one_block_has_no_others():
    assert not suspects({0: {"dns": 1000}})
