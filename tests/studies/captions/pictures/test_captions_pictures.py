"""Pictures of the study: drawn whatever the texts are, never blank, nothing outside, and the words are there."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from stepladder.studies.captions.data.cases import Cases, encoded
from stepladder.studies.captions.data.layout import ARMS
from stepladder.studies.captions.pictures import overview, previews, scenes, style
from tests.studies.captions import drawn_tars

TEXTS = {
    "plain": "A red square left of a blue circle.",
    "empty": "",
    "dollars": "Was $20, now $5 or 10\\$ _{x}^2 $\\frac$",
    "long": "word " * 300,
    "one word": "x" * 600,
    "dollars at the edge": "a\\" * 80 + "$" * 81,
    "right to left": "قطة على طاولة שלום",
    "other": "一只猫 \N{CAT FACE} \x00\x1b\u202e\ufffd",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    settings = drawn_tars.params(steps=1, length=96)
    asset = drawn_tars.tar(tmp_path_factory.mktemp("drawn"), count=3)
    return Cases([drawn_tars.shard(asset, settings)], settings), settings


def said(text):
    """A prediction in which every arm says a text."""
    names = ["text_BS", *(f"text_{arm}_BS" for arm in ARMS if arm != "trained")]
    return {**{name: encoded(text)[None] for name in names}, "attention_BL": np.array([[0.1, 0.5, 0.2]])}


def drawn(figure):
    """Draw a figure: warnings are errors, no text may lie outside of it, and something must be seen."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canvas.draw()
    renderer = canvas.get_renderer()
    ticks = {tick for axis in figure.findobj(Axis) for tick in axis.findobj(Text)} - {
        a.label for a in figure.findobj(Axis)
    }
    for text in set(figure.findobj(Text)) - ticks:  # of ticks some lie outside of the axes and are not drawn
        if text.get_text() and text.get_visible():
            box = text.get_window_extent(renderer)
            assert box.y0 >= -2, f"{text.get_text()[:40]!r} lies below the picture"
            assert box.x0 >= -2, f"{text.get_text()[:40]!r} lies left of the picture"
            assert box.x1 <= figure.bbox.x1 + 2, f"{text.get_text()[:40]!r} lies right of the picture"
            assert box.y1 <= figure.bbox.y1 + 2, f"{text.get_text()[:40]!r} lies above the picture"
    assert np.asarray(canvas.buffer_rgba())[..., :3].std() > 5, "the picture is blank"


@pytest.mark.parametrize("name", TEXTS)
def test_whatever_arms_say_is_drawn_inside_of_the_picture(made, name):
    found, _ = made
    sample = {**found.sample(0, None), "question_S": encoded(TEXTS[name]), "reference_S": encoded(TEXTS[name])}
    drawn(scenes.answers(sample, said(TEXTS[name])).drawing)


def test_lines_of_arms_do_not_lie_on_each_other(made):
    found, _ = made
    figure = scenes.answers(found.sample(0, None), said(TEXTS["long"])).drawing
    drawn(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    column = [text for text in figure.findobj(Text) if text.get_fontsize() == 9 and text.get_text().startswith("word")]
    boxes = sorted((text.get_window_extent(renderer) for text in column), key=lambda box: -box.y1)
    assert len(boxes) == len(ARMS)
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))


def test_without_a_prediction_question_and_reference_are_shown(made):
    found, settings = made
    shown = scenes.scenes(found.sample(0, None), None, settings)
    assert set(shown) == {"sequence", "answers"}
    words = " ".join(text.get_text() for text in shown["answers"].drawing.findobj(Text))
    assert found.item(0).answer in words
    for picture in shown.values():
        drawn(picture.drawing)


def test_a_preview_shows_question_answer_and_what_is_learnt(made):
    found, settings = made
    for index in range(3):
        figure = previews.preview(found.sample(index, None), settings)
        drawn(figure)
        words = " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
        assert found.item(index).answer in words
        assert "learnt" in words
        assert "vision: 16 x 32" in words
        assert "world: 2 x 8 x 8 x 4" in words


@pytest.mark.parametrize("name", ["plain", "dollars", "long", "one word", "right to left", "other"])
def test_the_overview_is_drawn_whatever_captions_are(tmp_path, name):
    from stepladder.studies.captions.data.synthesis.drawing import pictures

    rows = [
        row for number, image in enumerate(pictures(7, 1, 64))
        for row in drawn_tars.members(f"{number:02d}", image, TEXTS[name])
    ]  # fmt: skip
    settings = drawn_tars.params()
    path = drawn_tars.shard(drawn_tars.written(tmp_path, "a", rows), settings)
    shown = overview.figures([path], {"train": ["a"]}, settings)
    assert set(shown) == {"sheet", "texts"}
    for picture in shown.values():
        drawn(picture.drawing)


def test_outcomes_tell_how_many_rows_became_pictures():
    figure = overview.outcomes({"ok": 1234, "gone": 7, "not_image": 0, "timeout": 1}).drawing
    drawn(figure)
    words = [text.get_text() for text in figure.findobj(Text)]
    assert "1,234 of 1,242 rows became pictures" in words
    assert "not image" in words


@pytest.mark.parametrize("name", TEXTS)
def test_a_wrapped_text_keeps_its_width_and_its_beginning(name):
    shown = style.wrapped(TEXTS[name], 30)
    assert all(len(line.replace(r"\$", "$")) <= 30 for line in shown.splitlines())
    if name == "plain":
        assert " ".join(shown.split()) == TEXTS[name]
    if name == "empty":
        assert shown == "(nothing)"
