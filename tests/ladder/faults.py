"""Nine ways for a trial to end, as jobs: what a ladder's runner must survive and tell apart.

`open(fault)` gives a job whose fault strikes in the training process (at the first pass) or in a loader process (at the
third sample). Limits on the address space stand in for a machine without memory.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from stepladder.ladder.measure.job import Key, Stepper
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

# fault -> the ending it must be told as; shared memory is full only where /dev/shm is small (see `small_shm`)
FAULTS = {
    "none": "ok",
    "torch_allocator_in_main": "oom",
    "numpy_memory_in_worker": "oom",
    "worker_killed": "killed",
    "worker_hangs": "timeout",
    "worker_leaks": "oom",
    "segfault": "crashed",
    "main_killed": "killed",
    "shm_full": "oom",
}
SLEEP = "import time; time.sleep(601.25)"  # what an orphan does; no other process is called so


class Samples(Dataset):
    """Small samples; the fault strikes when the third one is drawn."""

    def __init__(self, strike: Callable[[], Any]):
        self.strike = strike

    def __getitem__(self, key: int) -> np.ndarray:
        return np.zeros(4, np.float32) if key < 2 else self.strike()


class FaultyJob:
    """A job that ends as it is told."""

    device = torch.device("cpu")

    def __init__(self, in_loader: Callable[[], Any], in_main: Callable[[], Any]):
        self.in_loader, self.in_main = in_loader, in_main

    def samples(self) -> Dataset:
        return Samples(self.in_loader)

    def order(self, batch: int, count: int) -> list[list[Key]]:
        return [[number] * batch for number in range(count)]

    def stepper(self, setting: Setting) -> Stepper:
        def one(number: int, batch: Any, clock: Clock) -> float:
            self.in_main()
            return 0.0

        return one

    def fake_bytes(self, setting: Setting) -> int | None:
        return None


def open(fault: str) -> FaultyJob:
    """The job with `fault`."""
    strike = globals()[f"_{fault}"]
    main = fault in ("torch_allocator_in_main", "segfault", "main_killed", "runaway")
    return FaultyJob(_none, strike) if main else FaultyJob(strike, _none)


def _none() -> np.ndarray:
    return np.zeros(4, np.float32)


def _starve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


def _torch_allocator_in_main() -> None:
    _starve()
    torch.empty(1 << 33)


def _numpy_memory_in_worker() -> np.ndarray:
    _starve()
    return np.empty(1 << 33)


def _worker_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _worker_hangs() -> None:
    time.sleep(600)


def _worker_leaks() -> np.ndarray:
    kept = []
    while True:
        kept.append(bytearray(20_000_000))
        time.sleep(0.02)


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _main_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _shm_full() -> np.ndarray:
    return np.zeros((32 << 20,), np.float32)


def _runaway() -> None:
    """A child of its own session outlives the trial, unless somebody sees to it."""
    subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    os.kill(os.getpid(), signal.SIGKILL)
