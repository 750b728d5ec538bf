"""Faces, lines and rise from segments: roofs worked out by hand, then the village of RID."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon, affinity

from stepladder.studies.roofs.data import derive
from stepladder.studies.roofs.data.cases import clipped
from stepladder.studies.roofs.data.derive import Segment
from stepladder.studies.roofs.data.labels import FLAT, IGNORE, LINES, NO_FACE
from stepladder.studies.roofs.data.synthesis import rid_vectors, scene

GSD = 0.1


def segment(points, bearing, pitch=45.0, gutters=()) -> Segment:
    return Segment(Polygon(points), bearing, pitch, [np.array(line, float) for line in gutters])


def gable() -> list[Segment]:
    """20 m x 10 m, ridge from west to east in the middle; the north face falls north."""
    north = segment([(20, 20), (220, 20), (220, 70), (20, 70)], 0, gutters=[[(20, 20), (220, 20)]])
    south = segment([(20, 70), (220, 70), (220, 120), (20, 120)], 180, gutters=[[(20, 120), (220, 120)]])
    return [north, south]


def hip() -> list[Segment]:
    """The same plan with hipped ends: ridge from (70, 70) to (170, 70), four hips at 45 degrees in plan."""
    return [
        segment([(20, 20), (220, 20), (170, 70), (70, 70)], 0),
        segment([(220, 20), (220, 120), (170, 70)], 90),
        segment([(220, 120), (20, 120), (70, 70), (170, 70)], 180),
        segment([(20, 120), (20, 20), (70, 70)], 270),
    ]


def lines(segments) -> dict[str, list]:
    """Type -> ends of its lines, rounded, the lower x first."""
    found: dict[str, list] = {}
    for *ends, kind in derive.array(derive.lines(segments, GSD)).round().astype(int).tolist():
        found.setdefault((*LINES, "untyped")[kind], []).append(sorted([tuple(ends[:2]), tuple(ends[2:])]))
    return {name: sorted(some) for name, some in found.items()}


def turned(some, degrees, centre=(120, 70)) -> list[Segment]:
    """A roof turned clockwise, as seen, by `degrees`."""

    def turn(shape):
        return affinity.rotate(shape, degrees, origin=centre)  # y points down, so anticlockwise in x, y is clockwise

    return [
        Segment(
            turn(one.polygon),
            None if one.bearing_deg is None else (one.bearing_deg + degrees) % 360,
            one.pitch_deg,
            [shapely.get_coordinates(turn(shapely.LineString(line))) for line in one.gutters],
        )
        for one in some
    ]


def test_a_gable_roof():
    assert lines(gable()) == {
        "ridge": [[(20, 70), (220, 70)]],
        "eave": [[(20, 20), (220, 20)], [(20, 120), (220, 120)]],
        "gable": [[(20, 20), (20, 70)], [(20, 70), (20, 120)], [(220, 20), (220, 70)], [(220, 70), (220, 120)]],
    }


def test_a_hip_roof():
    found = lines(hip())
    assert found["ridge"] == [[(70, 70), (170, 70)]]
    assert found["hip"] == [
        [(20, 20), (70, 70)],
        [(20, 120), (70, 70)],
        [(170, 70), (220, 20)],
        [(170, 70), (220, 120)],
    ]
    assert len(found["eave"]) == 4 and set(found) == {"ridge", "hip", "eave"}


def test_what_falls_inwards_is_a_valley():
    inwards = [Segment(one.polygon, (one.bearing_deg + 180) % 360, one.pitch_deg) for one in hip()]
    found = lines(inwards)
    assert len(found["valley"]) == 5, "a butterfly roof has no ridge"
    assert len(found["gable"]) == 4, "its outer borders are high"


@given(st.floats(0, 360))
def test_types_do_not_depend_on_where_north_is(degrees):
    for roof in (gable(), hip()):
        before, after = (derive.facts(derive.lines(some, GSD), GSD) for some in (roof, turned(roof, degrees)))
        assert before["lines"] == after["lines"]
        assert after["lines_m"] == pytest.approx(before["lines_m"], abs=0.1)


@given(st.floats(-1.9, 1.9))
def test_a_gap_or_overlap_of_two_pixels_is_none(gap):
    north, south = gable()
    moved = Segment(affinity.translate(south.polygon, 0, gap), 180, 45, [south.gutters[0] + (0, gap)])
    ((x0, y0), (x1, y1)) = lines([north, moved])["ridge"][0]
    assert (x0, x1) == (20, 220) and abs(y0 - 70 - gap / 2) <= 0.51 and y0 == y1


def test_a_wall_between_roofs_of_two_heights_is_a_height_break():
    high = gable()
    low = segment([(20, 120), (220, 120), (220, 170), (20, 170)], 180, 20, [[(20, 170), (220, 170)]])
    assert lines([*high, low])["height_break"] == [[(20, 120), (220, 120)]], "it falls on under the eave of the other"


def test_the_break_of_a_mansard_is_a_ridge_and_the_front_of_a_dormer_a_height_break():
    """Neither upper face has a gutter. A mansard's lower face ends at the break, a roof goes on beside a dormer."""
    lower = segment([(20, 80), (220, 80), (220, 120), (20, 120)], 180, 65, [[(20, 120), (220, 120)]])
    upper = segment([(20, 20), (220, 20), (220, 80), (20, 80)], 180, 28)
    assert lines([lower, upper])["ridge"] == [[(20, 80), (220, 80)]]
    main = [(20, 20), (220, 20), (220, 120), (20, 120), (20, 20)]
    dormer = [(100, 50), (140, 50), (140, 90), (100, 90)]
    around = Segment(Polygon(main, [dormer]), 180, 45, [np.array([(20, 120), (220, 120)], float)])
    found = lines([around, segment(dormer, 180, 20)])
    assert [(100, 90), (140, 90)] in found["height_break"] and "ridge" not in found
    assert found["valley"] == [[(100, 50), (140, 50)]], "its roof begins on the main one"


