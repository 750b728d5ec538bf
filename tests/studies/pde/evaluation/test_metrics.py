"""Error measures against values computed by hand, and PDEBench's averaging with and without its faults."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.pde.evaluation import compat, metrics


def line(*frames):
    """Frames of one trajectory of one field: (1, T, X, 1)."""
    return torch.tensor(frames, dtype=torch.float64)[None, ..., None]


TRUTH = line([3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0])
GUESS = line([3.0, 4.0, 1.0, 1.0], [2.0, 0.0, 2.0, 0.0])


def test_the_three_relative_errors_differ_and_each_is_its_formula():
    # frame 1: error (0, 0, 1, 1), root mean square sqrt(2/4); truth sqrt(25/4). frame 2: sqrt(4/4) and sqrt(4/4)
    assert metrics.rmse(GUESS, TRUTH)[0].tolist() == pytest.approx([np.sqrt(0.5), 1.0])
    assert metrics.nrmse(GUESS, TRUTH)[0].tolist() == pytest.approx([np.sqrt(2) / 5, 1.0])
    assert metrics.relative_l2(GUESS, TRUTH).tolist() == pytest.approx([np.sqrt(6 / 29)])
    spread = [np.std([3, 4, 0, 0]), np.std([0, 0, 2, 0])]
    assert metrics.vrmse(GUESS, TRUTH)[0].tolist() == pytest.approx([np.sqrt(0.5) / spread[0], 1.0 / spread[1]])


def test_largest_conserved_and_boundary_errors():
    assert metrics.largest(GUESS, TRUTH)[0].tolist() == [1.0, 2.0]
    assert metrics.conserved(GUESS, TRUTH)[0].tolist() == pytest.approx([2 / 4, 2 / 4])
    # the first and last cell: errors (0, 1) and (2, 0)
    assert metrics.boundary(GUESS, TRUTH)[0].tolist() == pytest.approx([np.sqrt(1 / 2), np.sqrt(4 / 2)])


def test_in_two_dimensions_corners_count_twice_on_the_boundary():
    error = torch.zeros(1, 1, 3, 4, 1, dtype=torch.float64)
    error[0, 0, 0, 0] = 1.0
    assert metrics.boundary(error, torch.zeros_like(error)).item() == pytest.approx(np.sqrt(2 / (2 * 3 + 2 * 4)))


def test_a_wave_shows_in_its_own_band_only():
    x = torch.arange(64, dtype=torch.float64) / 64
    widths = {"low": 4, "mid": 8, "high": 21}
    for wave, band in ((3, "low"), (4, "mid"), (11, "mid"), (12, "high"), (30, "high")):
        error = torch.sin(2 * np.pi * wave * x)[None, None, :, None]
        bands = {name: value.item() for name, value in metrics.fourier(error, torch.zeros_like(error)).items()}
        assert bands.pop(band) == pytest.approx(0.5 / widths[band]), "|rfft| / n of a sine is 1/2"
        assert max(bands.values()) < 1e-12


def test_a_band_the_grid_cannot_show_is_no_perfect_score():
    coarse = torch.ones(1, 1, 16, 16, 1, dtype=torch.float64)
    assert list(metrics.fourier(coarse, coarse)) == ["low", "mid"]


def test_rings_of_a_plane_wave():
    y, x = torch.meshgrid(*(torch.arange(32, dtype=torch.float64) / 32,) * 2, indexing="ij")
    error = torch.cos(2 * np.pi * (3 * x + 4 * y))[None, None, :, :, None]
    amplitude = metrics.spectrum(error)[0, 0, :, 0]
    assert amplitude.argmax().item() == 5, "the ring of |(3, 4)|"
    assert amplitude[5].item() == pytest.approx(0.5) and amplitude.sum().item() == pytest.approx(0.5)


@settings(max_examples=20)
@given(scale=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_relative_errors_do_not_depend_on_units(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    truth, guess = torch.randn(2, 2, 3, 8, 2, generator=generator, dtype=torch.float64)
    for measure in (metrics.nrmse, metrics.relative_l2, metrics.vrmse):
        assert torch.allclose(measure(scale * guess, scale * truth), measure(guess, truth))


def test_a_perfect_prediction_scores_exactly_zero_even_of_nothing():
    for truth in (TRUTH, torch.zeros_like(TRUTH)):
        for measure in (metrics.rmse, metrics.nrmse, metrics.relative_l2, metrics.vrmse):
            assert (measure(truth, truth) == 0).all()
        assert all((error == 0).all() for error in metrics.fourier(truth, truth).values())


# PDEBench's averaging ------------------------------------------------------------------------------------------------


def pair(count):
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(count, 12, 16, 1, generator=generator, dtype=torch.float64)
    return truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64), truth


def test_the_published_averaging_divides_by_one_batch_too_few():
    guess, truth = pair(20)
    published = compat.score(guess, truth, batch=5)
    mended = compat.score(guess, truth, batch=5, faults=False)
    assert mended["nRMSE"] == pytest.approx(metrics.nrmse(guess[:, 10:], truth[:, 10:]).mean().item())
    for name, value in mended.items():
        assert published[name] == pytest.approx(value * 4 / 3), name


def test_the_published_averaging_of_one_batch_is_refused():
    guess, truth = pair(5)
    with pytest.raises(ValueError, match="5 trajectories are one batch of 50: the published averaging divides by zero"):
        compat.score(guess, truth)
    assert compat.score(guess, truth, faults=False)["RMSE"] == pytest.approx(0.1, rel=0.2)


def test_given_frames_are_left_out_and_batches_decide_some_figures():
    guess, truth = pair(20)
    early = guess.clone()
    early[:, :10] += 100
    assert compat.score(early, truth, batch=5) == compat.score(guess, truth, batch=5)
    small, large = (compat.score(guess, truth, batch=batch, faults=False) for batch in (1, 20))
    assert large["max"] > small["max"] and large["cRMSE"] > small["cRMSE"]
    assert large["nRMSE"] == pytest.approx(small["nRMSE"])
    error = (guess - truth)[:, 10:]
    assert large["cRMSE"] == pytest.approx(error.mean(2).square().mean(0).sqrt().mean().item())


def test_the_published_splits():
    train, test = compat.split(95, "single")
    assert test.tolist() == list(range(9)) and train.tolist() == list(range(9, 95))
    train, test = compat.split(95, "groups")
    assert test.tolist() == list(range(85, 95)) and len(train) == 85, "cut at int(95 x 0.9)"


def test_what_cannot_be_scored_as_published_is_refused():
    guess, truth = pair(20)
    with pytest.raises(ValueError, match="need one shape"):
        compat.score(guess[:10], truth, batch=5)
    with pytest.raises(ValueError, match="more than initial_step = 10 frames"):
        compat.score(guess[:, :10], truth[:, :10], batch=5)
