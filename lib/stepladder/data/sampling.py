"""Sampling: which sample is drawn when, and with which randomness, as pure functions of the seed and a number.

Decisions:
- Draws are numbered over the whole training: `n = step * batch + slot`. Sample and augmentation of draw `n` depend on
  `(seed, n)` only, through the counter-based generator Philox (Salmon et al., SC 2011). So a resumed run needs one
  integer, and neither the number of ranks nor that of loader processes changes what is drawn.
- One group, or no weights: plain epochs, each a permutation of its own. Weighted groups: draws come in blocks, and each
  block holds every group's share to within one draw, so shares are exact in the long run; inside a group its samples
  come in epochs of their own, none twice before each was drawn once.
- Rank `r` of `w` takes slots `r::w`; of these, micro-batch `m` of `a` takes every a-th. Each draw has one taker.
"""

import functools
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from stepladder.core.types import Dataset, Sample
from stepladder.machine import limits, signals

Draw = tuple[int, int]  # global number of the draw, index of the sample
PLAIN = -1  # in place of a draw's number: a validation sample, never augmented
SHORTEST_BLOCK = 64
SEEDS_AT_ONCE = 64
SCHEDULE, EPOCH, DRAW, TORCH = 1, 2, 3, 4  # independent streams of one seed


class SamplingError(ValueError):
    """Samples that cannot be drawn as asked, with the way out."""


def philox(seed: int, stream: int, *place: int) -> np.random.Philox:
    """The bit generator at `place` (up to three integers) of a stream of `seed`; 2^66 numbers until the next place."""
    # Words 1 to 3 of the counter are the address; two addresses never share a number.
    counter = np.zeros(4, dtype=np.uint64)
    counter[1 : 1 + len(place)] = place  # word 0 counts the numbers taken at this place
    return np.random.Philox(counter=counter, key=np.array([seed, stream], dtype=np.uint64))


class Dice:
    """One generator that is put to any place of a stream: the numbers of `philox` at a fraction of its price.

    What `at` returns is only good until `at` is called again.
    """

    def __init__(self, seed: int, stream: int):
        self._bits = philox(seed, stream)
        self._fresh = self._bits.state
        self._counter = self._fresh["state"]["counter"]
        self._generator = np.random.Generator(self._bits)

    def at(self, first: int, second: int = 0, third: int = 0) -> np.random.Generator:
        """The generator, put to a place of its stream."""
        self._counter[1], self._counter[2], self._counter[3] = first, second, third
        self._bits.state = self._fresh
        return self._generator


@functools.cache
def _dice(seed: int, stream: int) -> Dice:
    return Dice(seed, stream)


