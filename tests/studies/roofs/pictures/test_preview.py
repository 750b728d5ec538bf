"""Previews of training samples: all labels over the same image, and what is not labelled said so."""

import io

import numpy as np
import pytest

from stepladder.studies.roofs.data.labels import IGNORE
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import preview, style
from tests.studies.roofs.pictures import houses

PARAMS = RoofsParams.model_validate({"study": "roofs"})


def panels(figure):
    return {axis.get_title(loc="left") or axis.get_title(): axis for axis in figure.axes}


def told(figure):
    return {text.get_text() for legend in figure.legends for text in legend.get_texts()}


def test_a_sample_has_its_image_and_five_maps_of_the_same_extent():
    figure = preview.preview(houses.sample(), PARAMS)
    axes = panels(figure)
    names = ["image", "superstructures", "faces", "outline", "lines", "rise above the eave"]
    assert [name for name in axes if name] == names
    assert {tuple(axes[name].images[0].get_extent()) for name in names} == {(0, houses.SIDE, houses.SIDE, 0)}
    assert told(figure) == {"pvmodule", "window", "chimney", "roof", "ridge", "hip", "eave"}
    assert "12.8 x 12.8 m" in figure.get_suptitle()


def test_both_heights_are_shown_where_both_are_labelled():
    sample = houses.sample() | {"height_labelled_YX": np.ones((houses.SIDE, houses.SIDE), np.uint8)}
    assert {"rise above the eave", "height above ground"} <= panels(preview.preview(sample, PARAMS)).keys()


def test_what_a_source_does_not_label_is_striped_and_says_so():
    figure = preview.preview(houses.sample(labelled=False), PARAMS)
    silent = {name for name, axis in panels(figure).items() if style.NOT_LABELLED in {t.get_text() for t in axis.texts}}
    assert silent == {"superstructures", "faces", "lines", "rise above the eave"}
    assert told(figure) == {"roof", style.NOT_LABELLED}


def test_a_sample_labelled_in_part_is_striped_in_part():
    sample = houses.sample()
    sample["face_YX"][:, :20] = IGNORE
    axis = panels(preview.preview(sample, PARAMS))["faces"]
    colour_YXC = axis.images[-1].get_array()
    assert len(np.unique(colour_YXC[:, :20].reshape(-1, 4), axis=0)) == 2 and not axis.texts


def test_a_line_nobody_typed_is_grey():
    sample = houses.sample()
    sample["line_labelled_KVU"][:6] = 0
    sample["closeness_KVU"][:6] = 0
    assert "line of no type" in told(preview.preview(sample, PARAMS))


@pytest.mark.slow
def test_the_same_sample_gives_the_same_picture():
    def drawn():
        preview.preview(houses.sample(), PARAMS).savefig(buffer := io.BytesIO(), format="png")
        return buffer.getvalue()

    assert drawn() == drawn()
