"""Autoregressive rollouts: answers are the next questions."""

import torch

from stepladder.studies.pde.models.operator.rollout import advanced, roll
from tests.studies.pde.batches import grid_batch, particle_batch


def test_answers_are_the_next_states() -> None:
    batch = grid_batch(count=2)
    frames = roll(lambda b: 2 * b["input_XC"] + b["coefficient_K"][:, :1, None], batch, 3)
    state = batch["input_XC"]
    expected = [2 * state + 0.01, 4 * state + 0.03, 8 * state + 0.07]
    torch.testing.assert_close(frames, torch.stack(expected, dim=1))


def test_grids_stay_where_they_are() -> None:
    batch = grid_batch(axes=2)
    later = advanced(batch, batch["input_YXC"] + 1)
    assert later["position_YXD"] is batch["position_YXD"]
    assert torch.equal(later["input_YXC"], batch["input_YXC"] + 1)


def test_particles_take_their_places_along() -> None:
    batch = particle_batch()
    later = advanced(batch, batch["target_TXC"][:, 0])
    torch.testing.assert_close(later["position_XD"], batch["position_XD"] + batch["input_XC"][..., 2:])
    torch.testing.assert_close(later["before_XD"], batch["input_XC"][..., 2:])
