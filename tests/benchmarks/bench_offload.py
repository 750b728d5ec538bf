"""Activations that wait in host memory: what of them stays on the device, what moves, and what a step takes longer.

Run `python tests/benchmarks/bench_offload.py`. A causal transformer makes the same step in four ways: plain, offloaded,
recomputed, and both. Losses and gradients must be the same to the last bit. What stays is counted as the bytes that
autograd holds on the device when the backward pass begins, each storage once and without weights; on a card the peak
of its memory is measured too. On a CPU nothing is saved, for both memories are one: there the bytes tell what a card
would save, and the time is that of the copies. The record is tests/benchmarks/records/offload.json.
"""

import itertools
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from stepladder.core.schema import TrainingParams
from stepladder.dev import records
from stepladder.training import parallel

ROUNDS = 7


@dataclass(frozen=True)
class Size:
    """Of the network and its batch."""

    blocks: int
    width: int
    tokens: int
    batch: int
    words: int


SIZES = {"cpu": Size(6, 128, 128, 8, 1024), "cuda": Size(24, 2048, 1024, 8, 32768)}


class Block(nn.Module):
    """Causal attention and a gated unit, each after a norm (width W)."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.mixed, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(*io, bias=False) for io in ((width, 4 * width),) * 2 + ((4 * width, width),)
        )

    def forward(self, x_BTW: Tensor) -> Tensor:
        """The next x_BTW."""
        parts = self.mixed(self.norms[0](x_BTW)).unflatten(-1, (3, -1, 64)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTW = x_BTW + self.out(heads.transpose(1, 2).flatten(2))
        now = self.norms[1](x_BTW)
        return x_BTW + self.down(nn.functional.silu(self.gate(now)) * self.up(now))


class Transformer(nn.Module):
    """Next-word loss of tokens_BT."""

    def __init__(self, size: Size):
        super().__init__()
        self.words = nn.Embedding(size.words, size.width)
        self.blocks = nn.ModuleList(Block(size.width) for _ in range(size.blocks))
        self.norm, self.head = nn.RMSNorm(size.width), nn.Linear(size.width, size.words, bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Mean cross entropy."""
        x = self.words(tokens_BT)
        for block in self.blocks:
            x = block(x)
        return nn.functional.cross_entropy(self.head(self.norm(x))[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())


class Way:
    """The network made ready in one way."""

    def __init__(self, size: Size, device: torch.device, offload: bool, recompute: bool):
        torch.manual_seed(0)
        self.name = {(0, 0): "plain", (1, 0): "offloaded", (0, 1): "recomputed", (1, 1): "both"}[offload, recompute]
        self.device, self.model = device, Transformer(size).to(device)
        self.tokens_BT = torch.randint(size.words, (size.batch, size.tokens), device=device)
        parallel.prepare(self.model, TrainingParams(activation_offload=offload, activation_checkpointing=recompute))
        self.seconds: list[float] = []

    def step(self) -> float:
        """Forward and backward; the loss. Its seconds are noted."""
        self.model.zero_grad(set_to_none=True)
        self._wait()
        begin = time.perf_counter()
        loss = self._loss()
        loss.backward()
        self._wait()
        self.seconds.append(time.perf_counter() - begin)
        return loss.item()

    def bytes(self) -> dict[str, int]:
        """What a step leaves on the device for its backward pass, what it moves away, and on a card its peak."""
        fixed = {one.untyped_storage().data_ptr() for one in self.model.parameters()}
        stays: dict[int, Tensor] = {}

        def seen(value: Tensor) -> Tensor:
            if value.untyped_storage().data_ptr() not in fixed:
                stays[value.untyped_storage().data_ptr()] = value  # held, so that no other takes its place
            return value

        moved = self._moved()
        with saved_tensors_hooks(seen, lambda value: value):
            loss = self._loss()
        found = {"stays": sum(v.untyped_storage().nbytes() for v in stays.values()), "moves": self._moved() - moved}
        del loss
        stays.clear()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.step()
            found["peak"] = torch.cuda.max_memory_allocated()
        return found

    def _loss(self) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return self.model(self.tokens_BT)

    def _moved(self) -> int:
        return sum(getattr(block.forward, "moved", 0) for block in self.model.blocks)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(device: torch.device, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """A row for each way, on one device: bytes, milliseconds of a step, whether its numbers are those of `plain`."""
    size = SIZES[device.type]
    rows, first = [], None
    for offload, recompute in itertools.product((False, True), repeat=2):
        way = Way(size, device, offload, recompute)
        way.step()  # what is made once
        way.seconds.clear()
        losses = [way.step() for _ in range(rounds)]
        numbers = [torch.tensor(losses), *(one.grad.cpu() for one in way.model.parameters() if one.grad is not None)]
        first = first or numbers  # of `plain`, which comes first
        equal = all(torch.equal(ours, plain) for ours, plain in zip(numbers, first, strict=True))
        rows.append({"way": way.name, "ms": statistics.median(way.seconds) * 1e3, "equal": equal, **way.bytes()})
        del way
    return rows


def main() -> None:
    """Measure here, print, record."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    rows = measure(device)
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    records.write(__file__, {"device": device.type, "size": vars(SIZES[device.type]), "rows": rows})


if __name__ == "__main__":
    main()
