"""Answers of similar items: the strong cheap rival, fitted without training a network.

Decisions:
- An item is like another as far as its pictures and its question are: weights exp(picture / t + question / s) of two
  cosines. Text alone is the same rival blind, so that what the pictures add to it is told by their difference.
- How likely a token is: counts of what followed the same tokens in the answers of all items, weighted so, on top of
  the trigram of everybody (Dirichlet smoothing of strength m). A caption may be like one neighbour here, another there.
- t, s and m are those under which training answers are likeliest when each is told by other families alone, as test
  pictures will be.
- The free answer is a caption of the neighbourhood, the one that its neighbours agree with most (Devlin et al. 2015,
  who found it as good as networks of that year), never a mixture.

Shape legend: I items of training, G pooled features, Q queries, K candidates.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
import torch
from scipy import sparse

from stepladder.core.types import Batch, Prediction
from stepladder.studies.captions.data.tokenizer import Tokenizer
from stepladder.studies.captions.evaluation.scoring import bytes_of, text_of
from stepladder.studies.captions.models.baselines import examples
from stepladder.studies.captions.models.baselines.examples import Examples
from stepladder.studies.captions.models.baselines.eyes import Bags, Eye
from stepladder.studies.captions.models.baselines.trigram import History, Trigram, steps

QUERIES, FOLDS = 120, 4  # training items by which strengths are chosen, in parts of whole families
CANDIDATES = 64  # neighbours of which one's answer is said
PICTURE, QUESTION = (0.03, 0.06, 0.12, 0.25, 0.5, 2.0), (0.05, 0.15, 0.5)
SMOOTHING = (0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Strength:
    """How far similarity reaches.

    Attributes:
        picture, question: temperatures of the two cosines; lower is nearer.
        smoothing: what the trigram of everybody weighs, in tokens of a perfect neighbour.
    """

    picture: float
    question: float
    smoothing: float


@dataclass(frozen=True)
class Near:
    """How like an item is to all items of training.

    Attributes:
        picture_I, question_I: cosines; nought where the rival is blind.
    """

    picture_I: np.ndarray
    question_I: np.ndarray

    def weights(self, strength: Strength, hidden_I: np.ndarray | None = None) -> np.ndarray:
        """What every item of training weighs (I,): the nearest 1, those that are hidden nothing."""
        nearness_I = self.picture_I / strength.picture + self.question_I / strength.question
        if hidden_I is not None and not hidden_I.all():
            nearness_I = np.where(hidden_I, -np.inf, nearness_I)
        return np.exp(nearness_I - nearness_I.max())


@dataclass(frozen=True)
class Fold:
    """Some families, by which strengths are tried.

    Attributes:
        own_I: which items are of these families, so that they may not tell.
        others: the trigram of all other families.
        near: place of an item that is told -> how like it is to all, its pictures as if they had never been seen.
    """

    own_I: np.ndarray
    others: Trigram
    near: dict[int, Near]


class Neighbour:
    """A baseline that answers as similar items were answered.

    Attributes:
        strength: chosen on training items.
    """

    def __init__(self, learnt: Examples, words: Tokenizer, eye: Eye | None):
        self._texts, self._words, vocabulary = learnt.texts, words, words.vocabulary
        self._answers = [(*answer, words.special.end) for answer in learnt.answers]
        self._everybody = Trigram(self._answers, vocabulary)
        self._eye, self._bags = eye, Bags(learnt.questions, vocabulary)
        self._questions_IV = self._bags(learnt.questions)
        self._grams_IG = _grams(self._answers)
        self._mixed_I = np.random.default_rng(0).permutation(len(learnt))  # of equals, which come first
        self._after = _followers(self._answers)
        self.strength = self._chosen(learnt.families)

    def __call__(self, batch: Batch) -> Prediction:
        """A free answer and the likelihood of every choice."""
        texts, rows = [], []
        for place in range(len(batch["kind"])):
            seen = self._eye.of(examples.of_case(batch, place)) if self._eye else None
            asked = self._bags([self._words.encode(text_of(batch["question_S"][place]))])
            weight_I = self._near(seen, asked).weights(self.strength)
            texts.append(self._said(weight_I))
            choices = examples.choices_of(batch, place)
            rows.append([self._likelihood(ids, weight_I, self.strength, self._everybody) for ids in choices])
        tokens_BC = (batch["choice_ids_CL"] >= 0).sum(dim=-1)
        likelihood_BC = torch.full(tokens_BC.shape, -torch.inf)
        for place, row in enumerate(rows):
            likelihood_BC[place, : len(row)] = torch.tensor(row)
        return {"text_BS": bytes_of(texts), "likelihood_BC": likelihood_BC, "tokens_BC": tokens_BC}

    def _near(self, seen_R: np.ndarray | None, question_1V: sparse.csr_matrix) -> Near:
        question_I = (self._questions_IV @ question_1V.T).toarray()[:, 0]
        if self._eye is None or seen_R is None:
            return Near(np.zeros(len(question_I)), question_I)
        return Near(self._eye.items_IR @ seen_R, question_I)

    def _likelihood(self, answer: Sequence[int], weight_I: np.ndarray, strength: Strength, everybody: Trigram) -> float:
        """Log-probability of an answer's tokens, end of turn included."""
        total = 0.0
        for history, token in steps(answer):
            p = everybody.probability(token, history)
            for told in (history[1:], history):  # counts after one token, then after two
                items, tokens = self._after.get(told, _NOTHING)
                weight = weight_I[items]
                p = (weight[tokens == token].sum() + strength.smoothing * p) / (weight.sum() + strength.smoothing)
            total += log(p)
        return total

    def _said(self, weight_I: np.ndarray) -> str:
        """The answer of the neighbourhood that its neighbours agree with most, by shared tokens and pairs of them."""
        near_K = np.argsort(-weight_I[self._mixed_I], kind="stable")[:CANDIDATES]
        near_K = self._mixed_I[near_K]
        grams_KG = self._grams_IG[near_K]
        shared_KK, size_K = (grams_KG @ grams_KG.T).toarray(), grams_KG.sum(axis=1).A1
        agreed_K = (2 * shared_KK / (size_K[:, None] + size_K)) @ weight_I[near_K]
        return self._texts[near_K[int(np.argmax(agreed_K))]]

    def _chosen(self, families_I: np.ndarray) -> Strength:
        """The strengths under which training answers are likeliest, each told by other families alone."""
        folds = self._folds(families_I)
        best = Strength(0.12, 0.15, 1.0)
        grid = {"picture": PICTURE if self._eye else (), "question": QUESTION, "smoothing": SMOOTHING}
        for name, values in 2 * list(grid.items()):  # one strength after the other, twice
            tried = [Strength(**{**vars(best), name: value}) for value in values]
            best = max(tried, key=lambda strength: self._told_by_others(folds, strength), default=best)
        return best

    def _folds(self, families_I: np.ndarray) -> list[Fold]:
        """Families in a few parts: of each some items, and what all other parts know."""
        _, family_I = np.unique(families_I, return_inverse=True)
        folds = []
        for number in range(min(FOLDS, family_I.max() + 1)):
            own_I = family_I % FOLDS == number
            places = np.flatnonzero(own_I)
            seen = self._eye.without(own_I) if self._eye else [None] * len(places)
            told = range(0, len(places), max(1, len(places) * FOLDS // QUERIES))
            near = {int(places[row]): self._near(seen[row], self._questions_IV[places[row]]) for row in told}
            others = Trigram((self._answers[place] for place in np.flatnonzero(~own_I)), self._everybody.vocabulary)
            folds.append(Fold(own_I, others, near))
        return folds

    def _told_by_others(self, folds: list[Fold], strength: Strength) -> float:
        """Mean log-probability per token of training answers, told without all families of their fold."""
        likelihood, tokens = 0.0, 0
        for fold in folds:
            for place, near in fold.near.items():
                weight_I = near.weights(strength, fold.own_I)
                likelihood += self._likelihood(self._answers[place], weight_I, strength, fold.others)
                tokens += len(self._answers[place])
        return likelihood / tokens


_NOTHING = (np.zeros(0, int), np.zeros(0, int))


def _followers(answers: Sequence[Sequence[int]]) -> dict[History, tuple[np.ndarray, np.ndarray]]:
    """After one and after two tokens: in which items, and what followed."""
    found: dict[History, list[tuple[int, int]]] = defaultdict(list)
    for item, answer in enumerate(answers):
        for history, token in steps(answer):
            found[history].append((item, token))
            found[history[1:]].append((item, token))
    return {history: tuple(np.array(pairs).T) for history, pairs in found.items()}  # pyright: ignore[reportReturnType]


def _grams(answers: Sequence[Sequence[int]]) -> sparse.csr_matrix:
    """Which tokens and pairs of tokens every answer has, (I, grams)."""
    columns: dict[tuple[int, ...], int] = {}
    rows, places = [], []
    for row, answer in enumerate(answers):
        for gram in {*zip(answer, strict=False), *pairwise(answer)}:
            rows.append(row)
            places.append(columns.setdefault(gram, len(columns)))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, places)), (len(answers), len(columns)))
