"""Paired tests: equal to scipy's and to textbook numbers, and honest about what a number of questions can show."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stepladder.evaluation import metrics
from stepladder.studies.captions.evaluation import paired
from tests.studies.captions.evaluation.drawn_cases import params


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_the_binomial_test_of_scipy(one: int, two: int) -> None:
    expected = stats.binomtest(one, one + two).pvalue if one + two else 1.0
    assert paired.exact(one, two) == pytest.approx(expected)


def test_only_questions_on_which_the_two_differ_count() -> None:
    first = np.array([1, 1, 1, 1, 1, 1, 0, 0] + [1] * 50, bool)
    second = np.array([0, 0, 0, 0, 0, 0, 1, 0] + [1] * 50, bool)
    found = paired.mcnemar(first, second)
    assert (found.first, found.second) == (6, 1)
    assert found.p == pytest.approx(0.125)
    assert paired.mcnemar(first[:8], second[:8]).p == found.p


def test_answers_to_different_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="4 and 3 answers"):
        paired.mcnemar(np.ones(4), np.ones(3))


@pytest.mark.parametrize(("accuracy", "count", "points"), [(0.742, 124, 7.6), (0.692, 143, 7.5), (0.5, 1901, 2.2)])
def test_half_widths_are_those_of_the_benchmark(accuracy: float, count: int, points: float) -> None:
    assert 100 * paired.half_width(accuracy, count) == pytest.approx(points, abs=0.15)
    ends = stats.binomtest(round(accuracy * count), count).proportion_ci(method="wilson")
    assert paired.half_width(round(accuracy * count) / count, count) == pytest.approx((ends.high - ends.low) / 2)


def test_the_smallest_detectable_difference_is_one_the_test_accepts_and_the_next_smaller_is_not() -> None:
    count, differing = 124, 0.25
    pairs = round(count * differing)
    lead = round(paired.detectable(count, differing) * count)
    assert paired.exact((pairs + lead) // 2, (pairs - lead) // 2) < paired.LEVEL
    assert paired.exact((pairs + lead) // 2 - 1, (pairs - lead) // 2 + 1) >= paired.LEVEL
    assert np.isnan(paired.detectable(100, 0.05)), "five differing questions can never be more than chance"


def test_the_paired_bootstrap_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(60) < 0.8, rng.random(60) < 0.6
    ours = _compared(first, second, np.arange(60))
    theirs = stats.bootstrap(
        (first.astype(float), second.astype(float)),
        lambda one, other, axis: one.mean(axis=axis) - other.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours["value"] == pytest.approx(first.mean() - second.mean())
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_copies_of_a_picture_make_an_interval_no_narrower() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random(30) < 0.8, rng.random(30) < 0.6
    once = _compared(first, second, np.arange(30))
    four = _compared(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(30), 4))
    assert (once["low"], once["high"]) == pytest.approx((four["low"], four["high"]))


def _compared(first: np.ndarray, second: np.ndarray, family: np.ndarray) -> dict[str, float]:
    rows = [
        {"method": method, "metric": "m", "unit": f"{unit:03d}", "part": "", "numerator": float(right)}
        for method, values in (("first", first), ("second", second))
        for unit, right in zip(family, values, strict=True)
    ]
    records = pd.DataFrame(rows).assign(denominator=1.0, support=1.0)
    return metrics.compare(records, "m", "first", "second", params(bootstrap=4000).evaluation, 0)