def test_halves_of_one_plane_have_no_line_between_them():
    west = segment([(20, 20), (120, 20), (120, 70), (20, 70)], 0, gutters=[[(20, 20), (120, 20)]])
    east = segment([(120, 20), (220, 20), (220, 70), (120, 70)], 1, 44, [[(120, 20), (220, 20)]])
    assert set(lines([west, east])) == {"eave", "gable"}


def test_of_an_unknown_plane_only_lines_are_known():
    north, south = gable()
    unknown = Segment(south.polygon, None, 45)
    found = lines([north, unknown])
    assert found["untyped"][0] == [(20, 70), (20, 120)] and len(found["untyped"]) == 4
    derived = derive.from_segments([north, unknown], (140, 240), GSD)
    assert derived.face_YX[100, 100] == IGNORE and np.isnan(derived.rise_YX[100, 100])
    assert {issue.kind for issue in derived.issues} == {"face without bearing or pitch: neither class nor slope"}


def test_rasters_say_bearing_slope_and_rise():
    derived = derive.from_segments(gable(), (140, 240), GSD)
    assert (derived.face_YX[21:69, 21:219] == 0).all() and (derived.face_YX[71:119, 21:219] == 8).all()
    assert derived.face_YX[10, 10] == NO_FACE and np.isnan(derived.rise_YX[10, 10])
    assert derived.slope_YXG[40, 100].tolist() == [0, 1] and derived.slope_YXG[100, 100].tolist() == pytest.approx(
        [0, -1]
    )
    assert derived.rise_YX[20, 100] == pytest.approx(0.05, abs=1e-3), "half a pixel above the gutter"
    assert (
        derived.rise_YX[69, 100] == pytest.approx(derived.rise_YX[70, 100], abs=1e-2) == pytest.approx(4.95, abs=1e-2)
    )
    assert derived.facts["ridge_disagreement_m"]["median"] == 0


def test_a_pixel_belongs_to_the_face_its_middle_lies_in():
    roof = turned(hip(), 17)
    face_id_YX = derive.from_segments(roof, (140, 240), GSD).face_id_YX
    y, x = np.mgrid[:140, :240] + 0.5
    for place, one in enumerate(roof, 1):
        assert np.array_equal(face_id_YX == place, shapely.contains_xy(one.polygon, x, y))


def test_flat_roofs_fall_nowhere():
    derived = derive.from_segments([segment([(20, 20), (90, 20), (90, 90), (20, 90)], None, 2)], (100, 100), GSD)
    assert derived.face_YX[50, 50] == FLAT and not derived.slope_YXG.any() and derived.rise_YX[50, 50] == 0
    assert derived.facts["lines"]["eave"] == 4


def test_planes_that_do_not_meet_are_counted():
    north, south = gable()
    steeper = Segment(south.polygon, 180, 60, south.gutters)
    derived = derive.from_segments([north, steeper], (140, 240), GSD)
    apart = 5 * (np.tan(np.radians(60)) - 1)
    assert derived.facts["ridge_disagreement_m"]["median"] == pytest.approx(apart, abs=0.01)
    assert [issue.count for issue in derived.issues] == [1] and "disagree" in derived.issues[0].kind


def test_odd_polygons_are_mended_or_left_out_and_counted():
    north, _ = gable()
    bow_tie = segment([(20, 80), (60, 120), (60, 80), (20, 120)], 180)
    holed = Segment(
        Polygon([(100, 80), (160, 80), (160, 130), (100, 130)], [[(120, 95), (140, 95), (140, 115)]]), 180, 30
    )
    parts = Segment(shapely.MultiPolygon([shapely.box(180, 80, 190, 90), shapely.box(200, 80, 210, 90)]), 90, 30)
    line = segment([(20, 130), (60, 130), (20, 130)], 0)
    empty = Segment(Polygon(), 0, 30)
    derived = derive.from_segments([north, bow_tie, line, empty, holed, parts], (140, 240), GSD)
    counted = {issue.kind: issue.count for issue in derived.issues}
    assert counted["polygon of a face crosses itself, mended"] == 2 and counted["face without area, left out"] == 2
    assert set(np.unique(derived.face_id_YX)) == {0, 1, 2, 5, 6}, "places in the list stay"
    assert derived.face_id_YX[100, 138] == 0 and derived.face_id_YX[85, 205] == 6


