"""Fits to training trajectories that are no networks: a linear step in time, and linear or nearest steady answers.

Decisions:
- Everything is fitted in double precision on the training shards only.
- The question of a steady problem is its coefficients, where no two samples share them (a mesh with two parameters),
  else also its given field (a permeability): a linear fit on fewer numbers is the stronger one.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from stepladder.core.types import Batch, Prediction, Sample, StudyError
from stepladder.studies.pde.data import equations
from stepladder.studies.pde.data.dataset import Trajectories, key
from stepladder.studies.pde.models.baselines.guesses import answer_name, persistence

MOST_FEATURES = 2048  # of a linear fit
RIDGE = 1e-4  # share of the mean eigenvalue that is added to every one


class Ridge:
    """A linear map from one frame to the next, fitted on training trajectories of each group and applied repeatedly.

    It is the dynamic mode decomposition without truncation. Groups with more than `MOST_FEATURES` values in a frame,
    and groups, grids and steps it has not seen, are left to persistence.

    Args:
        shards: of the training split.
        stride: frames of a shard from one frame to the next.
    """

    def __init__(self, shards: Sequence[Path], stride: int = 1):
        pairs: dict[tuple, list[np.ndarray]] = {}
        for shard in (Trajectories(Path(path), stride) for path in shards):
            u = shard.shard.array(shard.u_name)[:, ::stride]
            if not shard.steady and shard.kind == "grid" and np.prod(u.shape[2:]) <= MOST_FEATURES:
                # One map for each physics, step and grid: a linear map knows no other.
                known = _physics(shard.equation, shard.coefficient_NK[0], shard.step, u.shape[2:])
                pairs.setdefault(known, []).append(u)
        self.maps = {known: fit_step(*parts) for known, parts in pairs.items()}

    def __call__(self, batch: Batch) -> Prediction:
        """The state times its physics' map, again and again; persistence where none was fitted."""
        guess = persistence(batch)[answer_name(batch)]
        for item, number in enumerate(batch["equation"].tolist()):
            told_K, dt = batch["coefficient_K"][item].cpu().numpy(), float(batch["dt"][item])
            step = self.maps.get(_physics(equations.NAMES[number], told_K, dt, tuple(guess.shape[2:])))
            if step is not None:
                state = batch[key(batch, "input_")][item].double().cpu().numpy().ravel()
                for frame in guess[item]:
                    # Each forecast is the next state: errors add up as they do for every method.
                    state = np.append(state, 1.0) @ step
                    frame.copy_(torch.as_tensor(state.reshape(frame.shape)))
        return {answer_name(batch): guess}


def fit_step(*parts: np.ndarray) -> np.ndarray:
    """The ridge regression of frame t + 1 on frame t and a constant: (features + 1, features) for parts (N, T, ...)."""
    frames = [np.asarray(u, dtype=np.float64).reshape(*u.shape[:2], -1) for u in parts]
    before = np.concatenate([u[:, :-1].reshape(-1, u.shape[2]) for u in frames])
    after = np.concatenate([u[:, 1:].reshape(-1, u.shape[2]) for u in frames])
    return _ridge(np.column_stack([before, np.ones(len(before))]), after)


def _physics(equation: str, coefficient_K: np.ndarray, dt: float, shape: tuple[int, ...]) -> tuple:
    """What a linear step holds for: equation, coefficients, time and grid."""
    told = equations.symbols(equation, coefficient_K)
    group = equations.group(equation, {symbol: float(f"{value:.4g}") for symbol, value in told.items()})
    return group, f"{dt:.4g}", shape


class Answers:
    """Questions and answers of the steady training samples, all of one grid or mesh.

    Args:
        shards: of the training split.

    Raises:
        StudyError: the shards hold grids or meshes of several sizes.
    """

    def __init__(self, shards: Sequence[Path]):
        samples = [s.sample(n, 0, s.frames) for s in map(Trajectories, map(Path, shards)) for n in range(s.count)]
        shapes = sorted({sample[key(sample, "target_")].shape for sample in samples})
        if len(shapes) > 1:
            raise StudyError(f"fits to answers need one grid or mesh, here are {shapes}: choose by data.groups")
        coefficients = np.stack([sample["coefficient_K"] for sample in samples]).astype(np.float64)
        # Where coefficients alone tell all samples apart, they are the whole question; else the given field is part of
        # it.
        self.varied_K = coefficients.std(0) > 0
        self.told_apart = len(np.unique(coefficients, axis=0)) == len(samples) > 1
        self.questions = np.stack([self.question(sample) for sample in samples])
        self.answers = np.stack([sample[key(sample, "target_")] for sample in samples])

    def question(self, sample: Sample) -> np.ndarray:
        """The numbers an answer depends on."""
        told = np.asarray(sample["coefficient_K"], dtype=np.float64)[self.varied_K]
        return told if self.told_apart else np.concatenate([np.ravel(sample[key(sample, "input_")]), told])

    def asked(self, batch: Batch) -> np.ndarray:
        """Questions of a batch, (B, features)."""
        state, name = batch[key(batch, "input_")].cpu().numpy(), key(batch, "input_")
        told = batch["coefficient_K"].cpu().numpy()
        return np.stack([self.question({name: s, "coefficient_K": c}) for s, c in zip(state, told, strict=True)])

    def __call__(self, batch: Batch) -> Prediction:
        """The forecast, in the form of the batch's target."""
        answers = self.answer(self.asked(batch)).reshape(batch[key(batch, "target_")].shape)
        return {answer_name(batch): torch.as_tensor(answers, dtype=torch.float32)}

    def answer(self, questions: np.ndarray) -> np.ndarray:
        """Answer the questions (B, features) of a batch."""
        raise NotImplementedError


class MeanAnswer(Answers):
    """The mean of all training answers, whatever is asked."""

    def answer(self, questions: np.ndarray) -> np.ndarray:
        """The mean answer (B, ...) for each of the questions (B, features)."""
        return np.repeat(self.answers.mean(0, keepdims=True), len(questions), axis=0)


class Nearest(Answers):
    """The answer of the training sample whose question is nearest."""

    def answer(self, questions: np.ndarray) -> np.ndarray:
        """The answer (B, ...) of the nearest known question to each of the questions (B, features)."""
        return self.answers[[((self.questions - question) ** 2).sum(axis=1).argmin() for question in questions]]


class SteadyRidge(Answers):
    """A linear function of the question and a constant, by ridge regression.

    Args:
        shards: of the training split.
        degree: of the polynomial in the question; above 1 for few numbers only.
    """

    def __init__(self, shards: Sequence[Path], degree: int = 1):
        super().__init__(shards)
        self.degree = degree
        known = self.features(self.questions)
        flat = self.answers.reshape(len(known), -1).astype(np.float64)
        self.weights = _ridge(known, flat)

    def features(self, questions: np.ndarray) -> np.ndarray:
        """All products of up to `degree` of the numbers asked, the empty one included."""
        columns = [np.ones(len(questions))]
        for order in range(1, self.degree + 1):
            for chosen in itertools.combinations_with_replacement(questions.T, order):
                columns.append(np.prod(chosen, axis=0))
        return np.stack(columns, axis=1)

    def answer(self, questions: np.ndarray) -> np.ndarray:
        """The fitted answer (B, values) to each of the questions (B, features)."""
        return self.features(questions) @ self.weights


def _ridge(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights of the ridge regression of `wanted` (N, G) on `known` (N, F): (F, G)."""
    gram = known.T @ known
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    return np.linalg.solve(gram, known.T @ wanted)
