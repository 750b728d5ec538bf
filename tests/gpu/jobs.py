"""Jobs that run out of memory, each in another place: what the ladder must survive on a card and call by its name.

`open(fault)` gives a job for `ProcessMeasurer`. On a card a limit on the process stands in for a small one where only
little memory must be left; the allocation in `main` asks the card itself for more than it has.
"""

import resource
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.data import Dataset

from stepladder.ladder.measure.job import Key, Stepper
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

LIMIT = 1 << 30  # bytes of the card that the process may take, where it is limited
PIECE = 6 << 20  # bytes: three lie in one of the allocator's segments of 20 MiB
KEEP = 3  # one piece in so many stays, so that no segment becomes free
FLOAT = 4
SPARE = 1 << 30  # bytes of addresses that are left


class Samples(Dataset):
    """Small samples; the fault strikes when the third one is drawn."""

    def __init__(self, strike: Callable[[], Any] | None):
        self.strike = strike

    def __getitem__(self, key: int) -> np.ndarray:
        if self.strike and key >= 2:
            self.strike()
        return np.zeros(4, np.float32)


class FaultyJob:
    """A job that runs out of memory where it is told."""

    def __init__(self, in_step: Callable[[], Any] | None = None, in_loader: Callable[[], Any] | None = None):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.in_step, self.in_loader = in_step, in_loader

    def samples(self) -> Dataset:
        """Small samples."""
        return Samples(self.in_loader)

    def order(self, batch: int, count: int) -> list[list[Key]]:
        """One sample after the other."""
        return [[number] * batch for number in range(count)]

    def stepper(self, setting: Setting) -> Stepper:
        """A step that strikes, or does next to nothing."""

        def one(number: int, batch: Any, clock: Clock) -> float:
            if self.in_step:
                self.in_step()
            return float(batch.to(self.device).sum())

        return one

    def fake_bytes(self, setting: Setting) -> int | None:
        """Unknown."""
        return None


def open(fault: str) -> FaultyJob:  # the word of `job.open_job`
    """The job with `fault`: none, main, worker, backward or fragmentation."""
    if fault == "worker":
        return FaultyJob(in_loader=too_much_in_a_worker)
    return FaultyJob(in_step={"none": None, "main": main, "backward": backward, "fragmentation": fragmentation}[fault])


def main() -> None:
    """Ask for twice of what there is."""
    if torch.cuda.is_available():
        torch.empty(2 * torch.cuda.get_device_properties(0).total_memory, dtype=torch.uint8, device="cuda")
    else:
        too_much_in_a_worker()


def too_much_in_a_worker() -> None:
    """Memory of the machine, with a limit on the address space in the place of a small machine."""
    limit = psutil.Process().memory_info().vms + SPARE  # CUDA alone reserves many gigabytes of addresses
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    np.empty(8 * SPARE, np.uint8)


def backward() -> None:
    """The forward pass fits, with what it keeps; the gradient does not fit beside it."""
    limited()
    count = LIMIT // 5 // FLOAT * 2  # 0.4 of the limit, twice: the input and its exponential; a third time is too much
    x = torch.zeros(count, device="cuda", requires_grad=True)
    total = x.exp().sum()
    print("forward is done", flush=True)
    total.backward()


def fragmentation() -> None:
    """Two thirds of the memory are free, and none of it in one piece."""
    limited()
    pieces = [torch.zeros(PIECE // FLOAT, device="cuda") for _ in range(LIMIT // PIECE * 4 // 5)]
    kept = pieces[::KEEP]
    del pieces
    free = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    wanted = LIMIT // 2
    print(f"{free} bytes are reserved and free; {wanted} are asked for in one piece", flush=True)
    assert free > wanted // 2
    torch.zeros(wanted // FLOAT, device="cuda")
    print(f"it fitted, beside {len(kept)} pieces", flush=True)


def limited() -> None:
    """A card of `LIMIT` bytes for this process."""
    torch.cuda.set_per_process_memory_fraction(LIMIT / torch.cuda.get_device_properties(0).total_memory)
