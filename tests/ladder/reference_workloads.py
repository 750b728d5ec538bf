"""Six training jobs with known illnesses, small enough for a laptop; a ladder must name each.

- `median_in_reader` imitates a published scroll-segmentation project that blamed its distance transform: a 3 x 3 x 3
  median filter runs over the whole volume for every patch (14 of 15.7 s there, on 320^3), behind a cache that holds
  6 % of the volumes; the loss takes two Euclidean distance transforms on every 16th call. Batch 1, one worker.
- `leaking_cache` imitates its out-of-memory kill: every loader process keeps every volume it has read, image and label
  in float32, so that memory is full near step 700, long after a short test has passed.
- `compute_bound`: samples lie ready, the network is slow.
- `launch_bound`: a step takes as long with two samples as with one, as on an accelerator that waits for its orders.
- `oom_edge`: batch 8 does not fit, though it would be the fastest.
- `healthy`: loader and step are in balance.

In the last four the accelerator's time is slept, as MLPerf Storage does: it is the same on a busy machine.
"""

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import Dataset

from stepladder.ladder.forecast import memory
from stepladder.ladder.measure.job import Key, Stepper
from stepladder.training.setting import Setting
from stepladder.training.step import Clock

PATCH = 16  # voxels of a patch's side
EDT_EVERY = 16  # calls of the loss
CACHED_SHARE = 0.06  # of the volumes


@dataclass
class Workload:
    """A job made of samples, a network, and a loss."""

    data: Dataset
    count: int  # samples to draw from
    network: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Any, int], Tensor]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def samples(self) -> Dataset:
        return self.data

    def order(self, batch: int, count: int) -> list[list[Key]]:
        return np.random.default_rng(0).integers(self.count, size=(count, batch)).tolist()

    def stepper(self, setting: Setting) -> Stepper:
        torch.manual_seed(0)
        network = self.network()
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3)

        def one(number: int, batch: Any, clock: Clock) -> Tensor:
            clock.lap("host_to_device")
            total = self.loss(network, batch, number)
            clock.lap("forward")
            total.backward()
            clock.lap("backward")
            if (number + 1) % setting.accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
                clock.lap("optimizer")
            return total.detach()

        return one

    def fake_bytes(self, setting: Setting) -> int | None:
        return memory.fake_bytes(self, setting)


# (a) -----------------------------------------------------------------------------------------------------------------


