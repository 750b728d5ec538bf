"""Mixing of groups in training: every step of all of them, whole steps in turn, or one group after the other.

Decisions:
- Each way is an `Order`, so a draw stays a function of the seed and its number: resuming, ranks, loader processes and
  micro-batches change nothing. In turn and one after the other, a step is a block of draws of one group.
- Inside a group samples come in epochs of their own, whichever way the groups are mixed.
- One after the other, every stage of training goes through all groups: a stage's parameters see each of them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from stepladder.core.schema import MixedTrainingParams, TrainingParams
from stepladder.core.types import Dataset
from stepladder.data.sampling import Order, SamplingError


def order_of(
    data: Dataset, training: TrainingParams, seed: int, stages: Sequence[tuple[int, int]] | None = None
) -> Order:
    """The sequence of draws that `training` asks for.

    Args:
        data: the samples, with their groups and weights.
        training: says how they are mixed; where it does not, every step draws from all by the weights.
        seed: seed of the sequence.
        stages: first step, and the step after the last, of every stage of training; None where they are not fixed.

    Raises:
        SamplingError: the samples cannot be drawn so.
    """
    weights = shares(data, training)
    if not isinstance(training, MixedTrainingParams) or training.mixing == "mixed":
        return Order(data.groups, weights, seed)
    weights = weights or _powers(data, 1.0)
    if training.mixing == "alternating":
        return Alternating(data.groups, weights, seed, training.batch)
    if stages is None:
        raise SamplingError(
            "training.mixing = sequential divides the steps of a stage among the groups, and here they are not fixed: "
            "use mixed or alternating"
        )
    return Sequential(data.groups, weights, seed, training.batch, stages)


def shares(data: Dataset, training: TrainingParams) -> Mapping[str, float]:
    """Group -> its share of the draws, in any unit; empty where all samples are drawn alike.

    They are the study's own (`Dataset.weights`), or (samples of the group) ** temperature. A group that the study
    never draws is not drawn either way.
    """
    if not isinstance(training, MixedTrainingParams) or training.temperature is None:
        return data.weights
    return _powers(data, training.temperature)


def _powers(data: Dataset, temperature: float) -> dict[str, float]:
    names, counts = np.unique(np.asarray(data.groups).astype(str), return_counts=True)
    powers = {name: float(count) ** temperature for name, count in zip(names.tolist(), counts.tolist(), strict=True)}
    return {name: power if data.weights.get(name, 1.0) > 0 else 0.0 for name, power in powers.items()}


class InTurn(Order):
    """Draws of which every step takes those of one group.

    Args:
        groups, weights, seed: as of an `Order`; groups of weight zero have no turn.
        batch: samples per optimizer step.
    """

    def __init__(self, groups: Sequence[str] | np.ndarray, weights: Mapping[str, float], seed: int, batch: int):
        super().__init__(groups, weights, seed)
        self.block = batch

    def turn(self, step: int) -> tuple[int, int]:
        """The group whose step this is, by its place among the drawn ones, and how many steps it had before."""
        raise NotImplementedError

    def _block(self, block: int) -> np.ndarray:
        group, before = self.turn(block)
        return self._run(group, before * self.block, self.block)


class Alternating(InTurn):
    """Steps of one group each, in the order of their names, again and again: all have as many."""

    def turn(self, step: int) -> tuple[int, int]:
        """See `InTurn`."""
        before, group = divmod(step, len(self._members))
        return group, before


class Sequential(InTurn):
    """All steps of one group, then all of the next, in the order of their names; in every stage anew.

    Args:
        groups, weights, seed, batch: as of `InTurn`; a weight is a share of a stage's steps.
        stages: first step, and the step after the last, of every stage.

    Raises:
        SamplingError: a stage has so few steps that a group would have none.
    """

    def __init__(
        self,
        groups: Sequence[str] | np.ndarray,
        weights: Mapping[str, float],
        seed: int,
        batch: int,
        stages: Sequence[tuple[int, int]],
    ):
        super().__init__(groups, weights, seed, batch)
        names = np.asarray(groups)[[members[0] for members in self._members]].tolist()
        begins, befores, had_G = [], [], np.zeros(len(names), dtype=np.int64)
        for begin, end in stages:
            bounds_G = np.floor(self._cumulative_G * (end - begin) + 0.5).astype(np.int64)
            steps_G = np.diff(bounds_G, prepend=0)
            if not steps_G.all():
                lacking = names[int(steps_G.argmin())]
                raise SamplingError(
                    f"training.mixing = sequential leaves no step of a stage of {end - begin} to the group {lacking!r} "
                    f"of {', '.join(names)}: raise training.steps or the group's share (training.temperature 0 gives "
                    "all the same), or use mixed"
                )
            begins.extend((begin + bounds_G - steps_G).tolist())
            befores.extend(had_G.tolist())
            had_G = had_G + steps_G
        self._begins, self._befores = begins, befores

    def turn(self, step: int) -> tuple[int, int]:
        """See `InTurn`."""
        place = int(np.searchsorted(self._begins, step, side="right")) - 1
        return place % len(self._members), self._befores[place] + step - self._begins[place]
