"""The truncated transform is exact, whatever the mask, the cap and the library."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from stepladder.studies.scroll.data.distance import squared_distance

MASKS = arrays.arrays(
    bool, arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=17), elements=st.booleans()
)


def full(mask_ZYX: np.ndarray, cap: int) -> np.ndarray:
    """scipy's transform, squared and cut off."""
    if not mask_ZYX.any():
        return np.full(mask_ZYX.shape, cap, np.uint8)
    return np.minimum(np.rint(distance_transform_edt(~mask_ZYX) ** 2), cap).astype(np.uint8)


@settings(max_examples=60)
@given(MASKS, st.integers(1, 255))
def test_equal_to_the_full_transform_cut_off(mask_ZYX, cap):
    found = squared_distance(mask_ZYX, cap)
    assert found.dtype == np.uint8 and np.array_equal(found, full(mask_ZYX, cap))


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([1, 9, 64, 100, 225, 255]))
def test_sparse_masks_reach_the_cap_exactly(seed, cap):
    mask_ZYX = np.random.default_rng(seed).random((20, 23, 26)) < 0.002
    assert np.array_equal(squared_distance(mask_ZYX, cap), full(mask_ZYX, cap))


@settings(max_examples=30)
@given(MASKS, st.integers(1, 255))
def test_torch_says_the_same_and_batches_stay_apart(mask_ZYX, cap):
    batch = torch.from_numpy(np.stack([mask_ZYX, ~mask_ZYX]))[:, None]
    found = squared_distance(batch, cap)
    assert found.dtype == torch.uint8 and found.shape == batch.shape
    for item, mask in zip(found[:, 0].numpy(), (mask_ZYX, ~mask_ZYX), strict=True):
        assert np.array_equal(item, squared_distance(mask, cap))


def test_the_mask_is_not_written_to():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1] = True
    before, tensor = mask.copy(), torch.from_numpy(mask.copy())
    squared_distance(mask, 64), squared_distance(tensor, 64)
    assert np.array_equal(mask, before) and np.array_equal(tensor.numpy(), before)


@pytest.mark.parametrize("cap", [0, 256])
def test_a_cap_that_does_not_fit_a_byte_is_refused(cap):
    with pytest.raises(ValueError, match=f"cap = {cap}"):
        squared_distance(np.ones((2, 2, 2), bool), cap)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same():
    mask_ZYX = np.random.default_rng(0).random((48, 50, 52)) < 0.01
    found = squared_distance(torch.from_numpy(mask_ZYX).cuda(), 64)
    assert found.is_cuda and np.array_equal(found.cpu().numpy(), full(mask_ZYX, 64))
