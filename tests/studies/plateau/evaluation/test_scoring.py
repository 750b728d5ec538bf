"""Scores and baselines: hand-computed figures, perfect and trivial predictions, absent classes."""

import numpy as np
import pytest
import torch

from stepladder.core.types import Record
from stepladder.studies.plateau.data.citygml.classes import EMPTY, OCC3D
from stepladder.studies.plateau.evaluation import scoring
from tests.studies.plateau import block_town


def metrics(records: list[Record]) -> dict[str, float]:
    """The rule of `Record`: mean over supported parts of summed numerators over summed denominators."""
    sums: dict[str, dict[str, np.ndarray]] = {}
    for r in records:
        figures = sums.setdefault(r.metric, {}).setdefault(r.part, np.zeros(3))
        figures += (r.numerator, r.denominator, r.support)
    means = {}
    for metric, parts in sums.items():
        ratios = [both / union for both, union, support in parts.values() if support > 0]
        means[metric] = float(np.mean(ratios)) if ratios else np.nan
    return means


@pytest.fixture(scope="module")
def params():
    return block_town.params(past=3, future=6)


@pytest.fixture(scope="module")
def batch(params):
    return block_town.batch(params, 3, bend=0.05)


def truth(batch, params) -> dict[str, torch.Tensor]:
    return {"occ_BFXYZ": batch["occ_TXYZ"][:, params.model.past :]}


def test_a_perfect_prediction_scores_exactly_one_in_every_metric(batch, params):
    values = metrics(scoring.score(batch, truth(batch, params), params))
    horizons = ["1s", "2s", "3s"]
    expected = {
        f"{name}{new}{h}"
        for name in ("IoU", "mIoU")
        for new in ("", " new")
        for h in ["", *(f"@{h}" for h in horizons)]
    }
    assert set(values) == expected
    assert set(values.values()) == {1.0}


def test_all_empty_scores_exactly_zero_in_every_metric(batch, params):
    values = metrics(scoring.score(batch, scoring.baselines(params)["all_empty"](batch), params))
    assert len(values) == 16 and set(values.values()) == {0.0}


def test_iou_and_miou_of_a_window_worked_out_by_hand():
    params = block_town.params(window=(4, 4, 1), past=1, future=2)
    occ = torch.full((1, 3, 4, 4, 1), EMPTY, dtype=torch.uint8)
    occ[0, 2, 0, :, 0] = 11  # truth: a row of road ...
    occ[0, 2, 1, :2, 0] = 15  # ... and two voxels of wall
    guess = torch.full((1, 2, 4, 4, 1), EMPTY, dtype=torch.uint8)
    guess[0, 1, 0, :3, 0] = 11  # three of four road voxels
    guess[0, 1, 1, 0, 0] = 11  # a wall taken for road
    guess[0, 1, 2, :, 0] = 16  # four trees where nothing is
    batch = {"occ_TXYZ": occ, "pose_T4": torch.zeros(1, 3, 4), "index": torch.zeros(1)}
    values = metrics(scoring.score(batch, {"occ_BFXYZ": guess}, params))
    assert values["IoU@1s"] == pytest.approx(4 / 10)  # 4 occupied in both, 6 + 8 - 4 in either
    assert values["mIoU@1s"] == pytest.approx((3 / 5 + 0 / 2) / 2)  # road, wall; trees have no truth
    assert "IoU new@1s" not in values  # the ego stands still: nothing is newly revealed


def test_absent_classes_are_left_out_and_false_alarms_of_them_still_cost_iou(batch, params):
    guess = truth(batch, params)["occ_BFXYZ"].clone()
    assert not (guess == 4).any()
    empty = (guess == EMPTY).nonzero()[:50]
    guess[tuple(empty.T)] = 4  # cars, which this town has none of
    records = scoring.score(batch, {"occ_BFXYZ": guess}, params)
    assert {r.support for r in records if r.part.startswith("car")} <= {0.0}
    values = metrics(records)
    assert values["mIoU"] == 1.0
    assert scoring.confusion(batch, {"occ_BFXYZ": guess}, params)[..., EMPTY, 4].sum() == 0 or values["IoU"] < 1


