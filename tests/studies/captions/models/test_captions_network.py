"""Whether arms differ in what they say they differ in, and world off is the model that never had world tokens."""

import pytest
import torch

from stepladder.core.types import TrainingPhase
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import ARMS, CLOSE, CONTROLS, OPEN, WORLD
from stepladder.studies.captions.models import losses, network, phases
from stepladder.training import smoke
from stepladder.training.trainable import parameter_contract, set_trainable
from tests.studies.captions.captioned import batch_of, model_of, parameters

torch.set_num_threads(1)
SIZES = ("small", "tiny")


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_world_off_is_the_model_that_never_had_it(size):
    model, plain = model_of(size), model_of(size, world=False)
    plain.language.load_state_dict(model.language.state_dict())
    plain.vision_projection.load_state_dict(model.vision_projection.state_dict())
    batch, without = batch_of(parameters(size)), batch_of(parameters(size, world=False))
    off = sequence.without(batch, OPEN, WORLD, CLOSE)
    assert torch.equal(off["tokens_T"], without["tokens_T"])
    assert torch.equal(model(off), plain(without))
    assert not torch.allclose(model(batch)[0, -1], plain(without)[0, -1])


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_what_is_left_out_changes_nothing(size):
    model, batch = model_of(size), batch_of(parameters(size))
    other = batch | {n.removeprefix("other_"): batch[n] for n in ("other_vision_MPF", "other_world_MTVUC")}
    assert torch.equal(model(batch, "text_only"), model(other, "text_only"))
    assert torch.equal(model(batch, "shuffled"), model(other, "trained"))
    only_world = batch | {"world_MTVUC": other["world_MTVUC"]}
    assert torch.equal(model(batch, "world_shuffled"), model(only_world, "trained"))
    assert torch.equal(model(batch, "world_constant"), model(only_world, "world_constant"))


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_every_arm_differs_from_the_trained_one(size):
    model, batch = model_of(size), batch_of(parameters(size))
    with torch.no_grad():
        moved = model.vision_projection
        saved = {name: value.clone() for name, value in moved.state_dict().items()}
        for value in moved.parameters():
            value.add_(0.1)
    trained = model(batch)
    try:
        assert set(model.arms) == set(ARMS)
        for arm in set(ARMS) - {"trained"}:
            logits = model(batch, arm)
            rows = min(len(logits[0]), len(trained[0]))
            assert not torch.allclose(logits[:, :rows], trained[:, :rows]), arm
    finally:
        moved.load_state_dict(saved)


@torch.no_grad()
def test_untrained_is_where_training_began():
    model, batch = model_of(), batch_of(parameters())
    assert torch.equal(model(batch, "untrained"), model(batch))
    assert not any("untrained" in name for name in model.state_dict())


@torch.no_grad()
def test_pictures_that_are_not_there_are_not_read():
    model, batch = model_of(), batch_of(parameters())
    batch["vision_MPF"][[0, 2], 1] = 1000.0  # the second picture of items that have one
    batch["world_MTVUC"][[0, 2], 1] = 1000.0
    told = model(batch)
    for item in (0, 2):
        assert torch.equal(told[item], model(batch_of(parameters()))[item])


def test_without_world_there_are_fewer_arms():
    assert set(model_of(world=False).arms) == {"base", "untrained", "trained", "shuffled", "blank", "text_only"}
    assert set(network.build(parameters(controls=["pooled"])).arms) == set(ARMS) - {"world_constant"}


@pytest.mark.parametrize("projection", ["linear", "mlp", "pooled", "resampler"])
@pytest.mark.parametrize(("size", "steps"), [("small", 0), ("small", 1), ("tiny", 0)])
def test_every_parameter_of_a_phase_learns(size, steps, projection):
    length = 64 + 64 * (1 + steps) if projection in {"linear", "mlp"} else 96
    params = parameters(size, steps, projection=projection, length=length)
    model, study = network.build(params), Lone()
    batch = batch_of(params, pictures=(1, 1, 1), most=1)
    for phase in phases.phases(params):
        rows = parameter_contract(study, model, phase, batch)
        assert rows[-1]["trainable"] == rows[-1]["gradient"] > 0
    names = [phase.name for phase in phases.phases(params)]
    assert names == ["language", *CONTROLS, "projection"]


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_may_be_divided(size):
    params = parameters(size)
    batch = batch_of(params, answers=("A red square.", "No.", "A cat left of it.", "Yes."), pictures=(1, 2, 1, 1))
    for phase in phases.phases(params):
        check = smoke.check_divided(Lone(), network.build(params), batch, phase)
        assert check.ok, check.reason


@torch.no_grad()
def test_features_are_standardised_by_the_first_batch_alone():
    params = parameters()
    model, batch = network.build(params).eval(), batch_of(params, pictures=(1, 1, 1))
    there_NPF = batch["vision_MPF"][:, :1].flatten(0, 1) * 3 + 2
    batch["vision_MPF"][:, :1], batch["vision_MPF"][:, 1:] = there_NPF[:, None], 0  # the second pictures are not there
    model.fit(batch)
    expected = there_NPF.float().flatten(0, 1)
    torch.testing.assert_close(model.seen_2F[0], expected.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.seen_2F[1], expected.std(0, correction=0) + network.SPREAD, rtol=1e-3, atol=1e-3)
    before = model.seen_2F.clone()
    model.fit(batch | {"vision_MPF": batch["vision_MPF"] + 1})
    assert torch.equal(model.seen_2F, before)


def test_a_frame_is_told_which_one_it_is():
    params = parameters(steps=2)
    model, batch = network.build(params).eval(), batch_of(parameters(steps=2))
    turned = batch | {"world_MTVUC": batch["world_MTVUC"].flip(2)}
    for arm in ("trained", "pooled"):
        assert not torch.allclose(model(batch, arm), model(turned, arm))


def test_phases_say_what_trains():
    found = {phase.name: phase.trainable for phase in phases.phases(parameters(controls=["pooled"]))}
    assert list(found) == ["language", "pooled", "projection"]
    assert found["pooled"] == ("controls.pooled.",)
    gemma = phases.phases(parameters("gemma3_4b", length=512))
    assert "language" not in {phase.name for phase in gemma}
    assert gemma[-1] == TrainingPhase("projection", 100, ("world_projection.", "brackets."), keep_if_better=True)


def test_the_same_seed_begins_the_same():
    torch.manual_seed(1)
    one = network.build(parameters()).state_dict()
    torch.manual_seed(1)
    two = network.build(parameters()).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    bridge = one["vision_projection.network.0.weight"]
    assert torch.equal(bridge, one["controls.pooled.vision_projection.network.0.weight"])


def test_a_step_runs_on_shapes_alone():
    from torch._subclasses.fake_tensor import FakeTensorMode

    params = parameters()
    real_one = batch_of(params)
    with FakeTensorMode():
        model = network.build(params)
        batch = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in real_one.items()}
        for phase in phases.phases(params):
            set_trainable(model, phase)
            losses.loss(model, batch, phase).total.backward()


class Lone:
    """As much of a study as a step asks."""

    fit = staticmethod(lambda phase, model, batch: model.fit(batch))
    tasks = staticmethod(lambda model: {})
    label_counts = staticmethod(lambda batch: {})
    loss = staticmethod(losses.loss)
