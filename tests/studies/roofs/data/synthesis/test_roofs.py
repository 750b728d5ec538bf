"""Synthetic roofs are what they claim: planes that meet, faces that tile, lines of the right type."""

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import Polygon

from stepladder.studies.roofs.data.labels import LINES
from stepladder.studies.roofs.data.synthesis import edges, envelope, plans, shapes
from stepladder.studies.roofs.data.synthesis.edges import EAVE, GABLE, HEIGHT_BREAK, HIP, RIDGE, VALLEY

SEEDS = st.integers(0, 2**32 - 1)
some = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def house(seed: int) -> plans.Building:
    rng = np.random.default_rng(seed)
    return plans.placed(plans.building(rng), rng.uniform(0, 2 * np.pi), rng.uniform(-50, 50, 2))


def lengths(wings) -> dict[str, float]:
    """Metres of every type of line, rounded."""
    found = edges.lines(envelope.faces(wings))
    sums = {LINES[kind]: sum(line.length for line in found if line.kind == kind) for kind in range(len(LINES))}
    return {name: round(total, 3) for name, total in sums.items() if total}


@some
@given(SEEDS)
def test_faces_tile_the_plan_of_the_wings(seed):
    made = house(seed)
    plan = shapely.union_all([Polygon(wing.polygon_P2) for wing in made.wings])
    areas = sum(face.polygon.area for face in made.faces)
    assert areas == pytest.approx(plan.area, rel=1e-4), "a gap or an overlap changes the sum"
    assert made.outline.symmetric_difference(plan).area < 1e-2
    assert all(face.polygon.is_valid for face in made.faces)


@some
@given(SEEDS)
def test_free_lines_are_the_outline(seed):
    made = house(seed)
    assert sum(line.length for line in made.lines if line.other < 0) == pytest.approx(made.outline.length, abs=0.25)


@some
@given(SEEDS)
def test_every_point_shows_the_highest_wing_at_its_lowest_plane(seed):
    made = house(seed)
    for face in made.faces:
        at_2 = np.array(face.polygon.representative_point().coords[0])
        here = shapely.Point(at_2)
        tops = [
            (wing.planes_K3[:, :2] @ at_2 + wing.planes_K3[:, 2]).min()
            for wing in made.wings
            if Polygon(wing.polygon_P2).contains(here)
        ]
        assert face.height(at_2[None])[0] == pytest.approx(max(tops), abs=1e-6)


@some
@given(SEEDS)
def test_heights_meet_at_ridges_hips_and_valleys_and_do_not_at_height_breaks(seed):
    made = house(seed)
    for line in made.lines:
        if line.other >= 0:
            ends_22 = np.array([line.start_2, line.end_2])
            gap = np.abs(made.faces[line.face].height(ends_22) - made.faces[line.other].height(ends_22)).max()
            assert (gap > edges.STEP) == (line.kind == HEIGHT_BREAK) and (gap < 1e-3 or line.kind == HEIGHT_BREAK)


@some
@given(SEEDS)
def test_what_falls_from_a_line_tells_its_type(seed):
    """By walking half a metre to both sides, not by gradients."""
    made = house(seed)
    for line in made.lines:
        along_2 = (line.end_2 - line.start_2) / line.length
        across_2 = 0.2 * np.array([along_2[1], -along_2[0]])
        middle_2 = (line.start_2 + line.end_2) / 2
        if line.kind in (RIDGE, HIP, VALLEY):
            faces = [made.faces[line.face], made.faces[line.other]]
            sides = [
                face.height((middle_2 + side * across_2)[None])[0] for side, face in zip((-1, 1), faces, strict=True)
            ]
            bend = sum(sides) - 2 * faces[0].height(middle_2[None])[0]
            assert (bend > 0) == (line.kind == VALLEY)
        elif line.kind in (EAVE, GABLE):
            rise = made.faces[line.face].height(np.array([line.start_2, line.end_2]))
            assert line.kind == GABLE or abs(rise[0] - rise[1]) < 1e-3, "a gutter lies level"


