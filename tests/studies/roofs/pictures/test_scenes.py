"""Pictures of a case: truth beside prediction, whatever either lacks, the most telling last."""

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection

from stepladder.studies.roofs.data.labels import IGNORE, NO_FACE
from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.params import RoofsParams
from stepladder.studies.roofs.pictures import overlay, scenes, style
from stepladder.view import render, web
from stepladder.view.scene import Scene
from tests.studies.roofs.pictures import houses

PARAMS = RoofsParams.model_validate({"study": "roofs"})
KEYS = sorted(houses.prediction())


def titles(figure):
    return [axis.get_title(loc="left") or axis.get_title() for axis in figure.axes if axis.images]


def told(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def segments(axis):
    """Number of lines drawn on an axis, without their rims."""
    return max((len(c.get_segments()) for c in axis.collections if isinstance(c, LineCollection)), default=0)


def outlines_only():
    """A case of a source that labels outlines and nothing else."""
    blank = np.full((houses.SIDE, houses.SIDE), IGNORE, np.uint8)
    case = houses.case() | {"superstructure_YX": blank, "face_YX": blank, "face_id_YX": np.zeros_like(blank, np.int32)}
    case |= {"lines_LF": np.zeros((0, 5), np.float32), "line_types_K": np.zeros(7, np.uint8)}
    return case | {f"{name}_labelled_YX": np.zeros_like(blank) for name in style.HEIGHTS}


def test_the_plan_shows_truth_beside_prediction_with_legend_and_metres():
    figure = overlay.roof_plan(houses.case(), houses.prediction(), PARAMS)
    assert titles(figure) == [
        "truth: 13 lines, 34% of the image is roof",
        "prediction: 13 lines, 34% of the image is roof",
    ]
    assert told(figure) == ["outline", "ridge", "hip", "eave"]
    assert all("2 m" in [text.get_text() for text in axis.texts] for axis in figure.axes)
    assert {axis.get_xlabel() for axis in figure.axes} == {"x (pixels)"}


def test_only_lines_that_score_enough_are_drawn():
    strict = RoofsParams.model_validate({"study": "roofs", "evaluation": {"line_threshold": 0.6}})
    figure = overlay.roof_plan(houses.case(), houses.prediction(), strict)
    scores = houses.prediction()["lines_BLF"][0, :, 5]
    assert [segments(axis) for axis in figure.axes] == [13, int((scores >= 0.6).sum())]


def test_faces_are_drawn_only_where_a_face_was_made():
    found = overlay.first(houses.prediction() | {"face_id_BYX": torch.zeros((1, houses.SIDE, houses.SIDE))})
    assert (overlay.found_of(found, 0.3)["face_YX"] == NO_FACE).all()


def test_outside_what_is_scored_the_image_is_paler():
    case = houses.case()
    case["focus_YX"][:, :64] = 0
    shown = overlay.roof_plan(case, None, PARAMS).axes[0].images[0].get_array()
    plain = style.pixels(case["image_CYX"])
    assert np.array_equal(shown[:, 64:], plain[:, 64:]) and shown[:, :64].mean() > plain[:, :64].mean() + 40


def test_a_model_that_finds_nothing_is_told_so():
    figure = overlay.roof_plan(houses.case(), houses.nothing(), PARAMS)
    assert titles(figure)[1] == "prediction: no roof here"
    assert titles(overlay.superstructures(houses.case(), houses.nothing()))[1] == "prediction: none found"


def test_what_a_side_does_not_speak_of_is_told_so():
    figure = overlay.roof_plan(outlines_only() | {"outline_YX": np.full((128, 128), IGNORE)}, {}, PARAMS)
    assert titles(figure) == ["truth: nothing of a plan is labelled", "prediction: it says nothing of a plan"]


def test_heights_share_one_scale_and_tell_the_error_on_roofs():
    figure = scenes.heights(houses.case(), houses.prediction(0), "rise")
    shown = [axis.images[-1] for axis in figure.axes[:2]]
    assert shown[0].get_clim() == shown[1].get_clim() == (0, pytest.approx(houses.maps()["rise_YX"].max()))
    error = 0.1 * houses.maps()["rise_YX"].mean()
    assert titles(figure)[1] == f"prediction: off by {error:.2g} m on roofs, on average"
    assert "metres" in figure.axes[2].get_ylabel()
    assert scenes.heights(houses.case(), houses.prediction(), "height") is None


def test_the_roof_in_space_is_last_and_has_truth_and_prediction():
    pictures = scenes.scenes(houses.case(), houses.prediction(), PARAMS)
    assert list(pictures) == ["superstructures", "rise", "plan", "roof"]
    roof = pictures["roof"].drawing
    assert isinstance(roof, Scene) and [panel.title for panel in roof.panels] == ["truth", "prediction"]
    assert "3 m high" in roof.note and roof.unit == "m"
    assert all(picture.caption.endswith(".") for picture in pictures.values())


def test_a_roof_that_was_not_found_is_told_in_the_note():
    roof = scenes.solid(houses.case(), houses.nothing(), PARAMS)
    assert [panel.title for panel in roof.panels] == ["truth"] and "nothing to draw in the prediction" in roof.note


def test_where_only_outlines_are_labelled_the_plan_is_last():
    assert list(scenes.scenes(outlines_only(), None, PARAMS)) == ["plan"]
    assert list(scenes.scenes(outlines_only(), houses.prediction(), PARAMS))[-1] == "roof"


def test_heights_without_faces_are_a_relief_with_one_bar():
    case = outlines_only() | {"height_labelled_YX": np.ones((houses.SIDE, houses.SIDE), np.uint8)}
    guess = {"height_BYX": houses.prediction()["height_BYX"] * 2}
    roof = scenes.solid(case, guess, PARAMS)
    assert len({panel.items[0].bar for panel in roof.panels}) == 1 and not roof.note


@settings(max_examples=8, deadline=None)
@given(st.sets(st.sampled_from(KEYS)), st.booleans(), st.booleans())
def test_any_part_of_a_prediction_can_be_shown(keys, found, everything):
    whole = houses.prediction() if found else houses.nothing()
    case = houses.case() if everything else outlines_only()
    pictures = scenes.scenes(case, {key: whole[key] for key in keys}, PARAMS)
    assert "plan" in pictures


@pytest.mark.slow
def test_every_picture_can_be_rendered_and_turned(tmp_path):
    truth = {"image_CYX": torch.zeros(1)}
    truth |= {name: torch.as_tensor(value)[None] for name, value in houses.case().items()}
    for name, picture in scenes.scenes(houses.case(), scoring.oracle(truth, PARAMS), PARAMS).items():
        render.render(picture.drawing, tmp_path / f"{name}.png", (300, 200))
    web.save_html(picture.drawing, tmp_path / "roof.html")
    assert all(check.ok for check in web.checks(tmp_path))


def test_the_predicted_roof_goes_along_as_meshes_for_other_programs(tmp_path):
    written = scenes.scenes(houses.case(), houses.prediction(), PARAMS)["roof"].files
    for ending, write in written.items():
        write(tmp_path / f"roof{ending}")
    meshes = [trimesh.load(tmp_path / f"roof{ending}", force="mesh") for ending in (".glb", ".obj")]
    assert sorted(written) == [".glb", ".obj"] and len({len(mesh.faces) for mesh in meshes}) == 1
    glb, obj = (np.ptp(mesh.bounds, axis=0) for mesh in meshes)
    assert glb == pytest.approx(obj[[0, 2, 1]], abs=1e-3)  # y up, z up
    assert scenes.scenes(houses.case(), None, PARAMS)["roof"].files == {}
