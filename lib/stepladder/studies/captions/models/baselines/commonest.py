"""The commonest answer to a question of its kind, whatever the picture."""

from collections import Counter

import torch

from stepladder.core.types import Batch, Prediction
from stepladder.studies.captions.data.tokenizer import Tokenizer
from stepladder.studies.captions.evaluation.scoring import bytes_of
from stepladder.studies.captions.models.baselines import examples
from stepladder.studies.captions.models.baselines.examples import Examples
from stepladder.studies.captions.models.baselines.trigram import Trigram


class Commonest:
    """Says the most frequent answer to its kind of question; how likely tokens are follows their frequency."""

    def __init__(self, learnt: Examples, words: Tokenizer):
        answers = [(*answer, words.special.end) for answer in learnt.answers]
        self._unigram = Trigram(answers, words.vocabulary, order=1)
        counts: dict[int, Counter[str]] = {}
        for kind, text in zip(learnt.kinds, learnt.texts, strict=True):
            counts.setdefault(kind, Counter())[text] += 1
        self._said = {kind: count.most_common(1)[0][0] for kind, count in counts.items()}

    def __call__(self, batch: Batch) -> Prediction:
        """A free answer and the likelihood of every choice."""
        tokens_BC = (batch["choice_ids_CL"] >= 0).sum(dim=-1)
        likelihood_BC = torch.full(tokens_BC.shape, -torch.inf)
        for place in range(len(tokens_BC)):
            row = [self._unigram.likelihood(ids) for ids in examples.choices_of(batch, place)]
            likelihood_BC[place, : len(row)] = torch.tensor(row)
        said = bytes_of([self._said.get(int(kind), "") for kind in batch["kind"]])
        return {"text_BS": said, "likelihood_BC": likelihood_BC, "tokens_BC": tokens_BC}
