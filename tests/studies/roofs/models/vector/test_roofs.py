"""A prediction as roofs: perfect maps give the scene back; poor, empty and odd ones give something valid."""

import numpy as np
import pytest
import shapely
from shapely import Polygon

from stepladder.core.types import StudyError
from stepladder.studies.roofs.data.labels import CHANNELS, LINES, UNTYPED
from stepladder.studies.roofs.data.synthesis import scene as scenes
from stepladder.studies.roofs.models.vector import lines, outlines, roofs, seams
from tests.studies.roofs.models.vector.exact import maps

SIDE, GSD = 128, 0.2
RIDGE, HIP, VALLEY, EAVE, GABLE, HEIGHT_BREAK = range(len(LINES))
PITCH = 35.0


def perfect(scene: scenes.Scene) -> dict[str, np.ndarray]:
    """What a faultless network would predict of a scene."""
    return {
        "outline_YX": scene.outline_YX.astype(np.float32),
        "slope_GYX": np.moveaxis(scene.slope_YXG.astype(np.float32), -1, 0),
        "rise_YX": scene.rise_YX.astype(np.float32),
        "height_YX": scene.height_YX.astype(np.float32),
        "lines_LF": lines.extract(*maps(scene.lines_L5, scene.outline_YX.shape)),
    }


def gable() -> dict[str, np.ndarray]:
    """A roof of 80 x 40 pixels whose ridge runs east; eaves 5 m above the ground."""
    outline_YX = np.zeros((SIDE, SIDE), np.float32)
    outline_YX[40:80, 20:100] = 1
    slope_GYX = np.zeros((2, SIDE, SIDE), np.float32)
    slope_GYX[1, 40:60, 20:100], slope_GYX[1, 60:80, 20:100] = np.tan(np.radians(PITCH)), -np.tan(np.radians(PITCH))
    rise_YX = np.tan(np.radians(PITCH)) * GSD * (20 - np.abs(np.arange(SIDE) + 0.5 - 60))[:, None] + np.zeros((1, SIDE))
    ends = [(20, 60, 100, 60, RIDGE), (20, 40, 100, 40, EAVE), (20, 80, 100, 80, EAVE)]
    ends += [(x, 60, x, y, GABLE) for x in (20, 100) for y in (40, 80)]
    lines_LF = np.array([(*end, 0.8) for end in ends], np.float32)
    maps_ = {"outline_YX": outline_YX, "slope_GYX": slope_GYX, "rise_YX": rise_YX, "height_YX": rise_YX + 5}
    return {**maps_, "lines_LF": lines_LF}


def total(roof: roofs.Roof, kind: int) -> float:
    return sum(float(np.linalg.norm(line.end - line.start)) for line in roof.lines if line.type == kind)


def test_a_gable_roof_has_two_faces_a_ridge_two_eaves_and_four_gables():
    (roof,) = roofs.vectorise(gable(), GSD)
    assert sorted(round(face.bearing) for face in roof.faces) == [0, 180]
    assert [face.pitch for face in roof.faces] == pytest.approx([PITCH, PITCH], abs=0.01)
    assert [face.polygon.area for face in roof.faces] == pytest.approx([1600, 1600], rel=0.01)
    assert total(roof, RIDGE) == pytest.approx(80, abs=0.5) and total(roof, EAVE) == pytest.approx(160, abs=1)
    assert total(roof, GABLE) == pytest.approx(80, abs=0.5) and len(roof.lines) == 7
    assert roof.eave == pytest.approx(5, abs=0.01)
    assert [face.height for face in roof.faces] == pytest.approx(
        [5 + 10 * GSD * np.tan(np.radians(PITCH))] * 2, abs=0.01
    )


def test_lines_nobody_typed_are_typed_by_the_faces():
    prediction = gable()
    prediction["lines_LF"][:, 4] = UNTYPED
    (roof,) = roofs.vectorise(prediction, GSD)
    assert (total(roof, RIDGE), total(roof, EAVE), total(roof, GABLE)) == pytest.approx((80, 160, 80), abs=1)


def test_a_ridge_that_ends_before_the_gable_reaches_it():
    prediction = gable()
    prediction["lines_LF"][0, [0, 2]] = 34, 88
    (roof,) = roofs.vectorise(prediction, GSD)
    assert len(roof.faces) == 2 and total(roof, RIDGE) == pytest.approx(80, abs=0.5)


