"""The smoke test: ten samples through everything, and can the model learn them?

Every function answers one question with a `Check`, so a failure says which part of the road is broken. The same
questions make up the contract every study passes (`stepladder.testing.contract`).
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import default_collate

from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.core.types import Baseline, Batch, Check, Dataset, Sample, TrainingPhase
from stepladder.core.units import digits
from stepladder.data import draws
from stepladder.evaluation import metrics
from stepladder.training.step import StepModule, TrainState, lone_train_state, own_counts, size, train_step
from stepladder.training.trainable import set_trainable

SAMPLES = 10  # samples of a smoke test
STEPS = 300  # most optimizer steps to learn them
BY_HEART = 0.1  # of the first loss, up to which samples count as learnt by heart
LOOK = 20  # steps between two looks at how far it is
CASES = 4  # whole cases scored by a smoke test
ROUNDING = 1e-9  # of sums in another order
DIVIDED = 1e-4  # of losses of a batch and of its parts, in float32


def samples(dataset: Dataset, count: int = SAMPLES) -> list[Sample]:
    """`count` plain samples spread evenly over a data set."""
    return [dataset.sample(int(index), None) for index in metrics.choose(dataset, count)]


def shapes(samples: Sequence[Sample]) -> pd.DataFrame:
    """What a sample is made of: name, type, shape and range of every array over all given samples."""
    rows = []
    for name in samples[0]:
        values = [np.asarray(sample[name]) for sample in samples]
        low, high = min(v.min() for v in values), max(v.max() for v in values)
        shape = " x ".join(map(str, values[0].shape)) or "number"
        rows.append({"name": name, "type": str(values[0].dtype), "shape": shape, "lowest": low, "highest": high})
    return pd.DataFrame(rows)


def batch(dataset: Dataset, count: int) -> Batch:
    """`count` plain samples, collated."""
    return default_collate(samples(dataset, count))


def contract_table(rows: Sequence[dict]) -> pd.DataFrame:
    """The parameter contract as people read it: a module learns wholly, partly or not at all."""
    table = pd.DataFrame(rows)
    table["verdict"] = ["learns" if r.gradient == r.trainable and r.gradient else "frozen" for r in table.itertuples()]
    return table


def suffixes(samples: Sequence[Sample], axes: Mapping[str, str]) -> str:
    """What the letters of the samples' shape suffixes count, in the words of `Study.axes`."""
    letters = _letters(samples[0])
    said = [f"{letter} {meaning}" for letter, meaning in axes.items() if letter in letters]
    return f"Shape suffixes: {', '.join(said)}." if said else ""


def check_shapes(samples: Sequence[Sample], axes: Mapping[str, str]) -> Check:
    """All samples have equal finite arrays, with as many axes as their names say, every letter told in `axes`."""
    first = {name: np.shape(value) for name, value in samples[0].items()}
    same = all({name: np.shape(value) for name, value in sample.items()} == first for sample in samples)
    finite = all(np.isfinite(np.asarray(value, dtype=np.float64)).all() for s in samples for value in s.values())
    named = [name for name, shape in first.items() if (suffix := _suffix(name)) and len(suffix) != len(shape)]
    untold = sorted(letter for letter in _letters(samples[0]) if letter.isalpha() and letter not in axes)
    faults = {
        "samples differ in names or shapes": not same,
        "values are not finite": not finite,
        f"shape suffix wrong: {', '.join(named)}": named,
        f"letters of shape suffixes that Study.axes does not tell: {', '.join(untold)}": untold,
    }
    found = "; ".join(words for words, fault in faults.items() if fault)
    return Check("samples are as declared", not found, found or "equal shapes, finite values, suffixes true")


def _letters(sample: Sample) -> set[str]:
    """Letters and digits of the shape suffixes of a sample's names."""
    return {letter for name in sample for letter in _suffix(name)}


def _suffix(name: str) -> str:
    """The shape suffix of a name, as `YX` of `occ_YX`; empty where there is none: `gsd_m` tells a unit."""
    suffix = name.rpartition("_")[2] if "_" in name else ""
    return suffix if suffix == suffix.upper() else ""


@dataclass(frozen=True)
class Learnt:
    """A model that has seen the same few samples again and again.

    `losses` are those of its steps; `before` and `after` are the mean loss over the same few draws of everything random
    (dropout, horizons), so that they can be compared where single steps cannot. `enough` is the loss that counts as
    learnt: a share of the first one, because losses have floors.
    """

    model: nn.Module
    losses: list[float]
    before: float
    after: float
    enough: float

    @property
    def sentence(self) -> str:
        """How far the loss fell, in words that claim no more than that."""
        share = self.after / self.before if self.before else math.nan
        how = "learnt by heart" if share <= BY_HEART else "learnt in part" if share < 1 else "not learnt"
        return f"Ten samples, {how}: mean loss {digits(self.before)} -> {digits(self.after)}, {share:.0%} of the first"


