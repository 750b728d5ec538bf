"""Sizes are read in the unit of the largest of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import units


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e16)), min_size=1))
def test_a_column_has_one_unit_in_which_its_largest_is_at_least_one(sizes):
    name, shown = units.column(sizes)
    one = {**units.UNITS, "bytes": 1.0}[name]
    assert [size is None for size in shown] == [size is None for size in sizes]
    known = [size for size in sizes if size is not None]
    assert [size * one for size in shown if size is not None] == pytest.approx(known)
    if known and max(known) >= 1:
        assert max(known) / one >= 1


def test_nothing_known_is_nothing():
    assert units.column([None, None]) == ("bytes", [None, None])
    assert units.column([float("nan"), 2.5e6])[0] == "MB"


@given(st.floats(-1e12, 1e12), st.integers(2, 4))
def test_digits_are_the_number_rounded_and_never_an_exponent_of_a_large_one(value, significant):
    said = units.digits(value, significant)
    assert "e+" not in said
    assert float(said.replace(",", "")) == pytest.approx(value, rel=10.0 ** (1 - significant), abs=1e-300)


def test_digits_as_people_read_them():
    assert [units.digits(value) for value in (1370.2, 999.7, 64.3, 0.0123)] == ["1,370", "1,000", "64.3", "0.0123"]
    assert units.digits(120.0, 2) == "120"
    assert [units.counted(number, "stage") for number in (0, 1, 7)] == ["0 stages", "1 stage", "7 stages"]