def test_newly_revealed_voxels_are_those_outside_every_past_window():
    params = block_town.params(window=(10, 4, 2), past=2, future=2, voxel_m=1.0)
    pose = torch.zeros(1, 4, 4)
    pose[0, :, 0] = torch.arange(4) * 2.0  # 2 voxels ahead per frame
    new_BFXYZ = scoring.newly_revealed({"occ_TXYZ": torch.zeros(1, 4, 10, 4, 2), "pose_T4": pose}, params)
    assert new_BFXYZ[0, 0].float().mean() == pytest.approx(0.2) and new_BFXYZ[0, 0, 8:].all()
    assert new_BFXYZ[0, 1].float().mean() == pytest.approx(0.4) and new_BFXYZ[0, 1, 6:].all()


def test_warps_know_nothing_of_newly_revealed_voxels(batch, params):
    for name in ("ego_warp", "fused_warp", "all_empty"):
        values = metrics(scoring.score(batch, scoring.baselines(params)[name](batch), params))
        assert values["IoU new"] == values["mIoU new"] == 0


def test_baselines_come_in_order_and_ego_warp_leads_on_the_town(batch, params):
    baselines = scoring.baselines(params)
    assert list(baselines) == ["all_empty", "copy_last", "ego_warp_constant_velocity", "ego_warp", "fused_warp"]
    iou = {name: metrics(scoring.score(batch, run(batch), params))["IoU"] for name, run in baselines.items()}
    assert iou["all_empty"] < iou["copy_last"] < iou["ego_warp"] < iou["fused_warp"]
    for run in baselines.values():
        guess = run(batch)["occ_BFXYZ"]
        assert guess.dtype == torch.uint8 and guess.shape == truth(batch, params)["occ_BFXYZ"].shape


def test_constant_velocity_on_a_straight_drive_is_the_true_warp(params):
    batch = block_town.batch(params, 2, bend=0)
    baselines = scoring.baselines(params)
    true, extrapolated = baselines["ego_warp"](batch), baselines["ego_warp_constant_velocity"](batch)
    assert torch.equal(true["occ_BFXYZ"], extrapolated["occ_BFXYZ"])


def test_baselines_do_not_read_the_future_they_are_not_given(batch, params):
    past = params.model.past
    blind = {**batch, "occ_TXYZ": batch["occ_TXYZ"].clone(), "pose_T4": batch["pose_T4"].clone()}
    blind["occ_TXYZ"][:, past:] = 0
    for name, run in scoring.baselines(params).items():
        if name not in ("ego_warp", "fused_warp"):
            blind["pose_T4"][:, past:] = 99.0
        else:
            blind["pose_T4"] = batch["pose_T4"]
        assert torch.equal(run(batch)["occ_BFXYZ"], run(blind)["occ_BFXYZ"]), name


def test_records_of_a_batch_are_those_of_its_clips(batch, params):
    baseline = scoring.baselines(params)["ego_warp"]
    together = [r for r in scoring.score(batch, baseline(batch), params) if r.item == 1]
    one = {name: value[1:2] for name, value in batch.items()}
    alone = scoring.score(one, baseline(one), params)
    assert [{**vars(r), "item": 1} for r in alone] == [vars(r) for r in together]


@pytest.mark.parametrize(
    ("future", "frame_s", "expected"),
    [
        (6, 0.5, {"1s": 1, "2s": 3, "3s": 5}),
        (4, 0.5, {"1s": 1, "2s": 3}),
        (3, 1.0, {"1s": 0, "2s": 1, "3s": 2}),
        (1, 0.5, {"0.5s": 0}),
    ],
)
def test_horizons_are_those_the_forecast_reaches(future, frame_s, expected):
    params = block_town.params(past=2, future=future)
    params = params.model_copy(update={"conversion": params.conversion.model_copy(update={"frame_s": frame_s})})
    assert scoring.horizons(params) == expected


def test_class_table_counts_voxels(batch):
    table = scoring.class_table(batch["occ_TXYZ"])
    assert list(table["class"]) == list(OCC3D)
    assert table["voxels"].sum() == batch["occ_TXYZ"].numel()
    assert table["share of occupied"].sum() == pytest.approx(1)


def test_the_protocol_says_who_is_given_which_pose(params):
    protocol = scoring.protocol(params)
    assert {"space", "split", "horizons", "IoU", "mIoU", "absent classes", "newly revealed", "poses"} <= set(protocol)
    assert "fused_warp and warp_fill are given the true future poses" in protocol["poses"]
    assert "occworld forecasts its own motion" in protocol["poses"]