def overfit(study: Study, params: Parameters, samples: Sequence[Sample], phase: TrainingPhase, steps: int) -> Learnt:
    """Train `phase` on the same few samples until they are learnt (see `check_overfit`), at most `steps` steps.

    Every step takes the next `training.batch` of them, as many as a step of the real training takes.
    """
    torch.manual_seed(params.seed)
    model, size = study.model(params), min(params.training.batch, len(samples))
    training = params.training.model_copy(update={"batch": size, "accumulate": 1, "ema": 0.0})
    train_state = lone_train_state(study, model, phase, training, params.seed)
    everything = default_collate(list(samples))
    before = after = _mean_loss(train_state.module, everything)
    losses: list[float] = []
    enough = params.training.overfit_threshold * before
    while len(losses) < steps and not after < enough:
        for step in range(len(losses), min(steps, len(losses) + LOOK)):
            batch = default_collate([samples[(step * size + place) % len(samples)] for place in range(size)])
            losses.append(float(train_step(train_state, step, [batch]).loss))
        after = _mean_loss(train_state.module, everything)
    return Learnt(model, losses, before, after, enough)


def check_overfit(learnt: Learnt) -> Check:
    """The loss of ten samples falls far enough: gradients reach what they must, targets are learnable."""
    ok = math.isfinite(learnt.after) and learnt.after < learnt.enough
    fell = f"loss {digits(learnt.before)} -> {digits(learnt.after)} in {len(learnt.losses)} steps"
    reason = f"{fell}; {digits(learnt.enough)} is enough"
    return Check("ten samples can be learnt", ok, reason, learnt.after, learnt.enough)


@torch.no_grad()
def check_divided(study: Study, model: nn.Module, batch: Batch, phase: TrainingPhase) -> Check:
    """A batch and its two halves have the same loss: it is a mean over samples, each with random numbers of its own.

    Only then may processes and micro-batches divide a batch without changing what is learnt. Of a study with tasks the
    halves are told the labelled units of the whole, as in a step; the whole goes by what its loss counts itself.
    """
    study.fit(phase, model, batch)
    set_trainable(model, phase)
    module, count, device = StepModule(study, model, phase), size(batch), torch.device("cpu")
    counts = module.tasks.counts([batch]) if module.tasks else None

    def loss(own: range, **told: Any) -> float:
        with draws.at(0, own, count, device):
            return float(module({name: value[own.start :: own.step] for name, value in batch.items()}, **told)[0])

    whole, parts = loss(range(count)), (range(0, count, 2), range(1, count, 2))
    halves = sum(loss(own, **own_counts(counts, len(own) / count)) * len(own) for own in parts) / count
    ok = math.isclose(whole, halves, rel_tol=DIVIDED)
    rule = "sum it over what label_counts counts" if counts else "average it over samples"
    advice = "" if ok else f": {rule}, and draw noise by stepladder.data.draws"
    return Check("a batch may be divided", ok, f"loss {whole:.6g}, of its halves {halves:.6g}{advice}", halves, whole)


def check_absent(study: Study, params: Parameters, samples: Sequence[Sample], phase: TrainingPhase) -> list[Check]:
    """Of each task that some of `samples` lack: from those, what serves it alone learns nothing, to the last bit.

    All samples are learnt from before, so that there is momentum that could go on.
    """
    torch.manual_seed(params.seed)
    training = params.training.model_copy(update={"batch": len(samples), "accumulate": 1, "ema": 0.0})
    train_state = lone_train_state(study, study.model(params), phase, training, params.seed)
    tasks, checks = train_state.tasks, list[Check]()
    if tasks is None:
        return checks
    train_step(train_state, 0, [default_collate(list(samples))])
    for task in tasks:
        lacking = [sample for sample in samples if not tasks.counts([default_collate([sample])])[task]]
        if lacking:
            checks.append(_check_absent(study, train_state, default_collate(lacking), task, phase))
    return checks


