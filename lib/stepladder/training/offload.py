"""Activations that wait in host memory from forward to backward, to save the accelerator's (`activation_offload`).

Decisions:
- Block by block (see `parallel.blocks`): what a block saves for its backward is copied to pinned host memory, and back
  when it is needed. What comes after the last block, loss and all, is needed at once and stays.
- Copies go in the stream of the computation: nothing waits on the host, and the numbers are the same to the last bit.
- Parameters and buffers are saved too, as views; they are on the device anyway and stay. So do small tensors.
- With activation checkpointing only the inputs of a block are saved, and only they move.
- On a CPU there is nothing to save: the copies are made all the same, and only cost time.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

SMALLEST = 4096  # bytes of a tensor that is worth the way


@dataclass(frozen=True, slots=True)
class _Away:
    """A tensor that is in host memory, and the device it belongs on."""

    copy: Tensor
    device: torch.device


class Offloaded:
    """The forward pass of a block whose saved activations wait in host memory.

    Args:
        block: whose; its forward pass is replaced by this.

    Attributes:
        moved: bytes copied away so far.
    """

    def __init__(self, block: nn.Module):
        self.moved = 0
        self._block, self._forward = block, block.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns."""
        # Asked anew in every pass: a sharded block has its parameters only inside of it.
        fixed = {_storage(one) for one in (*self._block.parameters(), *self._block.buffers())}

        def pack(value: Tensor) -> Tensor | _Away:
            if value.nbytes < SMALLEST or value.layout != torch.strided or _storage(value) in fixed:
                return value
            self.moved += value.nbytes
            return _Away(_copied(value), value.device)

        with saved_tensors_hooks(pack, _unpack):
            return self._forward(*args, **kwargs)


def offload(blocks: list[nn.Module]) -> None:
    """Let the activations of `blocks` wait in host memory, in place."""
    for block in blocks:
        block.forward = Offloaded(block)


def _copied(value: Tensor) -> Tensor:
    """A copy in host memory, laid out alike, so that kernels of the backward pass compute the same."""
    pinned = value.is_cuda
    copy = torch.empty_like(value, device="cpu", pin_memory=pinned)
    return copy.copy_(value.detach(), non_blocking=pinned)


def _unpack(saved: Tensor | _Away) -> Tensor:
    return saved.copy.to(saved.device, non_blocking=True) if isinstance(saved, _Away) else saved


def _storage(value: Tensor) -> int:
    return value.untyped_storage()._cdata