class FilteringReader(Dataset):
    """Patches of compressed volumes; the whole volume is decoded and filtered for every patch.

    Attributes:
        watch: seconds spent in samples and in the filter, by a stopwatch around the calls, for an independent share.
    """

    watch: ClassVar = {"sample": 0.0, "filter": 0.0}

    def __init__(self, volumes: int, side: int):
        rng, self.side = np.random.default_rng(1), side
        smooth = [ndimage.zoom(rng.integers(0, 256, (side // 4,) * 3), 4, order=0).astype(np.uint8) for _ in range(8)]
        self.files = [zlib.compress(smooth[number % 8].tobytes(), 1) for number in range(volumes)]
        self.cache: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getitem__(self, key: int) -> dict[str, np.ndarray]:
        begin = time.perf_counter()
        volume = self.volume(key)
        z, y, x = np.random.default_rng(key).integers(0, self.side - PATCH, 3)
        patch = volume[z : z + PATCH, y : y + PATCH, x : x + PATCH]
        image = np.ascontiguousarray(patch[::-1])
        self.watch["sample"] += time.perf_counter() - begin
        return {"image_ZYX": image, "label_ZYX": (image > 0).astype(np.float32)}

    def volume(self, key: int) -> np.ndarray:
        """The volume `key`, filtered and normalised; a few are kept."""
        if key not in self.cache:
            raw = np.frombuffer(zlib.decompress(self.files[key]), np.uint8).reshape((self.side,) * 3)
            begin = time.perf_counter()
            smooth = ndimage.median_filter(raw, size=3)
            self.watch["filter"] += time.perf_counter() - begin
            self.cache[key] = normalised(smooth)
            while len(self.cache) > CACHED_SHARE * len(self.files):
                self.cache.popitem(last=False)
        return self.cache[key]


def normalised(volume: np.ndarray) -> np.ndarray:
    """Zero mean, unit deviation."""
    volume = volume.astype(np.float32)
    return (volume - volume.mean()) / (volume.std() + 1e-6)


def median_in_reader(volumes: int = 64, side: int = 64) -> Workload:
    """See the module."""

    def loss(network: nn.Module, batch: Any, number: int) -> Tensor:
        logits = network(batch["image_ZYX"][:, None])[:, 0]
        total = nn.functional.binary_cross_entropy_with_logits(logits, batch["label_ZYX"])
        if number % EDT_EVERY == 0:
            far = [ndimage.distance_transform_edt(mask) for mask in (batch["label_ZYX"] < 0.5).numpy()]
            total = total + 0.01 * (logits.sigmoid() * torch.from_numpy(np.stack(far)).float()).mean()
        return total

    return Workload(FilteringReader(volumes, side), volumes, lambda: convolutions(2, 1), loss)


# (b) -----------------------------------------------------------------------------------------------------------------


class HoardingReader(Dataset):
    """Patches of volumes, every one of which is kept in memory once it was read."""

    def __init__(self, side: int):
        self.side, self.kept = side, {}

    def __getitem__(self, key: int) -> dict[str, np.ndarray]:
        if key not in self.kept:
            image = np.random.default_rng(key).random((self.side,) * 3, dtype=np.float32)
            self.kept[key] = image, (image > 0.5).astype(np.float32)
        image, label = self.kept[key]
        return {"image_ZYX": image[:PATCH, :PATCH, :PATCH], "label_ZYX": label[:PATCH, :PATCH, :PATCH]}


def leaking_cache(volumes: int = 2000, side: int = 50) -> Workload:
    """See the module. A volume of side 50 and its label take 1 MB; the log tells how far it came."""

    def loss(network: nn.Module, batch: Any, number: int) -> Tensor:
        print(f"pass {number}", flush=True)
        return segmentation(network, batch)

    return Workload(HoardingReader(side), volumes, lambda: convolutions(2, 1), loss)


# (c) to (f) ----------------------------------------------------------------------------------------------------------


class Ready(Dataset):
    """Samples that lie in memory; `seconds` emulates what it takes to make one."""

    def __init__(self, shape: tuple[int, ...], seconds: float = 0.0):
        self.image, self.seconds = np.random.default_rng(2).random(shape, dtype=np.float32), seconds

    def __getitem__(self, key: int) -> dict[str, np.ndarray]:
        time.sleep(self.seconds)
        return {"image_ZYX": self.image, "label_ZYX": (self.image > 0.5).astype(np.float32)}


def compute_bound(step_seconds: float = 0.08) -> Workload:
    """See the module."""
    return emulated(0.0, fixed=0.01, each=step_seconds)


def launch_bound(step_seconds: float = 0.08) -> Workload:
    """See the module."""
    return emulated(0.0, fixed=step_seconds, each=step_seconds / 100)


def healthy(sample_seconds: float = 0.1, step_seconds: float = 0.16) -> Workload:
    """See the module."""
    return emulated(sample_seconds, fixed=0.0, each=step_seconds)


def emulated(sample: float, fixed: float, each: float) -> Workload:
    """Samples that take `sample` seconds, and a step that takes `fixed` and `each` for every one of its batch."""

    def loss(network: nn.Module, batch: Any, number: int) -> Tensor:
        time.sleep(fixed + each * len(batch["image_ZYX"]))
        return network(batch["image_ZYX"]).mean()

    return Workload(Ready((8,), sample), 1000, lambda: nn.Linear(8, 1), loss)


class Chain(nn.Module):
    """A chain of activations of half a million floats, each of which backward needs again."""

    def __init__(self, depth: int):
        super().__init__()
        self.first, self.depth = nn.Linear(8, 1), depth

    def forward(self, image_B8: Tensor) -> Tensor:
        large = self.first(image_B8).expand(-1, 500_000)
        for _ in range(self.depth):
            large = large.relu()
        return large


def oom_edge(megabytes: int = 40) -> Workload:
    """See the module; every sample of a batch takes `megabytes` of activations."""

    def loss(network: nn.Module, batch: Any, number: int) -> Tensor:
        time.sleep(0.2)  # what a pass costs whatever its batch
        return network(batch["image_ZYX"]).mean()

    return Workload(Ready((8,)), 1000, lambda: Chain(megabytes // 2), loss)


def convolutions(width: int, depth: int) -> nn.Module:
    """A stack of 3-D convolutions from one channel to one."""
    layers = [nn.Conv3d(1, width, 3, padding=1)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Conv3d(width, width, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv3d(width, 1, 1))


def segmentation(network: nn.Module, batch: Any) -> Tensor:
    """Binary cross-entropy of patches."""
    logits = network(batch["image_ZYX"][:, None])[:, 0]
    return nn.functional.binary_cross_entropy_with_logits(logits, batch["label_ZYX"])
