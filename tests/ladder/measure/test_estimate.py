"""The rate of a trial is samples over the total time of whole rounds: unbiased where a step time is not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.ladder.forecast.loader_model import step_ends
from stepladder.ladder.measure.estimate import relative_half_width, settled, throughput


def data_bound(workers, seed, spread=0.1, rounds=40):
    """Step ends of a loader that delivers `workers` samples per second to a step that takes no time to speak of."""
    rng = np.random.default_rng(seed)
    prep_J = rng.normal(1.0, spread, (2 + rounds) * workers).clip(0.1)
    return step_ends(prep_J, 0.2 / workers, workers, 2)


@settings(max_examples=40)
@given(st.integers(1, 16), st.integers(0, 1000))
def test_the_rate_is_unbiased_for_any_number_of_workers(workers, seed):
    ends = data_bound(workers, seed)
    begin = ends[2 * workers - 1]
    rate, half_width = throughput(ends[2 * workers :], begin, 1, workers)
    assert rate == pytest.approx(workers, rel=0.06)
    assert half_width < 0.1 * rate


def test_the_median_step_time_is_forbidden():
    """With k workers batches come in bursts: the median of the same steps is several times too fast."""
    for workers in (4, 8, 16):
        ends = data_bound(workers, 0, spread=0.01)
        by_median = 1 / np.median(np.diff(ends[2 * workers :]))
        assert by_median > 2.5 * workers
        rate, _ = throughput(ends[2 * workers :], ends[2 * workers - 1], 1, workers)
        assert rate == pytest.approx(workers, rel=0.02)


def test_steps_after_the_last_whole_round_are_left_out():
    assert throughput([1, 2, 3, 4, 400], 0, 3, 2)[0] == 3.0


def test_without_a_whole_round_there_is_no_rate():
    with pytest.raises(ValueError, match="3 steps hold no whole round of 4"):
        throughput([1, 2, 3], 0, 1, 4)


def test_one_round_tells_nothing_about_its_spread():
    assert throughput([1, 2], 0, 1, 2) == (1.0, 1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        ends = np.cumsum(rng.normal(1, 0.2, 6))
        rate, half_width = throughput(ends, 0.0, 1, 1)
        hits += abs(rate - 1) < half_width
    assert 0.91 < hits / 400 < 0.99


def test_the_half_width_is_students():
    assert relative_half_width([9.0, 10.0, 11.0]) == pytest.approx(4.303 / 3**0.5 / 10, rel=1e-3)


def test_a_rate_is_sure_when_narrow_or_wholly_as_forecast():
    assert settled(100.0, 3.0) and not settled(100.0, 6.0)
    assert settled(100.0, 6.0, expected=102.0)
    assert not settled(100.0, 6.0, expected=108.0), "part of the interval is further off than a tenth"
    assert not settled(100.0, math.inf, expected=100.0)
