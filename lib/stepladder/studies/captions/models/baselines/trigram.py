"""A trigram over token ids, smoothed by Witten and Bell (1991): what an answer is likely to be, pictures unseen.

p(w | u v) = (c(u v w) + d(u v) p(w | v)) / (c(u v) + d(u v)) with c counts and d how many different tokens followed;
likewise down to one token of the vocabulary, all alike. It sums to 1 over the vocabulary, so that likelihoods compare
with a network's.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import log

START = -1  # stands before the first token of an answer
History = tuple[int, ...]


class Trigram:
    """Probabilities of the next token of an answer.

    Attributes:
        vocabulary: ids that there are.
    """

    def __init__(self, answers: Iterable[Sequence[int]], vocabulary: int, order: int = 3):
        self.vocabulary = vocabulary
        self._order = order
        self._next: dict[History, Counter[int]] = defaultdict(Counter)
        self._totals: Counter[History] = Counter()
        for answer in answers:
            for history, token in steps(answer):
                for size in range(order):
                    self._next[_last(history, size)][token] += 1
                    self._totals[_last(history, size)] += 1

    def probability(self, token: int, history: History) -> float:
        """p(token | the last two tokens)."""
        p = 1 / self.vocabulary
        for size in range(self._order):
            told = _last(history, size)
            if told not in self._next:
                break
            different = len(self._next[told])
            p = (self._next[told][token] + different * p) / (self._totals[told] + different)
        return p

    def likelihood(self, answer: Sequence[int]) -> float:
        """Log-probability of a whole answer, end of turn included."""
        return sum(log(self.probability(token, history)) for history, token in steps(answer))


def steps(answer: Sequence[int]) -> Iterable[tuple[History, int]]:
    """Every token of an answer behind the two before it."""
    history: History = (START, START)
    for token in answer:
        yield history, token
        history = (history[1], token)


def _last(history: History, size: int) -> History:
    return history[len(history) - size :]
