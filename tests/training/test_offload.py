"""Activations that wait in host memory: the same numbers to the last bit, and nothing moves that need not."""

import pytest
import torch
from torch import nn

from stepladder.core.schema import TrainingParams
from stepladder.training import offload, parallel
from stepladder.training.step import train_step
from tests.training.networks import CASES, NETWORKS
from tests.training.test_parallel import SAMPLES, begun

ROWS, WIDTH = 64, 32
ONE = ROWS * WIDTH * 4  # bytes of an activation


class Block(nn.Module):
    """Saves its input twice over (for the layer and for the sum of squares), what tanh made, and a mask too small."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, ROWS * WIDTH).reshape(ROWS, WIDTH))

    def forward(self, x, most=None):
        return torch.tanh(self.layer(x)) * self.scale * torch.ones(WIDTH, requires_grad=True)


class Stack(nn.Module):
    """Three blocks and a loss."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x.square().sum()


def gradients(**training):
    """Loss, gradients, and bytes that every block moved."""
    torch.manual_seed(0)
    model, x = Stack(), torch.randn(ROWS, WIDTH)
    parallel.prepare(model, TrainingParams(**training))
    loss = model(x)
    loss.backward()
    moved = [getattr(block.forward, "moved", 0) for block in model.blocks]
    return [loss.detach(), *(parameter.grad for parameter in model.parameters())], moved


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_move_and_weights_do_not(recompute):
    plain, none = gradients(activation_checkpointing=recompute)
    away, moved = gradients(activation_checkpointing=recompute, activation_offload=True)
    assert all(torch.equal(one, two) for one, two in zip(plain, away, strict=True))
    # The layer's input, what tanh made, and the scaled product; recomputed, the input alone. Weights and scale: never.
    assert none == [0] * 3 and moved == [(1 if recompute else 3) * ONE] * 3


def test_a_copy_is_laid_out_as_what_it_was_made_of():
    value = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    copy = offload._copied(value)
    assert copy.stride() == value.stride() and torch.equal(copy, value) and copy.data_ptr() != value.data_ptr()


def test_what_is_changed_in_place_afterwards_was_saved_before():
    """The copy is of the moment; autograd's own check of versions need not see it."""

    class Squares(nn.Module):
        def forward(self, x):
            return x * x

    model = nn.Sequential(nn.Sequential(Squares()))
    offload.offload([model[0]])
    x = torch.randn(64, 64, requires_grad=True)
    y = model(x)
    with torch.no_grad():
        x.add_(1.0)
    y.sum().backward()
    assert torch.allclose(x.grad, 2 * (x.detach() - 1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "phase"), CASES)
def test_a_step_of_every_network_is_the_same_to_the_last_bit(name, phase, monkeypatch):
    monkeypatch.setattr(offload, "SMALLEST", 1)
    batch, updated = NETWORKS[name].batch(SAMPLES), []
    for away in (False, True):
        train_state = begun(name, phase, activation_offload=away)
        result = train_step(train_state, 1, [batch])
        updated.append([result.loss, *train_state.trainable])
    moved = sum(block.forward.moved for block in parallel.blocks(train_state.model))
    assert moved and all(torch.equal(one, two) for one, two in zip(*updated, strict=True))