def test_without_lines_and_slopes_a_roof_is_one_face():
    (roof,) = roofs.vectorise({"outline_YX": gable()["outline_YX"]}, GSD)
    assert len(roof.faces) == 1 and roof.faces[0].polygon.normalize() == roof.outline.normalize()


def test_without_slopes_faces_have_no_pitch_and_heights_are_not_known():
    prediction = {name: value for name, value in gable().items() if name in ("outline_YX", "lines_LF")}
    (roof,) = roofs.vectorise(prediction, GSD)
    assert len(roof.faces) == 2 and np.isnan([face.pitch for face in roof.faces]).all() and np.isnan(roof.eave)


def test_a_weak_line_does_not_divide_a_plane_and_a_strong_one_does():
    prediction = gable()
    across = np.array([[60, 40, 60, 60, UNTYPED, 0.4]], np.float32)
    prediction["lines_LF"] = np.concatenate([prediction["lines_LF"], across])
    assert len(roofs.vectorise(prediction, GSD)[0].faces) == 2
    prediction["lines_LF"][-1, 5] = 0.9
    assert len(roofs.vectorise(prediction, GSD)[0].faces) == 3


@pytest.mark.parametrize("seed", range(3))
def test_scenes_come_back_from_perfect_maps(seed: int):
    scene = scenes.make(np.random.default_rng(500 + seed), 256, 0.1)
    found = roofs.vectorise(perfect(scene), scene.gsd)
    true = [shapely.transform(face.polygon, lambda place: place / scene.gsd) for face in scene.faces]
    frame = shapely.box(0, 0, 256, 256)
    large = [(t.intersection(frame), face) for t, face in zip(true, scene.faces, strict=True) if t.area > 1000]
    large = [(t, face) for t, face in large if frame.buffer(-4).contains(t)]
    mine = [face for roof in found for face in roof.faces]
    for polygon, face in large:
        best = max(mine, key=lambda other: other.polygon.intersection(polygon).area)
        assert best.polygon.area == pytest.approx(polygon.area, rel=0.05)
        assert best.pitch == pytest.approx(face.pitch if face.pitch >= 5 else 0, abs=1)
    along = [shapely.LineString([line.start, line.end]) for roof in found for line in roof.lines]
    ends = scene.lines_L5[:, :4].reshape(-1, 2, 2)
    off = [shapely.distance(shapely.Point(place), along).min() for place in ends.mean(axis=1)]
    assert np.median(off) < 1


@pytest.mark.parametrize("seed", range(3))
def test_faces_fill_the_outline_and_lines_are_their_edges(seed: int):
    scene = scenes.make(np.random.default_rng(seed), SIDE, GSD)
    for roof in roofs.vectorise(perfect(scene), GSD):
        parts = [face.polygon for face in roof.faces]
        assert sum(part.area for part in parts) == pytest.approx(roof.outline.area, rel=1e-3)
        assert shapely.union_all(parts).area == pytest.approx(roof.outline.area, rel=1e-3)
        edges = shapely.union_all([shapely.LineString([line.start, line.end]) for line in roof.lines])
        borders = shapely.union_all([part.boundary for part in parts])
        assert edges.length == pytest.approx(borders.length, rel=0.01) and edges.hausdorff_distance(borders) < 0.5


def test_face_ids_count_through_all_roofs():
    found = roofs.vectorise(gable(), GSD)
    ids = roofs.face_ids(found, (SIDE, SIDE))
    assert ids.dtype == np.int32 and np.unique(ids).tolist() == [0, 1, 2] and (ids > 0).sum() == 3200
    assert roofs.face_ids([], (3, 4)).shape == (3, 4)


@pytest.mark.parametrize("level", [0.0, np.nan])
def test_nothing_is_no_roof(level: float):
    assert roofs.vectorise({"outline_YX": np.full((SIDE, SIDE), level)}, GSD) == []


def test_an_image_that_is_all_roof_is_one_roof_with_untyped_edges():
    (roof,) = roofs.vectorise({"outline_YX": np.ones((SIDE, SIDE)), "slope_GYX": np.full((2, SIDE, SIDE), 0.5)}, GSD)
    assert roof.outline.area == SIDE**2 and {line.type for line in roof.lines} == {UNTYPED}


