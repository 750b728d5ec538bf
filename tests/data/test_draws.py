"""Draws by slot: the same numbers for a sample whatever stands beside it, of the right distribution."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stepladder.data import draws

CPU = torch.device("cpu")
KINDS = {
    "uniform": lambda count: draws.rand(count, 5),
    "normal": lambda count: draws.randn_like(torch.empty(count, 3, 7)),
    "dropout": lambda count: draws.dropout(torch.ones(count, 4, 6), 0.4),
    "channels": lambda count: draws.dropout(torch.ones(count, 8, 3, 3), 0.4, axes=2),
    "places": lambda count: draws.rand(3 * count, 2).unflatten(0, (count, 3)),
}


@given(
    kind=st.sampled_from(sorted(KINDS)),
    batch=st.integers(1, 12),
    world=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_division_draws_the_same_for_every_slot(kind, batch, world, accumulate, seed):
    with draws.at(seed, range(batch), batch, CPU):
        whole = [KINDS[kind](batch) for _ in range(2)]
    assert batch < 4 or not torch.equal(*whole), "two draws of a step differ"
    for part in range(min(batch, world * accumulate)):
        own = range(part, batch, world * accumulate)
        with draws.at(seed, own, batch, CPU):
            again = [KINDS[kind](len(own)) for _ in range(2)]
        assert all(torch.equal(one[list(own)], two) for one, two in zip(whole, again, strict=True))


def test_the_distributions_are_as_named():
    with draws.at(1, range(64), 64, CPU):
        uniform, normal = draws.rand(64, 2000), draws.randn_like(torch.empty(64, 2000))
        dropped = draws.dropout(torch.ones(64, 2000), 0.3)
        channels = draws.dropout(torch.ones(64, 50, 4, 4), 0.3, axes=2)
    assert uniform.min() >= 0 and uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.005) and uniform.var() == pytest.approx(1 / 12, abs=0.002)
    assert normal.mean() == pytest.approx(0, abs=0.015) and normal.std() == pytest.approx(1, abs=0.015)
    assert (dropped == 0).float().mean() == pytest.approx(0.3, abs=0.01) and dropped.mean() == pytest.approx(
        1, abs=0.02
    )
    assert torch.equal(channels.amax((2, 3)), channels.amin((2, 3))), "channels are dropped whole"
    rows = torch.corrcoef(normal)
    assert (rows - torch.eye(64)).abs().max() < 0.15, "samples are independent"


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d])
def test_layers_draw_by_slot_in_a_step_and_as_usual_outside(layer):
    model, x = nn.Sequential(layer(0.5)), torch.ones(4, 6, *[3] * (1 if layer is nn.Dropout1d else 3))
    if layer is nn.Dropout2d:
        x = x[..., 0]
    draws.by_slot(model)
    draws.by_slot(model)  # once is enough
    with draws.at(3, range(4), 4, CPU):
        whole = model(x)
    with draws.at(3, [1, 3], 4, CPU):
        assert torch.equal(model(x[:2]), whole[[1, 3]])
    torch.manual_seed(5)
    usual = model(x)
    torch.manual_seed(5)
    assert torch.equal(usual, layer(0.5)(x))
    assert torch.equal(model.eval()(x), x) and not list(model.state_dict())
    with draws.at(3, range(4), 4, CPU):
        assert torch.equal(model(x), x)


def test_what_cannot_be_divided_among_samples_is_named():
    with draws.at(0, range(3), 3, CPU), pytest.raises(draws.DrawError, match=r"\(4, 3\) for 3 samples"):
        draws.rand(4, 3)


def test_a_permutation_is_torchs_own_and_real_where_tensors_are_fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    torch.manual_seed(5)
    usual, after = torch.randperm(9).tolist(), torch.rand(1)
    torch.manual_seed(5)
    with FakeTensorMode():
        drawn = draws.permutation(9)
    assert drawn == usual and torch.equal(torch.rand(1), after), "the generator moves on as it does without it"
