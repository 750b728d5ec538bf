"""How alike two pictures are to a rival: as their features look, or as the words look that features foretell.

Decisions:
- `Look` compares features: about their mean and each as large as any other, for one loud channel would decide alone.
- `Words` compares what is there to be said: a ridge regression from features to the words of captions (bags of tokens,
  rare ones heavy), its weight chosen by closed-form leave-one-out. Two pictures that look alike for another reason are
  no longer neighbours. It is fitted in seconds and is no network.
- A training picture must not be told by a regression that has seen it: each can be asked for queries without a fold.

Shape legend: I items, G pooled features, R dimensions of what is compared, V vocabulary.
"""

from collections import Counter
from collections.abc import Sequence
from math import log
from typing import Protocol

import numpy as np
from scipy import sparse

from stepladder.studies.captions.data.layout import CAPTION
from stepladder.studies.captions.models.baselines.examples import Examples

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)  # against pictures of length 1


class Eye(Protocol):
    """What compares pictures by cosines of vectors of length 1.

    Attributes:
        items_IR: vectors of the training items.
    """

    items_IR: np.ndarray

    def of(self, pooled_G: np.ndarray) -> np.ndarray:
        """The vector (R,) of pictures with these pooled features."""
        ...

    def without(self, own_I: np.ndarray) -> np.ndarray:
        """Vectors (own, R) of the marked training items as if they had never been seen."""
        ...


class Bags:
    """Token ids as bags of words: which are there, rare ones heavy, at length 1."""

    def __init__(self, texts: Sequence[Sequence[int]], vocabulary: int):
        seen = Counter(token for text in texts for token in set(text))
        self._rarity_V = np.full(vocabulary, log(1 + len(texts)))
        self._rarity_V[list(seen)] = np.log((1 + len(texts)) / np.array(list(seen.values())))

    def __call__(self, texts: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """One row per text, (texts, V)."""
        rows = np.repeat(np.arange(len(texts)), [len(set(text)) for text in texts])
        ids = np.array([token for text in texts for token in sorted(set(text))], dtype=int)
        values = self._rarity_V[ids]
        length = np.sqrt(np.bincount(rows, values**2, len(texts))) + 1e-9
        return sparse.csr_matrix((values / length[rows], (rows, ids)), (len(texts), len(self._rarity_V)))


class Look:
    """Features as they are."""

    def __init__(self, learnt: Examples):
        self._centre_G = learnt.pooled_IG.mean(axis=0)
        self._scale_G = learnt.pooled_IG.std(axis=0) + 1e-3
        self.items_IR = self.of(learnt.pooled_IG)

    def of(self, pooled_G: np.ndarray) -> np.ndarray:
        """Standardised features at length 1."""
        return unit((pooled_G - self._centre_G) / self._scale_G)

    def without(self, own_I: np.ndarray) -> np.ndarray:
        """The same: means and spreads hardly know a single family."""
        return self.items_IR[own_I]


class Words:
    """Words of captions that features foretell."""

    def __init__(self, learnt: Examples, vocabulary: int):
        self._look = Look(learnt)
        captions = [
            answer if kind == CAPTION else () for answer, kind in zip(learnt.answers, learnt.kinds, strict=True)
        ]
        self._told_I = np.array([len(caption) > 0 for caption in captions])
        if not self._told_I.any():  # only questions: then it is their answers that are foretold
            captions, self._told_I = list(learnt.answers), np.ones(len(learnt), bool)
        told = [caption for caption in captions if caption]
        self._bags_CV = Bags(told, vocabulary)(told).toarray()
        self._bags_CV = self._bags_CV[:, used] if (used := self._bags_CV.any(axis=0)).any() else self._bags_CV
        self._mean_V = self._bags_CV.mean(axis=0)
        self._looks_CG = self._look.items_IR[self._told_I]
        self._ridge = self._chosen(learnt.families[self._told_I])
        self._map_GV = _ridge(self._looks_CG, self._bags_CV - self._mean_V, self._ridge)
        self.items_IR = self._seen(self._look.items_IR)

    def of(self, pooled_G: np.ndarray) -> np.ndarray:
        """Foretold words at length 1."""
        return self._seen(self._look.of(pooled_G))

    def without(self, own_I: np.ndarray) -> np.ndarray:
        """What a regression without the marked items foretells of them."""
        kept_C = ~own_I[self._told_I]
        if not kept_C.any():
            return self.items_IR[own_I]
        mapped = _ridge(self._looks_CG[kept_C], self._bags_CV[kept_C] - self._mean_V, self._ridge)
        return unit(self._look.items_IR[own_I] @ mapped)

    def _seen(self, look: np.ndarray) -> np.ndarray:
        return unit(look @ self._map_GV)

    def _chosen(self, families_C: np.ndarray) -> float:
        """The weight under which every second family is foretold best by the others."""
        _, number_C = np.unique(families_C, return_inverse=True)
        own_C = number_C % 2 == 1
        if own_C.all() or not own_C.any():
            return RIDGES[0]
        truth = self._bags_CV[own_C] - self._mean_V

        def miss(weight: float) -> float:
            mapped = _ridge(self._looks_CG[~own_C], self._bags_CV[~own_C] - self._mean_V, weight)
            return float(np.square(self._looks_CG[own_C] @ mapped - truth).sum())

        return min(RIDGES, key=miss)


def _ridge(x_CG: np.ndarray, y_CV: np.ndarray, weight: float) -> np.ndarray:
    """The map (G, V) of a ridge regression, by its dual form: there are fewer pictures than features."""
    kernel_CC = x_CG @ x_CG.T
    return x_CG.T @ np.linalg.solve(kernel_CC + weight * np.eye(len(kernel_CC)), y_CV)


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors at length 1."""
    return x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-9)
