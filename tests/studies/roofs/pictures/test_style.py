"""Colours, legends and small parts: one colour one meaning, nothing in a legend that is not in the picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.figure import Figure

from stepladder.studies.roofs.data import crops
from stepladder.studies.roofs.data.labels import CHANNELS, FLAT, IGNORE, SECTORS, SUPERSTRUCTURES
from stepladder.studies.roofs.pictures import style


def test_every_class_line_type_and_sector_has_a_colour_of_its_own():
    for palette, count in (
        (style.SUPERSTRUCTURE, len(SUPERSTRUCTURES)),
        (style.LINE, CHANNELS),
        (style.FACE, FLAT + 1),
    ):
        assert len({colour for _, colour in palette.values()}) == len({name for name, _ in palette.values()}) == count


def test_opposite_bearings_have_opposite_hues_and_the_south_is_warm():
    hue = np.array([rgb_to_hsv(to_rgb(style.FACE[sector][1]))[0] for sector in range(SECTORS)])
    apart = np.abs(hue - np.roll(hue, SECTORS // 2)) % 1
    assert np.allclose(np.minimum(apart, 1 - apart), 0.5, atol=0.02)
    red, _, blue = to_rgb(style.FACE[SECTORS // 2][1])
    assert red > blue and style.FACE[SECTORS // 2][0] == "falls S"


def test_pixels_are_those_the_network_was_given():
    rgb_YXC = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    assert np.array_equal(style.pixels(crops.normalised(rgb_YXC)), rgb_YXC)


def test_a_map_of_classes_is_clear_where_it_has_no_colour_and_striped_where_nobody_labelled():
    labels_YX = np.zeros((40, 40), np.uint8)
    labels_YX[:, 20:] = IGNORE
    labels_YX[0, 0] = 1
    colour_YXC = style.painted(labels_YX, {1: ("one", "#ff0000")}, 0.5)
    assert colour_YXC[0, 0].tolist() == [1, 0, 0, 0.5] and (colour_YXC[1:, :20, 3] == 0).all()
    assert len(np.unique(colour_YXC[:, 20:].reshape(-1, 4), axis=0)) == 2


@given(st.floats(1e-3, 1e6))
def test_a_scale_bar_is_a_round_number_and_more_than_a_third_of_what_fits(most):
    length = style.round_length(most)
    assert most / 3 < length <= most * (1 + 1e-9)
    assert f"{length:e}"[0] in "125"


def test_a_scale_bar_is_as_long_as_it_says():
    axis = Figure().subplots()
    style.scale_bar(axis, (100, 400), 0.1)
    (bar,), (text,) = axis.lines, axis.texts
    assert np.ptp(bar.get_xdata()) * 0.1 == pytest.approx(float(text.get_text().removesuffix(" m")))


def test_legends_hold_what_occurs_once_and_in_order():
    labels = np.array([[0, 2, 2], [8, 8, IGNORE]])
    assert [handle.get_label() for handle in style.shown_superstructures(labels)] == ["pvmodule", "window"]
    assert [handle.get_label() for handle in style.legend_of_lines([3, 0, 3.0])] == ["ridge", "eave"]
    figure = Figure()
    style.add_legend(figure, style.legend_of_lines([0, 1]) + style.legend_of_lines([0]))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ridge", "hip"]


def test_a_compass_fills_only_the_sectors_that_occur():
    axis = Figure().subplots()
    style.compass(axis, [4, FLAT])
    filled = [to_rgb(patch.get_facecolor()) for patch in axis.child_axes[0].patches[1 : SECTORS + 1]]
    assert [k for k, colour in enumerate(filled) if colour != to_rgb(style.NOTHING)] == [4]