def _ends_agree(one_L5: np.ndarray, other_L5: np.ndarray, tolerance: float = 1.5) -> np.ndarray:
    """(L,) whether a line of the same type lies among the others, both ends within the tolerance, either way round."""
    apart = [
        np.hypot(*(one_L5[:, None, a : a + 2] - other_L5[None, :, b : b + 2]).transpose(2, 0, 1))
        for a, b in ((0, 0), (2, 2), (0, 2), (2, 0))
    ]
    near_LL = np.minimum(np.maximum(apart[0], apart[1]), np.maximum(apart[2], apart[3])) <= tolerance
    return (near_LL & (one_L5[:, None, 4] == other_L5[None, :, 4])).any(axis=1)


def test_lines_of_exact_scenes_are_found_again_from_their_segments():
    """Nearly all: some height breaks are heights that no bearing, pitch or gutter tells."""
    found, wanted, side = [], [], 256
    for seed in range(10):
        made = scene.make(np.random.default_rng((11, seed)), side, GSD)
        told = rid_vectors.vectors(made, seed)["segments"]
        derived = derive.from_segments([_of_rid(row) for row in told], (side, side), GSD)
        lines_L5 = clipped(derived.lines_L5, (slice(0, side), slice(0, side)))
        found.append(_ends_agree(made.lines_L5, lines_L5))
        wanted.append(made.lines_L5[:, 4])
        assert (derived.face_YX == made.face_YX).mean() > 0.98
        rise_apart = np.abs(derived.rise_YX.astype(float) - made.rise_YX.astype(float))
        assert np.nanmedian(rise_apart) < 0.02
    found_L, kind_L = np.concatenate(found), np.concatenate(wanted)
    assert found_L.mean() >= 0.97
    for kind, name in enumerate(LINES):
        assert found_L[kind_L == kind].mean() >= 0.9, name


def _of_rid(row) -> Segment:
    polygon = shapely.MultiPolygon([Polygon(rings[0], rings[1:]) for rings in row["polygons_px"]])
    bearing = None if row["azimuth_pv"] is None else row["azimuth_pv"] + 180
    return Segment(polygon, bearing, row["slope_deg"], [np.array(line) for line in row["gutter_px"]])


def test_no_segments():
    derived = derive.from_segments([], (8, 8), GSD)
    assert derived.lines_L5.shape == (0, 5) and not derived.face_id_YX.any() and (derived.face_YX == NO_FACE).all()


@pytest.fixture(scope="module")
def village(shared_data):
    """Every segment of RID given, in pixels of 0.1 m, and the type of the roof it is of."""
    folder = shared_data / "roofs" / "rid"
    if not folder.is_dir():
        pytest.skip("roofs/rid is not among the real data")
    table = pd.read_csv(folder / "segments_reviewed.csv")
    kinds = pd.read_csv(folder / "pv_areas_reviewed.csv").set_index("id").roof_type
    metres_2 = np.array([111_230.0, 74_000.0])  # of a degree north and east, at 48.4 degrees north

    def pixels(latlon_P2):
        return ((latlon_P2 - (48.41, 11.99)) * metres_2 / GSD)[:, ::-1] * (1, -1)

    def read(text):
        return shapely.transform(shapely.from_wkt(text), pixels)

    segments = [
        Segment(
            read(row.segment),
            None if pd.isna(row.azimuth) else row.azimuth + 180,
            row.slope,
            [] if pd.isna(row.gutter) else [shapely.get_coordinates(line) for line in read(row.gutter).geoms],
        )
        for row in table.itertuples()
    ]
    return segments, [kinds.get(area) for area in table.pv_area_id]


@pytest.mark.slow
def test_the_village_has_the_lines_its_roofs_must_have(village):
    segments, roofs = village
    typed = derive.lines(segments, GSD)
    told = derive.facts(typed, GSD)
    print(told)
    assert 0.9 * 1870 < told["lines"]["ridge"] < 1.1 * 1870 and told["lines_m"]["ridge"] == pytest.approx(
        24_600, rel=0.1
    )
    assert told["ridge_disagreement_m"]["median"] == pytest.approx(0.46, abs=0.05)
    assert told["ridge_disagreement_m"]["p90"] == pytest.approx(1.57, abs=0.1)
    pitched_m = sum(b.length for b, kind in typed.lines if kind == derive.EAVE and not segments[b.left].flat) * GSD
    assert pitched_m == pytest.approx(42_300, rel=0.05), "gutters are 41 km long"
    hips, valleys = (
        Counter(roofs[border.left] for border, kind in typed.lines if kind == wanted)
        for wanted in (derive.HIP, derive.VALLEY)
    )
    assert hips["Hip"] > 10 * valleys["Hip"], "annotators call these roofs hipped"
    assert valleys["Gabled"] > 5 * hips["Gabled"], "gables and cross gables have valleys, and only half-hips hips"