@some
@given(SEEDS)
def test_pitch_and_bearing_are_those_of_the_heights(seed):
    """By differences of height one step east and one step north."""
    for face in house(seed).faces:
        at_2 = np.array(face.polygon.centroid.coords[0])
        here, east, north = face.height(at_2 + np.array([(0, 0), (1, 0), (0, -1)]))
        fall_2 = np.array([here - east, here - north])
        assert np.degrees(np.arctan(np.hypot(*fall_2))) == pytest.approx(face.pitch, abs=1e-6)
        if face.pitch > 1:
            bearing = np.radians(face.bearing)
            assert np.array([np.sin(bearing), np.cos(bearing)]) == pytest.approx(fall_2 / np.hypot(*fall_2), abs=1e-6)


@some
@given(SEEDS)
def test_houses_have_the_sizes_of_houses(seed):
    made = house(seed)
    steep = [face.pitch for face in made.faces if face.part == "roof" and face.roof == plans.MAIN]
    assert 30 < made.outline.area < 500 and max(steep) <= shapes.STEEP + 1e-6
    assert all(2.0 < eave <= 9 for eave in made.eaves)
    lowest = min(face.height(shapely.get_coordinates(face.polygon)).min() for face in made.faces)
    assert lowest == pytest.approx(min(made.eaves), abs=1e-3), "nothing hangs below its gutter"


def test_roofs_of_the_textbook_have_the_lines_of_the_textbook():
    root2 = np.sqrt(2)
    assert lengths([shapes.pitched(12, 8, 45, 5)]) == {"ridge": 12, "eave": 24, "gable": 16}
    assert lengths([shapes.pitched(12, 8, 45, 5, ("hip", "hip"))]) == {
        "ridge": 4,
        "hip": round(4 * 4 * root2, 3),
        "eave": 40,
    }
    assert lengths([shapes.pyramid(8, 30, 5)]) == {"hip": round(4 * 4 * root2, 3), "eave": 32}
    assert lengths([shapes.shed(10, 6, 20, 5)]) == {"eave": 10, "gable": 22}
    assert lengths([shapes.flat(10, 6, 5)]) == {"eave": 32}
    main, cross = shapes.pitched(12, 8, 40, 5), shapes.pitched(8, 6, 40, 5).moved(np.pi / 2, np.array([1.0, 4.0]))
    assert lengths([main, cross]) == {
        "ridge": 12 + 5 + 2,  # of the cross wing 4 m outside the main one and 3 m over its face
        "valley": round(2 * 3 * root2, 3),
        "eave": 12 + 6 + 2 * 4,
        "gable": 8 + 8 + 6,
    }


def test_half_hips_begin_above_the_gutter():
    faces = envelope.faces([shapes.pitched(14, 8, 45, 5, ("half", "half"))])
    small = [face for face in faces if face.polygon.area < 10]
    assert len(small) == 2
    lowest = [face.height(shapely.get_coordinates(face.polygon)).min() for face in small]
    assert lowest == pytest.approx([5 + shapes.HALF * 4] * 2)


def test_a_garage_lies_under_the_overhang_of_its_house():
    garage = shapes.flat(4, 3, 2.5).moved(0, np.array([0.0, 5.0]))  # y from 3.5, the house's eave lies at 4
    found = edges.lines(envelope.faces([shapes.pitched(12, 8, 40, 5), garage]))
    breaks = [line for line in found if line.kind == HEIGHT_BREAK]
    assert [line.length for line in breaks] == pytest.approx([4]) and breaks[0].start_2[1] == pytest.approx(4)


@some
@given(SEEDS)
def test_turning_a_house_turns_its_faces_and_nothing_else(seed):
    plain = plans.building(np.random.default_rng(seed))
    turned = plans.placed(plain, np.pi / 2, np.array([3.0, -7.0]))  # from x towards y: clockwise as seen on the image
    before = sorted((round(face.polygon.area, 2), round(face.pitch, 3)) for face in plain.faces)
    after = sorted((round(face.polygon.area, 2), round(face.pitch, 3)) for face in turned.faces)
    assert np.allclose(before, after, atol=0.011)
    assert {round(f.bearing + 90) % 360 for f in plain.faces if f.pitch > 5} == {
        round(f.bearing) % 360 for f in turned.faces if f.pitch > 5
    }
