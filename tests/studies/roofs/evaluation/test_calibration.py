"""Reliability: true probabilities are calibrated, sure and wrong ones are not, and parts add up to the whole."""

import numpy as np
import pytest

from stepladder.studies.roofs.evaluation.calibration import Reliability


def drawn(seed: int, count: int = 50_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability_N = rng.random(count)
    return probability_N, rng.random(count) < probability_N


def test_true_probabilities_are_calibrated():
    found = Reliability()
    found.add(*drawn(0))
    assert found.error < 0.01
    assert found.table()["right"].to_numpy() == pytest.approx(found.table()["probability"].to_numpy(), abs=0.03)


def test_sure_and_half_wrong_is_off_by_half():
    found = Reliability()
    found.add(np.ones(100), np.arange(100) % 2 == 0)
    assert found.error == pytest.approx(0.5)
    assert found.table()[["from", "pixels"]].to_numpy().tolist() == [[0.9, 100]]


def test_two_images_add_up_to_one():
    parts, whole = Reliability(), Reliability()
    one, two = drawn(1, 500), drawn(2, 700)
    parts.add(*one)
    parts.add(*two)
    whole.add(*(np.concatenate(pair) for pair in zip(one, two, strict=True)))
    assert parts.error == pytest.approx(whole.error)
    assert np.isnan(Reliability().error)
