"""Centre lines and drives: on streets whose right answer is known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.plateau.data.tiles import centrelines, paths
from stepladder.studies.plateau.params import PlateauConversion

CONVERSION = PlateauConversion()
BOX = (-200.0, -200.0, 200.0, 200.0)
REGION = (-120.0, -120.0, 120.0, 120.0)


def strip(start, end, width):
    """A straight road as two triangles in plan."""
    start, end = np.array(start, float), np.array(end, float)
    along = (end - start) / np.linalg.norm(end - start)
    side = 0.5 * width * np.array([-along[1], along[0]])
    a, b, c, d = start - side, end - side, end + side, start + side
    return np.array([[a, b, c], [a, c, d]])


def crossing(angle=0.0, width=10.0):
    """Two roads that cross at the origin, turned by `angle`."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    roads = [strip((-250, 0), (250, 0), width), strip((0, -250), (0, 250), width)]
    return np.concatenate(roads) @ turn.T


def slope(x, y):
    """A height field to drape poses on."""
    return 10.0 + 0.02 * x - 0.01 * y


def drive(triangles, seed=0, region=REGION):
    return paths.drive(centrelines.find(triangles, BOX), region, [slope], CONVERSION, seed)


def offset(pose_P4, start, direction):
    """Signed distance of poses to the left of the line through `start` along `direction` (unit)."""
    away = pose_P4[:, :2] - np.array(start)
    return direction[0] * away[:, 1] - direction[1] * away[:, 0]


@settings(max_examples=10, deadline=None)
@given(angle=st.floats(0, np.pi), width=st.floats(4, 11), x=st.floats(-20, 20))
def test_a_straight_road_is_driven_both_ways_on_the_left(angle, width, x):
    direction = np.array([np.cos(angle), np.sin(angle)])
    triangles = strip(np.array([x, 5]) - 300 * direction, np.array([x, 5]) + 300 * direction, width)
    result = drive(triangles)
    assert set(result.path_P) == {0, 1}
    for path in (0, 1):
        pose_P4 = result.pose_P4[result.path_P == path]
        way = np.sign(np.cos(pose_P4[0, 3] - angle))
        left = offset(pose_P4, (x, 5), way * direction)
        assert np.abs(left - width / 4).max() < 0.5, "a quarter of the width to the left, up to a pixel"
        steps = np.hypot(*np.diff(pose_P4[:, :2], axis=0).T)
        assert np.abs(steps - CONVERSION.speed_mps * CONVERSION.frame_s).max() < 0.2
        assert np.abs(pose_P4[:, 2] - slope(pose_P4[:, 0], pose_P4[:, 1])).max() < 1e-9
    mean_heading = [np.exp(1j * result.pose_P4[result.path_P == path, 3]).mean() for path in (0, 1)]
    assert abs(mean_heading[0] + mean_heading[1]) < 0.1, "the two ways are opposite"


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.8])
def test_a_crossing_is_one_junction_and_all_its_arms_are_driven_both_ways(angle):
    lines = centrelines.find(crossing(angle), BOX)
    assert len(lines.branches) == 4
    assert abs(lines.length(REGION) - 2 * 240 / max(np.cos(angle), np.sin(angle))) < 25
    result = drive(crossing(angle))
    seen = []
    for arm in range(4):
        middle = 70 * np.array([np.cos(angle + arm * np.pi / 2), np.sin(angle + arm * np.pi / 2)])
        near = np.hypot(*(result.pose_P4[:, :2] - middle).T) < 8
        seen += [round(float(np.cos(yaw - angle - arm * np.pi / 2))) for yaw in result.pose_P4[near, 3]]
        assert {-1, 1} <= set(seen), f"arm {arm}"
        seen.clear()


@settings(max_examples=8, deadline=None)
@given(angle=st.floats(0, 1.5), seed=st.integers(0, 2**32))
def test_motion_follows_yaw_and_bends_are_gentle(angle, seed):
    result = drive(crossing(angle, 8.0), seed)
    same = np.diff(result.path_P) == 0
    step_P2 = np.diff(result.pose_P4[:, :2], axis=0)[same]
    turn = np.angle(np.exp(1j * np.diff(result.pose_P4[:, 3])))[same]
    slip = np.angle(np.exp(1j * (np.arctan2(*step_P2.T[::-1]) - result.pose_P4[:-1, 3][same])))
    speed = np.hypot(*step_P2.T) / CONVERSION.frame_s
    assert np.abs(turn).max() < 0.6 and np.abs(slip).max() < 0.4
    assert speed.max() < CONVERSION.speed_mps + 1e-6
    sideways = speed * np.abs(turn) / CONVERSION.frame_s
    assert sideways.max() < 1.5 * CONVERSION.curve_mps2, "half a second averages over the bend"
    off = np.minimum(
        *np.abs([offset(result.pose_P4, (0, 0), (np.cos(a), np.sin(a))) for a in (angle, angle + np.pi / 2)])
    )
    assert (off < 4.0).mean() > 0.95, "on the road"


