"""The baseline networks: shapes, symmetries, gradients, and that they can learn ten samples by heart."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stepladder.studies.pde.models.baselines.afno import AFNO
from stepladder.studies.pde.models.baselines.dit import DiT
from stepladder.studies.pde.models.baselines.fno import FNO
from stepladder.studies.pde.models.baselines.unet import UNet
from stepladder.studies.pde.models.operator.patches import cut, joined
from stepladder.studies.pde.models.operator.rollout import state_key
from stepladder.studies.pde.models.operator.spectral import SpectralMix, harmonics
from tests.studies.pde.batches import grid_batch
from tests.studies.pde.learning import learned

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "fno": lambda axes, **kind: FNO(axes, 1, channels=16, modes=8, **kind),
    "unet": lambda axes, **kind: UNet(axes, 1, channels=8, **kind),
    "afno": lambda axes, **kind: AFNO(axes, 1, width=64, layers=2, **kind),
    "dit": lambda axes, **kind: DiT(axes, 1, width=32, layers=2, **kind),
}
STRIDE = {"fno": 1, "unet": 4, "dit": 4}  # shifts by so many points commute with it; AFNO bends phases, so with none


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_and_gradients(name: str, axes: int) -> None:
    network, batch = NETWORKS[name](axes), grid_batch(axes)
    answer = network(batch)
    assert answer.shape == batch[state_key(batch)].shape
    answer.square().sum().backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [key for key in silent if "modulate" not in key and "conditioning" not in key] == []
    assert all(not p.is_complex() for p in network.parameters())


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", STRIDE)
def test_moving_the_input_moves_the_answer(name: str, axes: int) -> None:
    network, batch = NETWORKS[name](axes).eval(), grid_batch(axes)
    key = state_key(batch)
    steps = tuple(STRIDE[name] * (2 * axis + 1) for axis in range(axes))
    moved = network({**batch, key: batch[key].roll(steps, tuple(range(1, axes + 1)))})
    expected = network(batch).roll(steps, tuple(range(1, axes + 1)))
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_ten_samples_by_heart(name: str) -> None:
    batch = grid_batch(count=10, points=16)
    assert learned(NETWORKS[name](1), batch, steps=130) < 0.03  # persistence: 0.1


def test_a_steady_problem_is_answered_without_the_state() -> None:
    batch = grid_batch(2)
    for name, make in NETWORKS.items():
        network = make(2, answers=2)
        assert network(batch).shape == (3, 32, 32, 2), name


def test_the_fno_answers_on_any_resolution() -> None:
    torch.manual_seed(1)
    network, fine = FNO(1, 1, channels=8, modes=6), grid_batch(points=64)
    coarse = {**fine, "input_XC": fine["input_XC"][:, ::2]}
    spread = network(fine)[:, ::2] - network(coarse)
    assert spread.abs().max() < 0.02 * network(fine).abs().max()


def test_the_mix_is_the_complex_product() -> None:
    torch.manual_seed(0)
    mix, x = SpectralMix(1, 4, 5), torch.randn(2, 16, 4)
    weight = torch.view_as_complex(mix.weight_DMPCC[0].movedim(1, -1).contiguous())
    spectrum = torch.fft.rfft(x, dim=1)
    product = torch.zeros_like(spectrum)
    product[:, :5] = torch.einsum("bmi,mio->bmo", spectrum[:, :5], weight)
    torch.testing.assert_close(mix(x), torch.fft.irfft(product, n=16, dim=1), rtol=1e-4, atol=1e-5)


def test_harmonics_are_inverse_up_to_the_highest_mode() -> None:
    there, back = harmonics(16, 9, torch.device("cpu"))
    torch.testing.assert_close(back @ there, torch.eye(16), rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_patches_are_joined_as_they_were_cut(axes: int) -> None:
    x = torch.randn(2, *[8] * axes, 3)
    assert torch.equal(joined(cut(x, 4), 4), x)
    with pytest.raises(ValueError, match="patches of 3"):
        cut(x, 3)


def test_evaluation_first_leaves_training_possible() -> None:
    batch, network = grid_batch(points=24), FNO(1, 1, 8, 5)
    with torch.inference_mode():
        network(batch)
    network(batch).square().mean().backward()
    with FakeTensorMode(allow_non_fake_inputs=True):
        harmonics(26, 5, torch.device("cpu"))
    assert type(harmonics(26, 5, torch.device("cpu"))[0]) is torch.Tensor


def test_more_modes_than_a_plane_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model.modes = 9: \(16, 16\) points show 8 at most"):
        FNO(2, 1, 8, 9)(grid_batch(axes=2, points=16))