def _check_absent(study: Study, train_state: TrainState, batch: Batch, task: str, phase: TrainingPhase) -> Check:
    """That the parameters of `task` learn nothing from a batch without its labels."""
    assert train_state.tasks is not None, "asked of studies with tasks"
    model, own = train_state.model, train_state.tasks.own(train_state.model, [task])
    before = [parameter.detach().clone() for parameter in own]
    study.loss(model, batch, phase).total.backward()
    reached = sum(parameter.grad is not None and bool(parameter.grad.any()) for parameter in own)
    model.zero_grad(set_to_none=True)
    train_state.training = train_state.training.model_copy(update={"batch": size(batch)})
    for step in (1, 2):
        train_step(train_state, step, [batch])
    moved = sum(not torch.equal(old, new) for old, new in zip(before, own, strict=True))
    reason = f"{len(own)} tensors stand still over two steps of {size(batch)} samples without its labels"
    if reached or moved:
        reason = (
            f"{size(batch)} samples without its labels reach {reached} and move {moved} of its {len(own)} tensors: "
        )
        reason += "mask what is not labelled before it is summed, and let only this task's prefixes name them"
    return Check(f"{task} learns nothing where it is absent", not (reached or moved), reason)


@torch.no_grad()
def _mean_loss(module: nn.Module, batch: Batch, draws: int = 3) -> float:
    """Mean loss of a batch over a few fixed states of torch's generator."""
    values = []
    for draw in range(draws):
        torch.manual_seed(draw)
        values.append(float(module(batch)[0]))
    return float(np.mean(values))


def check_reload(
    study: Study, params: Parameters, model: nn.Module, batch: Batch, phase: TrainingPhase, folder: Path
) -> Check:
    """Save, load into a fresh model, take the next step: the weights are equal to the last bit."""
    path = folder / "smoke_weights.pt"
    torch.save(model.state_dict(), path)
    twin = study.model(params)
    twin.load_state_dict(torch.load(path, weights_only=True))
    path.unlink()
    after = [_next_step(study, params, copy.deepcopy(m), batch, phase) for m in (model, twin)]
    equal = all(torch.equal(a, b) for a, b in zip(*after, strict=True))
    return Check(
        "saved and loaded, the next step is the same", equal, "bit-equal weights" if equal else "weights differ"
    )


def check_oracle(study: Study, params: Parameters, cases: Sequence[Sample]) -> Check:
    """The truth handed in as prediction scores 1 (0 where lower is better) in every metric."""
    table = _values(study, params, cases, lambda batch: study.oracle(batch, params))
    best = 1.0 if study.better == "higher" else 0.0
    wrong = {name: value for name, value in table.items() if value is not None and value != best}
    reason = f"{wrong}, not {best:g} as where {study.better} is better" if wrong else f"{len(table)} metrics"
    return Check("a perfect prediction scores perfect", not wrong, reason)


def check_untrained(study: Study, params: Parameters, cases: Sequence[Sample], train: Sequence[Path]) -> Check:
    """A model that has learnt nothing does not beat the best baseline (fitted to the shards `train`) in any metric.

    Not asked of `Study.guessed`: over a few cases a guess among two choices may beat anybody.
    """
    torch.manual_seed(params.seed)
    model, sign = study.model(params).eval(), 1 if study.better == "higher" else -1
    own = _values(study, params, cases, lambda batch: study.predict(model, batch))
    best = [_values(study, params, cases, baseline) for baseline in study.baselines(params, train).values()]
    beaten = []
    for name, value in own.items():
        others = [sign * score for table in best if (score := table.get(name)) is not None]
        if name not in study.guessed and value is not None and others and sign * value > max(others) + ROUNDING:
            beaten.append(name)
    asked = f"as it should be{'; not asked of ' + ', '.join(study.guessed) if study.guessed else ''}"
    return Check("an untrained model beats no baseline", not beaten, ", ".join(beaten) or asked)


@torch.inference_mode()
def _values(study: Study, params: Parameters, cases: Sequence[Sample], method: Baseline) -> dict[str, float | None]:
    """Every metric of a method over some cases; None where nothing in them supports it."""
    rows = []
    for unit, case in enumerate(cases):
        batch = default_collate([case])
        rows += [vars(r) | {"unit": str(unit)} for r in study.score(batch, method(batch), params)]
    values = metrics.pooled(pd.DataFrame(rows))
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _next_step(
    study: Study, params: Parameters, model: nn.Module, batch: Batch, phase: TrainingPhase
) -> list[torch.Tensor]:
    training = params.training.model_copy(update={"batch": len(next(iter(batch.values()))), "accumulate": 1})
    train_state = lone_train_state(study, model, phase, training, params.seed)
    train_step(train_state, 0, [batch])
    return list(model.state_dict().values())
