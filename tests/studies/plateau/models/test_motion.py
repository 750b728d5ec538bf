"""Warping labels between ego frames."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.studies.plateau.data.citygml.classes import EMPTY
from stepladder.studies.plateau.models.motion import carry_on, compose, fuse, relative, seen, warp
from tests.studies.plateau import block_town

metres = st.floats(-3, 3, allow_nan=False, width=32)
poses = st.tuples(metres, metres, metres, st.floats(-3, 3, width=32)).map(lambda p: torch.tensor([p]))
windows = st.integers(0, 2**31).map(
    lambda seed: torch.randint(0, 18, (1, 12, 10, 4), generator=torch.Generator().manual_seed(seed)).byte()
)


@given(windows, poses)
def test_a_window_seen_from_its_own_pose_is_itself(occ_BXYZ, pose_B4):
    moved_BXYZ, known_BXYZ = warp(occ_BXYZ, pose_B4, pose_B4, 0.4)
    assert known_BXYZ.all() and torch.equal(moved_BXYZ, occ_BXYZ)


@given(windows, poses, st.tuples(*[st.integers(-4, 4)] * 3), st.sampled_from([0, 1, 2, 3]))
def test_there_and_back_is_the_identity_where_known(occ_BXYZ, pose_B4, shift_3, quarters):
    step_B4 = torch.tensor([[*(0.5 * s for s in shift_3), quarters * math.pi / 2]], dtype=torch.float64)
    other_B4 = compose(pose_B4.double(), step_B4)
    there_BXYZ, _ = warp(occ_BXYZ, pose_B4.double(), other_B4, 0.5)
    back_BXYZ, known_BXYZ = warp(there_BXYZ, other_B4, pose_B4.double(), 0.5)
    seen_there_BXYZ = back_BXYZ != EMPTY
    assert torch.equal(back_BXYZ[seen_there_BXYZ], occ_BXYZ[seen_there_BXYZ])
    again_BXYZ, _ = warp(back_BXYZ, pose_B4.double(), other_B4, 0.5)
    assert torch.equal(torch.where(known_BXYZ, back_BXYZ, EMPTY), back_BXYZ)
    assert torch.equal(again_BXYZ[again_BXYZ != EMPTY], there_BXYZ[again_BXYZ != EMPTY])


@given(poses, poses)
def test_compose_undoes_relative(pose_a, pose_b):
    assert torch.allclose(compose(pose_a, relative(pose_a, pose_b)), pose_b, atol=1e-5)


def test_driving_two_voxels_ahead_shifts_the_window_back_by_two():
    occ_BXYZ = torch.full((1, 6, 4, 3), EMPTY, dtype=torch.uint8)
    occ_BXYZ[0, 4, 1, 2] = 15
    east_B4 = torch.tensor([[10.0, 5.0, 1.0, math.pi / 2]])  # heading north, so ahead is +y
    ahead_B4 = east_B4 + torch.tensor([[0.0, 0.8, 0.4, 0.0]])
    moved_BXYZ, known_BXYZ = warp(occ_BXYZ, east_B4, ahead_B4, 0.4)
    assert moved_BXYZ[0, 2, 1, 1] == 15 and (moved_BXYZ != EMPTY).sum() == 1
    assert not known_BXYZ[0, 4:].any() and not known_BXYZ[..., 2].any() and known_BXYZ[0, :4, :, :2].all()


def test_turning_left_moves_what_was_ahead_to_the_right():
    occ_BXYZ = torch.full((1, 8, 8, 1), EMPTY, dtype=torch.uint8)
    occ_BXYZ[0, 7, 4, 0] = 15  # ahead, just left of the middle
    still_B4 = torch.zeros(1, 4)
    moved_BXYZ, _ = warp(occ_BXYZ, still_B4, torch.tensor([[0, 0, 0, math.pi / 2]]), 1.0)
    assert moved_BXYZ[0, 4, 0, 0] == 15  # y grows to the left, so the lowest y is the far right


def test_warp_agrees_with_windows_cut_from_the_town():
    """On a straight drive by whole voxels, what is known of the next window is what the town holds there."""
    params = block_town.params(past=1, future=2)
    batch = block_town.batch(params, 2, step_m=1.6, bend=0)
    occ, pose = batch["occ_TXYZ"], batch["pose_T4"]
    moved_BXYZ, known_BXYZ = warp(occ[:, 0], pose[:, 0], pose[:, 2], params.conversion.voxel_m)
    assert known_BXYZ.float().mean() > 0.5
    assert torch.equal(moved_BXYZ[known_BXYZ], occ[:, 2][known_BXYZ])


def test_fuse_prefers_the_newest_frame_and_knows_what_any_frame_knows():
    occ_BTXYZ = torch.stack([torch.full((1, 4, 4, 2), label, dtype=torch.uint8) for label in (11, 13)], dim=1)
    pose_BT4 = torch.tensor([[[0.0, 0, 0, 0], [2.0, 0, 0, 0]]])
    fused_BXYZ, known_BXYZ = fuse(occ_BTXYZ, pose_BT4, pose_BT4[:, 0], 1.0)
    assert known_BXYZ.all()
    assert (fused_BXYZ[0, 2:] == 13).all() and (fused_BXYZ[0, :2] == 11).all()
    assert torch.equal(seen(pose_BT4, pose_BT4[:, 0], (4, 4, 2), 1.0), known_BXYZ)


@settings(max_examples=20)
@given(st.floats(0.1, 5), st.floats(-math.pi, math.pi), st.floats(-0.3, 0.3))
def test_constant_velocity_continues_a_straight_climb_exactly(speed, yaw, climb):
    frames = torch.arange(6, dtype=torch.float64)
    line_F4 = torch.stack(
        [frames * speed * math.cos(yaw), frames * speed * math.sin(yaw), frames * climb, frames * 0 + yaw], dim=1
    )
    assert torch.allclose(carry_on(line_F4[None, :3], 3), line_F4[None, 3:], atol=1e-9)


def test_constant_velocity_keeps_turning_on_a_circle():
    angle = torch.arange(8, dtype=torch.float64) * 0.2
    circle_F4 = torch.stack([10 * angle.sin(), 10 - 10 * angle.cos(), angle * 0, angle], dim=1)
    assert torch.allclose(carry_on(circle_F4[None, :4], 4), circle_F4[None, 4:], atol=1e-9)


def test_a_single_past_frame_gives_no_velocity():
    pose_B14 = torch.tensor([[[1.0, 2, 3, 0.5]]])
    assert torch.equal(carry_on(pose_B14, 2), pose_B14.expand(-1, 2, -1))