def test_every_pose_lies_in_the_region_and_a_road_that_leaves_it_is_cut():
    box_round_a_bay = (-120.0, 0.0, 120.0, 120.0)
    result = drive(crossing(0.2), region=box_round_a_bay)
    x, y = result.pose_P4[:, 0], result.pose_P4[:, 1]
    assert len(x) and (x >= -120).all() and (x < 120).all() and (y >= 0).all() and (y < 120).all()
    steps = np.hypot(*np.diff(result.pose_P4[:, :2], axis=0).T)[np.diff(result.path_P) == 0]
    assert steps.max() < CONVERSION.speed_mps * CONVERSION.frame_s + 1e-6, "no path jumps over a gap"


def test_the_same_seed_gives_the_same_drives_and_another_seed_others():
    triangles = np.concatenate([crossing(0.1), strip((-250, 90), (250, 95), 9), strip((90, -250), (80, 250), 7)])
    one, again = drive(triangles, 1), drive(triangles, 1)
    assert np.array_equal(one.pose_P4, again.pose_P4) and np.array_equal(one.path_P, again.path_P)
    assert len({drive(triangles, seed).pose_P4.tobytes() for seed in range(8)}) > 1


def test_the_order_of_triangles_and_their_orientation_do_not_matter():
    triangles = crossing(0.4)
    one, other = drive(triangles), drive(triangles[::-1, ::-1])
    assert np.array_equal(one.pose_P4, other.pose_P4)


def test_no_road_no_drive():
    result = drive(np.zeros((0, 3, 2)))
    assert result.pose_P4.shape == (0, 4) and len(result.path_P) == 0 and len(result.clips(16, 8)) == 0


def test_footpaths_and_short_stubs_carry_no_drive():
    assert len(drive(strip((-250, 0), (250, 0), 1.5)).pose_P4) == 0
    assert len(drive(strip((-20, 0), (20, 0), 8)).pose_P4) == 0


def test_a_wide_road_keeps_its_centre_line_despite_manholes_and_cracks():
    halves = np.concatenate([strip((-250, 3.05), (250, 3.05), 6), strip((-250, -3.05), (250, -3.05), 6)])  # 10 cm crack
    lines = centrelines.find(halves, BOX)
    assert len(lines.branches) == 1
    assert 2 * np.median(lines.branches[0].half_K) == pytest.approx(12, abs=1)


def test_a_ring_road_has_no_end_and_is_driven_both_ways():
    angles = np.linspace(0, 2 * np.pi, 61)
    ring = np.column_stack((60 * np.cos(angles), 60 * np.sin(angles)))
    result = drive(np.concatenate([strip(a, b, 8) for a, b in pairwise(ring)]))
    assert set(result.path_P) == {0, 1}
    radius = [np.hypot(*result.pose_P4[result.path_P == path, :2].T).mean() for path in (0, 1)]
    assert sorted(radius) == pytest.approx([58, 62], abs=0.7), "left is outside one way and inside the other"


def test_clips_start_every_stride_and_never_cross_from_one_path_to_another():
    path_P = np.repeat([0, 1, 2], [40, 15, 16])
    clip_C = paths.Paths(np.zeros((71, 4)), path_P).clips(frames=16, stride=8)
    assert clip_C.tolist() == [0, 8, 16, 24, 55] and clip_C.dtype == np.int32
    assert all(len(set(path_P[row : row + 16])) == 1 for row in clip_C)


def heights(ground, deck, path=0):
    """x and z along a drive on a road along y = 0 that has a deck; both heights are functions of x."""
    lines = centrelines.find(strip((-250, 0), (250, 0), 8), BOX)
    levels = [lambda x, y: ground(x), lambda x, y: deck(x)]
    result = paths.drive(lines, REGION, levels, CONVERSION, 0)
    pose_P4 = result.pose_P4[result.path_P == path]
    return pose_P4[:, 0], pose_P4[:, 2]


def between(x, reach, inside, outside):
    return np.where(np.abs(x) < reach, inside, outside)


@pytest.mark.parametrize("path", [0, 1])
def test_a_bridge_over_a_river_is_driven_over(path):
    x, z = heights(lambda x: between(x, 40, 5.0, 10.0), lambda x: between(x, 42, 10.2, np.nan), path)
    assert np.abs(z - between(x, 42, 10.2, 10.0)).max() < 0.25


@pytest.mark.parametrize("path", [0, 1])
def test_an_elevated_road_is_driven_under(path):
    _, z = heights(lambda x: 10.0 + 0 * x, lambda x: between(x, 60, 20.0, np.nan), path)
    assert (z == 10).all()


def test_a_bridge_whose_river_bed_is_unknown_is_driven_over_too():
    x, z = heights(lambda x: 10.0 + 0 * x, lambda x: between(x, 60, 12.0 - (x / 60) ** 2 * 2, np.nan))
    assert z[np.abs(x) < 50] == pytest.approx(12 - (x[np.abs(x) < 50] / 60) ** 2 * 2)