def torch_seed(seed: int, step: int, part: int = 0) -> int:
    """Seed of torch's generator for a step (or another `part` of it), so that dropout does not depend on what ran."""
    return _torch_seeds(seed, step // SEEDS_AT_ONCE, part)[step % SEEDS_AT_ONCE]


@functools.lru_cache(maxsize=256)
def _torch_seeds(seed: int, block: int, part: int) -> list[int]:
    """Seeds of a block of steps: one call instead of many, because a step of a small model takes less than a ms."""
    return (philox(seed, TORCH, block, part).random_raw(SEEDS_AT_ONCE) >> np.uint64(1)).tolist()


def slots(batch: int, rank: int, world: int, micro: int = 0, accumulate: int = 1) -> range:
    """Places in the global batch of the samples that micro-batch `micro` of process `rank` takes."""
    return range(micro * world + rank, batch, world * accumulate)


class Order:
    """The endless sequence of draws over a dataset.

    Args:
        groups: (N,) group name of every sample.
        weights: group -> share of the draws, in any unit; empty for plain epochs over all samples. Groups of weight
            zero are never drawn; weights of groups without samples are left out.
        seed: seed of the sequence.

    Raises:
        SamplingError: there are no samples, or a group that has samples has no weight.
    """

    def __init__(self, groups: Sequence[str] | np.ndarray, weights: Mapping[str, float], seed: int):
        groups = np.asarray(groups)
        if not len(groups):
            raise SamplingError("there are no samples to draw from: check the splits and the conversion report")
        self.seed = seed
        self._members = [np.arange(len(groups))]
        self._cumulative_G = np.ones(1)
        if weights:
            self._members, self._cumulative_G = _shares(groups, weights)
        smallest = np.diff(self._cumulative_G, prepend=0).min()
        self.block = max(SHORTEST_BLOCK, int(np.ceil(1 / smallest)) + 1)  # room for one draw of every group
        self._cached = (-1, np.empty(0, dtype=np.int64))
        self._epochs: dict[int, tuple[int, np.ndarray]] = {}

    def index(self, n: int) -> int:
        """Index of the sample of draw `n`."""
        block, place = divmod(n, self.block)
        if self._cached[0] != block:
            self._cached = (block, self._block(block))
        return int(self._cached[1][place])

    def _block(self, block: int) -> np.ndarray:
        """(block,) indices of the samples of one block."""
        # How many draws of every group this block holds, in random order; then the groups' own epochs fill the places.
        first_G = self._drawn_before(block)
        counts_G = self._drawn_before(block + 1) - first_G
        group_B = np.repeat(np.arange(len(counts_G)), counts_G)
        _dice(self.seed, SCHEDULE).at(block).shuffle(group_B)
        index_B = np.empty(self.block, dtype=np.int64)
        for group, (first, count) in enumerate(zip(first_G, counts_G, strict=True)):
            index_B[group_B == group] = self._run(group, first, count)
        return index_B

    def _drawn_before(self, block: int) -> np.ndarray:
        """(G,) how often each group is drawn before `block`: cumulative shares, rounded, so that they sum exactly."""
        return np.diff(np.floor(self._cumulative_G * (block * self.block) + 0.5).astype(np.int64), prepend=0)

    def _run(self, group: int, first: int, count: int) -> np.ndarray:
        """`count` samples of a group from its `first`-th draw on, epoch after epoch."""
        size = len(self._members[group])
        # A run may begin in one epoch of the group and end in a later one.
        epochs, places = np.divmod(np.arange(first, first + count), size)
        pieces = [self._epoch(group, int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    def _epoch(self, group: int, epoch: int) -> np.ndarray:
        """The samples of a group in the order of one epoch; the latest epoch of each group is kept."""
        if self._epochs.get(group, (None,))[0] != epoch:
            rng = _dice(self.seed, EPOCH).at(group, epoch)
            self._epochs[group] = (epoch, rng.permutation(self._members[group]))
        return self._epochs[group][1]


class StepBatches:
    """Batch sampler for `torch.utils.data.DataLoader`: the micro-batches one rank takes, step after step.

    Args:
        order: the sequence of draws.
        batch: samples per optimizer step, over all ranks.
        start, stop: first step, and the step after the last.
        rank, world: this process and their number.
        accumulate: micro-batches each rank divides its part of a step into.

    Raises:
        SamplingError: a micro-batch would be empty.
    """

    def __init__(
        self, order: Order, batch: int, start: int, stop: int, rank: int = 0, world: int = 1, accumulate: int = 1
    ):
        if batch < world * accumulate:
            raise SamplingError(
                f"training.batch = {batch} cannot be divided into {world} processes x {accumulate} micro-batches: "
                f"use a batch of at least {world * accumulate}"
            )
        self.order, self.batch, self.start, self.stop = order, batch, start, stop
        self.rank, self.world, self.accumulate = rank, world, accumulate

    def step(self, step: int) -> list[list[Draw]]:
        """This rank's micro-batches of one step."""
        return [self._micro(step, micro) for micro in range(self.accumulate)]

    def _micro(self, step: int, micro: int) -> list[Draw]:
        own = slots(self.batch, self.rank, self.world, micro, self.accumulate)
        return [
            (n, self.order.index(n)) for n in range(step * self.batch + own.start, (step + 1) * self.batch, own.step)
        ]

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.start, self.stop):
            yield from self.step(step)

    def __len__(self) -> int:
        return (self.stop - self.start) * self.accumulate


def validation_batches(size: int, batch: int, count: int, rank: int = 0, world: int = 1) -> list[list[Draw]]:
    """This rank's part of the fixed validation batches: samples spread evenly over the split, the same every time.

    At most `count` batches, fewer in a small split; every batch is full, so that ranks stay in step (a split smaller
    than one batch repeats samples).
    """
    batches = min(count, max(1, size // batch)) if size else 0
    # Evenly over the split, because neighbours in it are often alike.
    index_V = np.linspace(0, size - 1, batches * batch).round().astype(int)
    return [[(PLAIN, int(i)) for i in index_V[b * batch : (b + 1) * batch][rank::world]] for b in range(batches)]


class Stream:
    """Batch sampler of a whole training: the micro-batches of each step, and `fixed` after the steps that validate."""

    def __init__(self, steps: StepBatches, fixed: list[list[Draw]], validates: Callable[[int], bool]):
        self.steps, self.fixed, self.validates = steps, fixed, validates

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.steps.start, self.steps.stop):
            yield from self.steps.step(step)
            if self.validates(step + 1):
                yield from self.fixed


class Drawn(TorchDataset):
    """A study's datasets as torch's loader wants them: items are addressed by `(draw number, index)`."""

    def __init__(self, train: Dataset, seed: int, validation: Dataset | None = None):
        self.train, self.validation, self._dice = train, validation, Dice(seed, DRAW)

    def __getitem__(self, draw: Draw) -> Sample:
        n, index = draw
        if n == PLAIN:
            assert self.validation is not None, "nobody draws plain samples of training alone"
            return self.validation.sample(index, None)
        return self.train.sample(index, self._dice.at(n))


def loader(
    drawn: TorchDataset, batches: Iterable[list[Any]], workers: int, prefetch: int, pin: bool = False
) -> DataLoader:
    """The loader of training and of the ladder's probes: collated batches in the order of `batches`."""
    limits.allow_open_files()
    return DataLoader(
        drawn,
        batch_sampler=batches,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=pin,
        worker_init_fn=_loader_process,
        generator=torch.Generator(),  # else opening the loader would draw from the global generator
    )


def _loader_process(worker: int) -> None:
    """SIGTERM to the whole process group is for the training process, which needs its loaders to finish the step."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signals.die_with_parent()


def _shares(groups: np.ndarray, weights: Mapping[str, float]) -> tuple[list[np.ndarray], np.ndarray]:
    """Sample indices of every drawn group, and the cumulative shares, the last exactly 1."""
    present = sorted({str(name) for name in groups})
    unweighted = [name for name in present if name not in weights]
    if unweighted:
        raise SamplingError(f"no weight for the group {unweighted[0]!r}; weights are given for {', '.join(weights)}")
    drawn = [name for name in present if weights[name] > 0]
    if not drawn:
        raise SamplingError(f"all weights are zero: nothing to draw from {', '.join(present)}")
    cumulative_G = np.cumsum([weights[name] for name in drawn], dtype=np.float64)
    return [np.flatnonzero(groups == name) for name in drawn], cumulative_G / cumulative_G[-1]
