"""A law that is known is found again from noisy losses, and what data do not tell is said so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.scaling import law, optimum
from stepladder.scaling.law import LawError
from stepladder.scaling.optimum import Price

SIZES, UNITS = np.geomspace(5e3, 5e5, 6), np.array([10.0, 25.0, 60.0, 150.0, 400.0])
GRID = np.array([(size, units) for size in SIZES for units in UNITS])
AXES = ("parameters", "units")


def losses(floor, size_share, exponents, noise=0.0, seed=0, grid=GRID):
    """E + A N^-a + B D^-b whose terms are `size_share` and 1 - `size_share` at the first point, with log noise."""
    terms = np.array([size_share, 1 - size_share]) * (grid / grid[0]) ** -np.asarray(exponents)
    noisy = noise * np.random.default_rng(seed).standard_normal(len(grid))
    return (floor + terms.sum(1)) * np.exp(noisy)


def fitted(loss_P, grid=GRID, replicates=20, runs=None):
    return law.fit(AXES, grid, loss_P, range(len(grid)) if runs is None else runs, replicates)


@settings(max_examples=10)
@given(st.floats(0.001, 0.03), st.floats(0.25, 0.75), st.floats(0.25, 0.8), st.floats(0.25, 0.8), st.integers(0, 99))
def test_a_known_law_is_found_again_from_noisy_losses(floor, share, size_exponent, data_exponent, seed):
    loss_P = losses(floor, share, (size_exponent, data_exponent), noise=0.01, seed=seed)
    found = fitted(loss_P, replicates=1)
    assert found.exponent_RK[0] == pytest.approx([size_exponent, data_exponent], rel=0.25, abs=0.03)
    inside = found.predict(GRID).value
    assert inside == pytest.approx(losses(floor, share, (size_exponent, data_exponent)), rel=0.03)


def test_without_noise_the_law_is_exact():
    found = fitted(losses(0.02, 0.5, (0.4, 0.7)), replicates=1)
    assert found.exponent_RK[0] == pytest.approx([0.4, 0.7], rel=1e-3)
    assert found.floor_R[0] == pytest.approx(0.02, rel=1e-2)
    assert found.formula().startswith("0.02 + ")


@pytest.mark.slow
def test_bands_cover_the_truth_and_new_runs_about_as_often_as_they_say():
    truth, beyond = (0.01, 0.5, (0.4, 0.6)), np.array([[2e6, 1600.0]])
    at = losses(*truth, grid=np.concatenate([GRID[:1], beyond]))[1]
    rounds, curve, single = 12, 0, 0
    for seed in range(rounds):
        found = fitted(losses(*truth, noise=0.05, seed=seed))
        new = at * np.exp(0.05 * np.random.default_rng(1000 + seed).standard_normal())
        low, high = (found.predict(beyond)[part][0] for part in (1, 2))
        curve += low <= at <= high
        low, high = (found.predict(beyond, scatter=True)[part][0] for part in (1, 2))
        single += low <= new <= high
    assert curve >= 0.75 * rounds and single >= 0.75 * rounds  # 95 % are meant; below 9 of 12 by chance: 2e-3


def test_one_bad_run_does_not_bend_the_law():
    loss_P = losses(0.005, 0.5, (0.4, 0.6), noise=0.01)
    loss_P[7] *= 5
    found = fitted(loss_P, replicates=1)
    assert found.exponent_RK[0] == pytest.approx([0.4, 0.6], rel=0.3)
    assert abs(found.residual_P[7]) > 1.3


def test_a_term_the_data_do_not_tell_is_said_so():
    flat = fitted(losses(0.01, 1.0 - 1e-9, (0.5, 0.5), noise=0.02)).terms().set_index("number")["told"]
    assert flat["exponent of parameters"] == "yes"
    assert "not told" in flat["exponent of units"]
    steep = fitted(losses(1e-9, 0.5, (0.5, 0.5), noise=0.05)).terms().set_index("number")["told"]
    assert "not told" in steep["E (floor)"]


@pytest.mark.parametrize(
    ("grid", "loss_P", "words"),
    [
        (GRID[:5], np.ones(5), "too few"),
        (GRID[:10], np.ones(10), "2 values of parameters are too few"),
        (GRID, np.where(np.arange(len(GRID)) == 3, np.nan, 1.0), "diverged"),
        (GRID, np.where(np.arange(len(GRID)) == 3, 0.0, 1.0), "positive"),
    ],
)
def test_losses_that_tell_no_law_are_refused(grid, loss_P, words):
    with pytest.raises(LawError, match=words):
        fitted(loss_P, grid)


def test_three_runs_tell_no_band():
    with pytest.raises(LawError, match="3 runs are too few for a band"):
        fitted(losses(0.01, 0.5, (0.4, 0.6)), runs=np.arange(len(GRID)) % 3)


@given(st.floats(0.5, 1.0), st.floats(12.0, 16.0))
@settings(max_examples=15)
def test_the_best_size_is_the_minimum_along_a_budget(power, log_flops):
    found = LAW_OF_TIME
    price, flops = Price(6.0, power), 10.0**log_flops
    best = optimum.best(found, price, flops)
    for factor in (0.8, 1.25):
        parameters = best.parameters.value * factor
        other = found.predict(np.array([[parameters, price.samples(flops, parameters)]])).value[0]
        assert other >= best.loss.value
    assert price.of(best.parameters.value) * best.samples.value == pytest.approx(flops)


LAW_OF_TIME = fitted(losses(0.01, 0.5, (0.4, 0.6)), replicates=2)


def test_prices_of_sizes_follow_a_power():
    parameters = np.array([1e3, 1e4, 1e5])
    price = Price.fit(parameters, 6 * parameters**0.9)
    assert (price.scale, price.power) == pytest.approx((6, 0.9))
    assert price.samples(6e9, 1.0) == pytest.approx(1e9)


def test_the_recommendation_names_a_measured_size_or_says_that_none_is_near():
    rows = optimum.table(LAW_OF_TIME, Price(6.0, 1.0), [1e9, 1e30], {"small": 5_000, "large": 500_000})
    assert rows["measured size"].tolist()[-1] == "larger than any"
    assert set(rows["measured size"]) <= {"small", "large", "larger than any", "smaller than any"}
