"""Everything applied to a model from outside: processes, devices, sharding, compilation, recomputation.

Decisions:
- Models are written for one device. What a run adds stands here, in this order: activation checkpointing,
  compile, offload of activations to host memory, then FSDP2 (`training.shard`) or DDP. torch.distributed is the engine.
- One process joins no process group: nothing to pay for what is not used.
- Each rank weights its loss by its part of the batch (see `step.train_step`), so uneven parts stay exact.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from stepladder.core.config import ParameterError
from stepladder.core.schema import TrainingParams
from stepladder.training.offload import offload

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from typing_extensions import TypeIs

FSDP = "torch.distributed.fsdp"  # two fifths of what torch takes to import: for those alone who shard
SYNC_SECONDS, ALONE_SECONDS = 1.0, 0.25


@dataclass(frozen=True)
class DistributedContext:
    """This process among the training processes."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)

    @classmethod
    def join(cls) -> "DistributedContext":
        """Take the place that torchrun's environment gives; nccl on GPUs, gloo on CPUs."""
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(device)
        if world > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, world, device)

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """Sum of `value` over all ranks (in place)."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def largest(self, *values: float) -> list[float]:
        """Element-wise maximum over all ranks."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor.tolist()

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.world > 1:
            dist.barrier()

    def leave(self) -> None:
        """Leave the process group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()


class StopConsensus:
    """The sync points of the ranks: what they logged is exchanged there, and what one of them was told from outside.

    There is one about every second, at a step that all of them can compute. A process alone has one at once when it is
    told to stop, and otherwise often enough for a live curve.

    Args:
        distributed: this process among the others.
        stop: whether this process was told to stop.
        asked: whether it was asked for a checkpoint.

    Attributes:
        saves: whether any rank was asked for a checkpoint before the last sync point.
    """

    def __init__(
        self, distributed: DistributedContext, stop: Callable[[], bool], asked: Callable[[], bool] = lambda: False
    ):
        self._distributed, self._stop, self._asked, self._told = distributed, stop, asked, False
        self.saves = False
        self._step, self._next, self._since = 0, 0, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether `step` is followed by a sync point; to be asked after every step."""
        if self._distributed.world > 1:
            return step >= self._next
        self._told = self._stop()
        return self._told or time.monotonic() - self._since > ALONE_SECONDS

    def stops(self, step: int) -> bool:
        """Whether any rank was told to stop; all ranks must ask after the same step. Afterwards see `saves`."""
        now, self.saves = time.monotonic(), self._asked()
        if self._distributed.world > 1:
            # One exchange answers all: was anybody told to stop or asked to save, and how slow is the slowest. From
            # that every rank computes the same next sync point.
            told, saves, seconds = self._distributed.largest(self._stop(), self.saves, now - self._since)
            pause = int(SYNC_SECONDS * max(1, step - self._step) / max(seconds, 1e-3))
            self._told, self._step, self._next = told > 0, step, step + max(1, min(pause, 1000))
            self.saves = saves > 0
        self._since = now
        return self._told


def prepare(model: nn.Module, training: TrainingParams) -> None:
    """Apply, in place and once, what does not depend on the stage: recomputation, compilation and offload."""
    if training.activation_checkpointing:
        for block in blocks(model):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if training.compile:
        from torch._inductor import config as inductor  # takes time, and few compile

        inductor.fallback_random = True  # torch's own numbers in compiled code too, so that it learns the same
        for block in blocks(model):  # block by block: quicker than the whole, and whichever way the loss calls them
            if training.activation_offload:  # what moves activations stays outside: torch cannot compile it
                block.forward = torch.compile(block.forward)
            else:
                block.compile()
    if training.activation_offload:
        offload(blocks(model))


def shard(module: nn.Module, training: TrainingParams, distributed: DistributedContext) -> None:
    """Divide parameters, gradients and optimizer state over the ranks (FSDP2, in place), block by block."""
    if training.shard and distributed.world > 1:
        from torch.distributed.fsdp import fully_shard

        for name, parameter in module.named_parameters():
            if not parameter.ndim:
                raise ParameterError(
                    f"parameter 'training.shard': the model's {name.removeprefix('model.')} has no axis to be divided "
                    "along; give it the shape (1,), or set training.shard to false"
                )
        # Block by block, so that only one block's parameters are whole at a time. A model that is one block is not
        # divided from its loss, which may read parameters too (weights of tasks).
        whole = list(module.children())
        for block in blocks(module):
            if block not in whole and next(block.parameters(), None) is not None:
                fully_shard(block)
        # Divided again after every forward pass: after one without a backward (a question to the study) the optimizer
        # would be made of whole parameters.
        fully_shard(module, reshard_after_forward=True)


def replicate(module: nn.Module, distributed: DistributedContext) -> nn.Module:
    """`module` as one of `distributed.world` copies (DDP); itself when it is sharded or alone."""
    if distributed.world == 1 or _is_sharded(module):
        return module
    return DistributedDataParallel(module, gradient_as_bucket_view=True)


def synchronize_gradients(module: nn.Module, wanted: bool) -> None:
    """Whether the next backward exchanges gradients: only that of a step's last micro-batch does."""
    if isinstance(module, DistributedDataParallel):
        module.require_backward_grad_sync = wanted
    elif _is_sharded(module):
        module.set_requires_gradient_sync(wanted)


def _is_sharded(module: object) -> "TypeIs[FSDPModule]":
    return FSDP in sys.modules and isinstance(module, sys.modules[FSDP].FSDPModule)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a model: members of its outermost `ModuleList`s; its children where there are none.

    A member that is a container itself is opened, because only what is in it is ever called. Single layers of torch
    are left out: there is nothing inside them to divide, to fuse or to compute again.
    """
    lists: list[nn.Module] = []
    for module in model.modules():  # parents come before their children
        # A list inside a block of an outer list is part of that block.
        inside = any(module is inner for outer in lists for inner in outer.modules())
        if isinstance(module, nn.ModuleList) and not inside:
            lists.append(module)
    members = [block for outer in lists or [model] for child in outer.children() for block in _opened(child)]
    return [block for block in members if not _single(block)]


def _opened(module: nn.Module) -> list[nn.Module]:
    """A module, or what is in it where it is a container without a forward pass; of parameters nothing is."""
    if isinstance(module, (nn.ParameterList, nn.ParameterDict)):
        return []
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return [block for child in module.children() for block in _opened(child)]
    return [module]


def _single(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None
