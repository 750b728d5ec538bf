"""Pictures of clips: what the window cuts off is said, a difference shows what is wrong in colours of its own."""

import numpy as np
import pytest

from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.pictures import scenes
from stepladder.view.style import MODEL
from tests.studies.plateau import block_town

GROUND, HOUSE = 11, 15


@pytest.fixture(scope="module")
def params():
    return block_town.params(past=2, future=2)


def clip(params, height):
    """Four frames of a house that is `height` voxels high, hollow as shells of models are, on its ground."""
    occ = np.full((4, 20, 20, 6), EMPTY, np.uint8)
    occ[..., 0] = GROUND
    occ[:, 5:10, 5:10, 1 : 1 + height] = HOUSE
    occ[:, 6:9, 6:9, 1:height] = EMPTY
    return occ


def test_a_window_that_cuts_houses_says_at_which_height(params):
    cut, whole = (scenes.clip_scene(clip(params, height), None, 2, params) for height in (5, 3))
    top = params.model.z_min_m + 6 * params.conversion.voxel_m
    assert f"ends {top:g} m above the road" in cut.note and "its walls stand as a ring" in cut.note
    assert whole.note == ""


def test_a_difference_tells_missed_invented_and_confused_apart(params):
    truth, forecast = clip(params, 3)[0], clip(params, 3)[0]
    forecast[5, 5, 1], forecast[0, 0, 1], forecast[0, 1, 0] = EMPTY, HOUSE, HOUSE
    found = scenes.difference(truth, forecast)
    assert found[5, 5, 1] == scenes.MISSED and found[0, 0, 1] == scenes.INVENTED and found[0, 1, 0] == scenes.CONFUSED
    colours = [colour for _, colour in scenes.DIFFERENCE_PALETTE.values()]
    assert len(set(colours)) == 4 and MODEL not in colours
