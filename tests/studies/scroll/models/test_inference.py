"""Sliding windows cover every voxel, blend without seams, and agree with a single pass where one is enough."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.scroll.models import inference, unet
from tests.studies.scroll import small_sheets


@settings(max_examples=40)
@given(size=st.integers(1, 400), window=st.integers(1, 200), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_from_end_to_end_with_the_overlap(size, window, overlap):
    window = min(size, window)
    starts = inference.starts(size, window, overlap)
    assert starts[0] == 0 and starts[-1] == size - window and starts == sorted(set(starts))
    largest = max((b - a for a, b in itertools.pairwise(starts)), default=0)
    assert largest <= max(1.0, window * (1 - overlap)) + 1  # places are whole voxels


@settings(max_examples=15)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3), patch=st.tuples(*[st.integers(1, 12)] * 3), overlap=st.floats(0, 0.75)
)
def test_a_constant_network_gives_a_constant_volume(shape, patch, overlap):
    result = inference.sliding_window(lambda image: torch.full_like(image, 0.7), torch.randn(shape), patch, overlap)
    assert result.shape == shape and torch.allclose(result, torch.full(shape, 0.7), rtol=1e-5)


def test_what_a_network_says_of_a_voxel_arrives_at_that_voxel():
    image = torch.randn(17, 12, 9)
    assert torch.allclose(inference.sliding_window(lambda x: 3 * x, image, (8, 8, 8), 0.5), 3 * image, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 9, 12)])
def test_one_window_is_a_single_pass(shape):
    """Where the patch is the volume, and where the volume is smaller than the patch."""
    torch.manual_seed(0)
    model, image = unet.build(small_sheets.params()).eval(), torch.randn(shape)
    with torch.no_grad():
        whole, alone = inference.sliding_window(model, image, (16, 16, 16), 0.5), model(image[None])[0]
    assert torch.allclose(whole, alone, atol=1e-5)


def test_windows_count_most_in_their_middle():
    weight = inference.gaussian((9, 9, 5))
    assert weight.shape == (9, 9, 5) and weight[4, 4, 2] == 1 and weight.min() > 0
    assert torch.equal(weight, weight.flip(0)) and weight[0, 4, 2] < weight[2, 4, 2] < weight[4, 4, 2]


def test_prediction_of_a_batch_is_that_of_its_volumes():
    torch.manual_seed(0)
    model, batch = unet.build(small_sheets.params()).eval(), small_sheets.batch(2, (20, 16, 18))
    prediction = inference.predict(model, batch)
    assert prediction["probability_BZYX"].shape == prediction["mask_BZYX"].shape == (2, 20, 16, 18)
    assert prediction["mask_BZYX"].dtype == torch.uint8 and prediction["probability_BZYX"].min() >= 0
    one = inference.predict(model, {name: value[1:] for name, value in batch.items()})
    assert torch.equal(one["probability_BZYX"][0], prediction["probability_BZYX"][1])
