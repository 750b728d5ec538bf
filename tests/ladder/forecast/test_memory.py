"""Memory of a step is known before it is tried: counted on fake tensors, checked by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from stepladder.ladder.forecast.memory import Ledger, fake_bytes, forecast
from stepladder.training.setting import Setting


class Chain:
    """A job whose step keeps `depth` activations of `width` floats for every sample."""

    device = torch.device("cpu")

    def __init__(self, width=1000, depth=10, looks=False):
        self.width, self.depth, self.looks = width, depth, looks

    def samples(self):
        return [np.zeros(4, np.float32)]

    def order(self, batch, count):
        return [[0] * batch] * count

    def stepper(self, setting):
        layer = nn.Linear(4, 1, bias=False)
        optimizer = torch.optim.AdamW(layer.parameters(), fused=True)

        def deep(large):
            for _ in range(self.depth):
                large = large.sin()
            return large

        def one(number, batch, clock):
            with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bfloat16"):
                large = layer(batch).expand(-1, self.width).clone()
                large = checkpoint(deep, large, use_reentrant=False) if setting.checkpointing else deep(large)
            loss = large.float().mean()
            if self.looks:
                loss.item()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        return one


def test_the_ledger_counts_what_is_alive():
    with Ledger() as ledger:
        first = torch.empty(1000)
        second = first[:10]  # a view takes nothing
        assert ledger.now == 4000
        del first
        assert ledger.now == 4000
        del second
        assert ledger.now == 0
        torch.empty(500).sin()
    assert ledger.peak == 4000


def test_activations_of_the_batch_are_counted():
    """`depth` inputs of `sin` and the last output are kept; backward adds a gradient, a cosine and their product."""
    job = Chain(width=1000, depth=10)
    small, large = fake_bytes(job, Setting(batch=1)), fake_bytes(job, Setting(batch=8))
    assert large - small == pytest.approx(7 * (11 + 3) * 4000, rel=0.01)
    assert small == pytest.approx((11 + 3) * 4000, rel=0.05)  # and one small layer


def test_a_step_larger_than_any_machine_is_no_trouble():
    assert fake_bytes(Chain(width=1 << 40), Setting(batch=4)) > 1e13


def test_recomputing_and_half_precision_need_less():
    job = Chain(depth=40)
    plain = fake_bytes(job, Setting(batch=8))
    assert fake_bytes(job, Setting(batch=8, checkpointing=True)) < 1.2 * plain  # its recomputation holds as much
    assert fake_bytes(job, Setting(batch=8, precision="bfloat16")) < 0.7 * plain


def test_a_step_that_looks_at_its_data_is_unknown():
    assert fake_bytes(Chain(looks=True), Setting()) is None


@settings(max_examples=50)
@given(st.integers(1, 10**9), st.integers(1, 10**7), st.lists(st.integers(0, 10**8), min_size=2, max_size=2))
def test_the_largest_offset_is_added(base, slope, offsets):
    fake = {batch: base + slope * batch for batch in (1, 2, 8)}
    measured = {batch: fake[batch] + offset for batch, offset in zip((1, 2), offsets, strict=True)}
    assert forecast(fake, measured, 8) == fake[8] + max(offsets)


def test_a_model_may_be_moved_and_converted(monkeypatch):
    """Torch refuses to move fake parameters; jobs do it all the time."""
    made = []

    def linear(*sizes, **more):
        made.append(nn.Sequential(plain(*sizes, **more)).to("cpu").to(torch.bfloat16))
        return made[-1][0].to(torch.float32)

    plain = nn.Linear
    monkeypatch.setattr(nn, "Linear", linear)
    assert fake_bytes(Chain(), Setting()) > 40_000
    assert made


def test_accumulation_is_cut_short_because_more_of_it_takes_no_more():
    assert fake_bytes(Chain(), Setting(accumulate=64)) == fake_bytes(Chain(), Setting(accumulate=2))
