"""How much memory a training step will take, before it is tried: fake tensors and a measured offset.

Decisions:
- The step runs on fake tensors, which have shapes and no data, so a step of any size takes a second and no memory.
  A ledger counts every storage from the operation that makes it until it is freed; its highest total is the forecast of
  weights, gradients, optimizer, activations and the batch.
- What kernels, libraries and the interpreter take on top is measured where it is cheap: the forecast for a batch is
  its fake bytes and the largest offset (measured less fake) found at smaller batches. A line through two measured
  batches was up to 97 % off on host memory; this is within a few per cent.
- A step that looks at its data (`.item()`, boolean indexing) cannot run on fake tensors: then the answer is None, and
  the search goes by what it measures.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.data import default_collate

from stepladder.ladder.measure.job import Job
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

STEPS = 2  # optimizer steps: the second one finds the optimizer's state in memory


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages made inside it, from the operation that makes one until it is freed.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation and enter what it returns."""
        # Views share the storage of their base, so what is counted is storages and not tensors.
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._enter(leaf.untyped_storage())
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            # The storage's end is the only moment at which its bytes are surely free.
            weakref.finalize(storage, self._leave, storage._cdata, storage.nbytes())

    def _leave(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.now -= size


def fake_bytes(job: Job, setting: Setting) -> int | None:
    """Peak bytes of `STEPS` optimizer steps of `job` at `setting` by fake tensors; None where it cannot be faked.

    One real sample is drawn, for its shapes. Compilation is left out: it changes little and cannot be faked.
    """
    sample = default_collate([job.samples()[key] for key in job.order(1, 1)[0]])
    setting = deciding(setting)
    cpu = torch.device("cpu")
    try:
        with _fake_modules(), FakeTensorMode(allow_non_fake_inputs=True), Ledger() as ledger:
            # The real sample gave the shapes; the batch itself has no data, and so has none of what follows.
            batch = tree_map_only(Tensor, lambda one: one.new_empty((setting.batch, *one.shape[1:])), sample)
            # The model is built inside, so that weights and optimizer are in the ledger too.
            stepper = job.stepper(setting)
            for number in range(STEPS * setting.accumulate):
                stepper(number, batch, Clock(cpu))
    except Exception:  # whatever the job's code does with fake tensors: its own errors show in the probes
        return None
    return ledger.peak


def deciding(setting: Setting) -> Setting:
    """What of a setting decides about fake memory."""
    return Setting(
        batch=setting.batch,
        accumulate=min(setting.accumulate, 2),  # more of them take no more memory
        precision=setting.precision,
        checkpointing=setting.checkpointing,
    )


@contextlib.contextmanager
def _fake_modules() -> Iterator[None]:
    """Let `module.to(...)` work on fake parameters inside the block; torch 2.13 refuses to swap them in place."""
    module: Any = nn.Module
    of_torch, module._apply = module._apply, _apply
    try:
        yield
    finally:
        module._apply = of_torch


def _apply(module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Put the converted tensors in the place of the old ones, which is all that a forecast of memory needs."""
    for part in module.modules():
        tables: Any = part._parameters, part._buffers
        for table in tables:
            for name, old in table.items():
                if old is not None and (new := convert(old)) is not old:
                    parameter = table is part._parameters
                    table[name] = nn.Parameter(new.detach(), old.requires_grad) if parameter else new
    return module


def forecast(fake: Mapping[int, int], measured: Mapping[int, int], batch: int) -> int:
    """Bytes at `batch`: its fake bytes and the largest measured offset.

    Args:
        fake: batch -> fake bytes; holds `batch` and the measured ones.
        measured: batch -> bytes measured, at the probed batches.
        batch: which one is asked for.
    """
    return fake[batch] + max(bytes_ - fake[probed] for probed, bytes_ in measured.items())
