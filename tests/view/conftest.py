import numpy as np
import pytest

from stepladder.view import scene as view
from stepladder.view.scene import Lines, Panel, Scene

PALETTE = {1: ("house", "#c9803f"), 2: ("road", "#7a6a86")}


@pytest.fixture
def scene():
    occ = np.zeros((12, 10, 5), np.uint8)
    occ[:, :, 0] = 2
    occ[2:6, 2:6, :4] = 1
    path = Lines((np.array([[0.0, 0, 3], [10, 8, 3]]),), "path", "#d98e04")
    return Scene("Test", (Panel("truth", (view.voxels(occ, PALETTE, 0.5, (0, 0, 0), 0), path)),))