def test_one_pixel_of_roof_and_one_pixel_of_image():
    one = np.zeros((9, 9))
    one[4, 4] = 1
    assert roofs.vectorise({"outline_YX": one}, GSD) == []
    assert roofs.vectorise({"outline_YX": np.ones((1, 1))}, 10.0) == []


def test_a_yard_stays_open():
    prediction = gable()
    prediction["outline_YX"][55:65, 50:70] = 0
    (roof,) = roofs.vectorise(prediction, GSD)
    assert len(roof.outline.interiors) == 1 and roof.outline.area == pytest.approx(3000, rel=0.02)


def test_not_a_number_in_every_map_is_left_out():
    prediction = gable()
    for name in ("outline_YX", "slope_GYX", "rise_YX", "height_YX"):
        prediction[name][..., :, 60:64] = np.nan
    prediction["lines_LF"][2] = np.nan
    found = roofs.vectorise(prediction, GSD)
    assert len(found) == 2 and all(np.isfinite(face.pitch) for roof in found for face in roof.faces)


def test_thousands_of_short_lines_give_valid_roofs():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, SIDE, (800, 2))
    scattered = np.column_stack([start, start + rng.normal(0, 5, (800, 2)), np.full((800, 2), (UNTYPED, 0.9))])
    found = roofs.vectorise({**gable(), "lines_LF": scattered.astype(np.float32)}, GSD)
    assert all(face.polygon.is_valid for roof in found for face in roof.faces)


def test_extraction_and_roofs_agree_on_nothing():
    nothing = lines.extract(np.zeros((CHANNELS, 32, 32)), np.zeros((2, 32, 32)), np.zeros((32, 32)))
    assert len(roofs.vectorise({"outline_YX": gable()["outline_YX"], "lines_LF": nothing}, GSD)[0].faces) == 1


@pytest.mark.parametrize(
    ("prediction", "gsd", "said"), [({}, 0.1, "outline_YX"), (gable(), 0.0, "gsd_m"), (gable(), np.nan, "gsd_m")]
)
def test_what_cannot_be_used_is_refused(prediction: dict, gsd: float, said: str):
    with pytest.raises(StudyError, match=said):
        roofs.vectorise(prediction, gsd)


@pytest.mark.parametrize("degrees", [0, 7, 17, 33, 72])
def test_outlines_are_found_to_a_fraction_of_a_pixel(degrees: float):
    from rasterio.features import rasterize

    plan = Polygon([(0, 0), (90, 0), (90, 45), (52, 45), (52, 80), (0, 80)])
    turned = shapely.affinity.rotate(plan, degrees)
    turned = shapely.transform(turned, lambda place: place - turned.bounds[:2] + (10, 10.3))
    (found,) = outlines.polygons(rasterize([turned], (160, 160)))
    assert len(found.exterior.coords) == 7
    assert found.area == pytest.approx(turned.area, rel=0.003) and found.hausdorff_distance(turned) < 0.5


def test_a_slanting_side_is_not_made_square():
    from rasterio.features import rasterize

    plan = Polygon([(10, 10), (90, 10), (70, 60), (10, 60)])
    (found,) = outlines.polygons(rasterize([plan], (80, 100)))
    assert found.hausdorff_distance(plan) < 0.7


def test_a_ridge_nobody_found_is_seen_in_the_slopes():
    prediction = {name: value for name, value in gable().items() if name != "lines_LF"}
    (roof,) = roofs.vectorise(prediction, GSD)
    assert len(roof.faces) == 2 and total(roof, RIDGE) == pytest.approx(80, abs=0.5)
    assert [face.pitch for face in roof.faces] == pytest.approx([PITCH, PITCH], abs=0.01)


def test_noise_in_the_slopes_makes_no_faces():
    prediction = {name: value for name, value in gable().items() if name != "lines_LF"}
    prediction["slope_GYX"] += np.random.default_rng(0).normal(0, 0.15, (2, SIDE, SIDE)).astype(np.float32)
    (roof,) = roofs.vectorise(prediction, GSD)
    assert len(roof.faces) == 2 and roof.faces[0].pitch == pytest.approx(PITCH, abs=1)


def test_a_bent_border_between_slopes_is_no_seam():
    y, x = np.mgrid[:SIDE, :SIDE]
    slope_GYX = np.stack([np.where(np.hypot(x - 64, y - 64) < 25, 0.6, 0.0), np.zeros((SIDE, SIDE))])
    assert len(seams.seams(np.ones((SIDE, SIDE), bool), slope_GYX)) == 0
