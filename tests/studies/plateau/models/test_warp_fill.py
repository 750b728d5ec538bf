"""Our forecaster starts at the fused warp and learns what comes into view."""

import pytest
import torch

from stepladder.studies.plateau.evaluation import scoring
from stepladder.studies.plateau.models import warp_fill
from stepladder.studies.plateau.models.motion import fuse
from tests.studies.plateau import block_town
from tests.studies.plateau.evaluation.test_scoring import metrics


@pytest.fixture(scope="module")
def params():
    return block_town.params(past=3, future=6)


@pytest.fixture(scope="module")
def batch(params):
    return block_town.batch(params, 3, bend=0.05)


def untrained(params, seed=0):
    torch.manual_seed(seed)
    return warp_fill.build(params).eval()


def scores(batch, prediction, params):
    return metrics(scoring.score(batch, prediction, params))


@pytest.mark.parametrize("seed", range(3))
def test_untrained_is_exactly_the_fused_warp(batch, params, seed):
    guess_BFXYZ = warp_fill.predict(untrained(params, seed), batch)["occ_BFXYZ"]
    past, voxel_m = params.model.past, params.conversion.voxel_m
    occ, pose = batch["occ_TXYZ"], batch["pose_T4"]
    for frame in range(params.model.future):
        fused_BXYZ, _ = fuse(occ[:, :past], pose[:, :past], pose[:, past + frame], voxel_m)
        assert torch.equal(guess_BFXYZ[:, frame], fused_BXYZ)


def test_untrained_is_no_worse_than_ego_warp_and_knows_nothing_new(params):
    """Over several towns together: a class of a dozen voxels may go either way in one clip."""
    records = {"ours": [], "warp": []}
    for seed in range(6):
        batch = block_town.batch(params, 6, seed, bend=0.05)
        answers = {"ours": warp_fill.predict(untrained(params), batch)}
        answers["warp"] = scoring.baselines(params)["ego_warp"](batch)
        for name, answer in answers.items():
            records[name] += scoring.score(batch, answer, params)
    ours, warp = metrics(records["ours"]), metrics(records["warp"])
    assert all(ours[name] >= warp[name] for name in warp)
    assert all(ours[name] == 0 for name in ours if "new" in name)  # as all-empty


def test_it_never_reads_future_labels(batch, params):
    model, past = untrained(params), params.model.past
    blind = {**batch, "occ_TXYZ": batch["occ_TXYZ"].clone()}
    blind["occ_TXYZ"][:, past:] = 0
    assert torch.equal(warp_fill.predict(model, batch)["occ_BFXYZ"], warp_fill.predict(model, blind)["occ_BFXYZ"])


def test_gradient_reaches_every_parameter_in_the_first_step(batch, params):
    model = untrained(params).train()
    warp_fill.loss(model, batch, warp_fill.phases(params)[0]).total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_loss_is_a_mean_over_samples(params):
    """So it does not depend on how a batch is divided among processes or micro-batches."""
    params = block_town.params(past=2, future=2)  # both future frames are looked at in every step
    batch, model, phase = block_town.batch(params, 4), untrained(params), warp_fill.phases(params)[0]
    whole = warp_fill.loss(model, batch, phase).total
    halves = [
        warp_fill.loss(model, {k: v[part] for k, v in batch.items()}, phase).total
        for part in (slice(0, 2), slice(2, 4))
    ]
    assert torch.allclose(whole, torch.stack(halves).mean(), rtol=1e-5)


def test_soft_iou_of_a_certain_answer_is_the_iou():
    truth_NV, guess_NV = (
        torch.tensor([[warp_fill.STATIC.index(label) for label in labels]])
        for labels in ([11, 11, 15, 17, 17, 17], [11, 17, 11, 11, 17, 17])
    )
    nothing_NV = torch.full_like(truth_NV, warp_fill.NOTHING)
    probability_NCV = torch.nn.functional.one_hot(guess_NV, len(warp_fill.STATIC)).transpose(1, 2).float()
    picked_N2V = probability_NCV.gather(1, torch.stack([truth_NV, nothing_NV], dim=1))
    iou_NM = warp_fill.soft_iou(probability_NCV, picked_N2V, truth_NV, torch.ones(1, 1, 6))
    occupied, road, wall = 2 / 4, 1 / 4, 0.0
    assert iou_NM.item() == pytest.approx((occupied + (road + wall) / 2) / 2)


def test_random_frames_follow_the_global_generator(batch, params):
    model, phase = untrained(params), warp_fill.phases(params)[0]
    totals = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        totals.append(warp_fill.loss(model, batch, phase).total.item())
    assert totals[0] == totals[1] != totals[2]


@pytest.mark.parametrize("window", [(17, 13, 5), (8, 8, 4)])
def test_any_window_size_works(window):
    params = block_town.params(window=window, past=2, future=2, levels=3)
    batch, model = block_town.batch(params, 1), untrained(params)
    assert warp_fill.predict(model, batch)["occ_BFXYZ"].shape == (1, 2, *window)


@pytest.mark.slow
def test_it_overfits_ten_samples():
    params = block_town.params(window=(16, 16, 6), past=3, future=2, width=16)
    batch, model = block_town.batch(params, 10, bend=0.05), untrained(params).train()
    before = scores(batch, warp_fill.predict(model, batch), params)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=150)
    for _ in range(150):
        optimizer.zero_grad()
        warp_fill.loss(model, batch, warp_fill.phases(params)[0]).total.backward()
        optimizer.step()
        schedule.step()
    after = scores(batch, warp_fill.predict(model.eval(), batch), params)
    assert after["IoU"] > max(0.95, before["IoU"])
    assert after["IoU new"] > 0.9
