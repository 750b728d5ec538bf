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

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from scipy import sparse

from stepladder.core.types import Batch, Prediction
from stepladder.studies.captions.data.tokenizer import Tokenizer
from stepladder.studies.captions.evaluation.scoring import bytes_of, text_of
from stepladder.studies.captions.models.baselines import examples
from stepladder.studies.captions.models.baselines.examples import Examples
from stepladder.studies.captions.models.baselines.trigram import History, Trigram, steps

QUERIES, FOLDS = 120, 4  # training items by which strengths are chosen, in parts of whole families
CANDIDATES = 16  # neighbours of which one's answer is said
BLIND = np.inf  # temperature at which a cosine says nothing
PICTURE, QUESTION, SMOOTHING = (0.03, 0.06, 0.12, 0.25, 0.5), (0.05, 0.15, 0.5), (0.3, 1.0, 3.0, 10.0)


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
class Fold:
    """Some families, by which strengths are tried.

    Attributes:
        asked: places of items that are told.
        own_I: which items are of these families, so that they may not tell.
        others: the trigram of all other families.
    """

    asked: np.ndarray
    own_I: np.ndarray
    others: Trigram


class Neighbour:
    """A baseline that answers as similar items were answered.

    Attributes:
        strength: chosen on training items.
    """

    def __init__(self, learnt: Examples, words: Tokenizer, sees: bool = True):
        self._texts, self._words, vocabulary = learnt.texts, words, words.vocabulary
        self._answers = [(*answer, words.special.end) for answer in learnt.answers]
        self._everybody = Trigram(self._answers, vocabulary)
        self._centre_G, self._scale_G = learnt.pooled_IG.mean(axis=0), learnt.pooled_IG.std(axis=0) + 1e-3
        self._pictures_IG = self._unit(learnt.pooled_IG)
        self._rarity_V = _rarity(learnt.questions, vocabulary)
        self._questions_IV = self._bags(learnt.questions)
        self._after = _followers(self._answers)
        self.strength = self._chosen(learnt.families, sees)

    def __call__(self, batch: Batch) -> Prediction:
        """A free answer and the likelihood of every choice."""
        texts, rows = [], []
        for place in range(len(batch["kind"])):
            question_1V = self._bags([self._words.encode(text_of(batch["question_S"][place]))])
            weight_I = self._weights(self._unit(examples.of_case(batch, place)), question_1V, self.strength)
            texts.append(self._said(weight_I))
            choices = examples.choices_of(batch, place)
            rows.append([self._likelihood(ids, weight_I, self.strength, self._everybody) for ids in choices])
        tokens_BC = (batch["choice_ids_CL"] >= 0).sum(dim=-1)
        likelihood_BC = torch.full(tokens_BC.shape, -torch.inf)
        for place, row in enumerate(rows):
            likelihood_BC[place, : len(row)] = torch.tensor(row)
        return {"text_BS": bytes_of(texts), "likelihood_BC": likelihood_BC, "tokens_BC": tokens_BC}

    def _unit(self, pooled_G: np.ndarray) -> np.ndarray:
        """Features about their mean, each as large as any other, at length 1."""
        apart_G = (pooled_G - self._centre_G) / self._scale_G
        return apart_G / (np.linalg.norm(apart_G, axis=-1, keepdims=True) + 1e-9)

    def _bags(self, questions: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """Questions as bags of tokens, rare ones heavy, at length 1: (Q, vocabulary)."""
        rows = np.repeat(np.arange(len(questions)), [len(set(one)) for one in questions])
        ids = np.array([token for one in questions for token in sorted(set(one))], dtype=int)
        values = self._rarity_V[ids]
        length_Q = np.sqrt(np.bincount(rows, values**2, len(questions))) + 1e-9
        return sparse.csr_matrix((values / length_Q[rows], (rows, ids)), (len(questions), len(self._rarity_V)))

    def _weights(
        self,
        picture_G: np.ndarray,
        question_1V: sparse.csr_matrix,
        strength: Strength,
        hidden_I: np.ndarray | None = None,
    ) -> np.ndarray:
        """What every training item weighs for a query (I,), the nearest 1; the hidden ones nothing."""
        nearness_I = (self._questions_IV @ question_1V.T).toarray()[:, 0] / strength.question
        if strength.picture != BLIND:
            nearness_I = nearness_I + self._pictures_IG @ picture_G / strength.picture
        if hidden_I is not None:
            nearness_I = np.where(hidden_I, -np.inf, nearness_I)
        nearest = nearness_I.max()
        return np.exp(nearness_I - nearest) if np.isfinite(nearest) else np.zeros(len(nearness_I))

    def _likelihood(
        self, answer: Sequence[int], weight_I: np.ndarray, strength: Strength, everybody: Trigram
    ) -> float:
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
        """The answer of the neighbourhood that its neighbours agree with most."""
        near_K = np.argsort(-weight_I, kind="stable")[:CANDIDATES]
        bags = [_bigrams(self._answers[place]) for place in near_K]
        shared_KK = np.array([[_f1(one, other) for other in bags] for one in bags])
        return self._texts[near_K[int(np.argmax(shared_KK @ weight_I[near_K]))]]

    def _chosen(self, families_I: np.ndarray, sees: bool) -> Strength:
        """The strengths under which training answers are likeliest, each told by other families alone."""
        folds = self._folds(families_I)
        best = Strength(0.12 if sees else BLIND, 0.15, 1.0)
        grid = {"picture": PICTURE if sees else (BLIND,), "question": QUESTION, "smoothing": SMOOTHING}
        for name, values in 2 * list(grid.items()):  # one strength after the other, twice
            tried = [Strength(**{**vars(best), name: value}) for value in values]
            best = max(tried, key=lambda strength: self._told_by_others(folds, strength))
        return best

    def _folds(self, families_I: np.ndarray) -> list[Fold]:
        """Families in a few parts: of each some items, and what all other parts know."""
        _, family_I = np.unique(families_I, return_inverse=True)
        folds = []
        for number in range(min(FOLDS, family_I.max() + 1)):
            own_I = family_I % FOLDS == number
            places = np.flatnonzero(own_I)
            asked = places[:: max(1, len(places) * FOLDS // QUERIES)]
            others = Trigram((self._answers[place] for place in np.flatnonzero(~own_I)), self._everybody.vocabulary)
            folds.append(Fold(asked, own_I, others))
        return folds

    def _told_by_others(self, folds: list[Fold], strength: Strength) -> float:
        """Mean log-probability per token of training answers, told without all families of their fold."""
        likelihood, tokens = 0.0, 0
        for fold in folds:
            for place in fold.asked:
                weight_I = self._weights(self._pictures_IG[place], self._questions_IV[place], strength, fold.own_I)
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


def _rarity(questions: Sequence[Sequence[int]], vocabulary: int) -> np.ndarray:
    """log(questions / those that have it) of every token: one that all have says nothing of which."""
    seen = Counter(token for question in questions for token in set(question))
    rarity_V = np.full(vocabulary, log(1 + len(questions)))
    rarity_V[list(seen)] = np.log((1 + len(questions)) / np.array(list(seen.values())))
    return rarity_V


def _bigrams(answer: Sequence[int]) -> Counter[tuple[int, ...]]:
    return Counter(zip(answer, answer[1:], strict=False)) + Counter((token,) for token in answer)


def _f1(one: Counter, other: Counter) -> float:
    return 2 * (one & other).total() / max(one.total() + other.total(), 1)
