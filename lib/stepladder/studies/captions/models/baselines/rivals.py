"""The rivals of the captioner, trivial ones first, each fitted to the training shards alone."""

from collections.abc import Sequence
from pathlib import Path

from stepladder.core.types import Baseline
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.models.baselines import examples
from stepladder.studies.captions.models.baselines.commonest import Commonest
from stepladder.studies.captions.models.baselines.eyes import Look, Words
from stepladder.studies.captions.models.baselines.neighbour import Neighbour
from stepladder.studies.captions.params import CaptionsParams


def baselines(params: CaptionsParams, train: Sequence[Path]) -> dict[str, Baseline]:
    """Rivals by name.

    commonest: the most frequent answer, tokens by their frequency. n-gram: text alone, answers to similar questions on
    top of a trigram. neighbour: the same with pictures whose features are alike. words: with pictures of which a ridge
    regression foretells like words.

    Raises:
        StudyError: the shards hold no item.
    """
    learnt, words = examples.read(train), tokenizer(params.conversion)
    return {
        "commonest": Commonest(learnt, words),
        "n-gram": Neighbour(learnt, words, None),
        "neighbour": Neighbour(learnt, words, Look(learnt)),
        "words": Neighbour(learnt, words, Words(learnt, words.vocabulary)),
    }
