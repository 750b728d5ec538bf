"""The rivals of the captioner, trivial ones first, each fitted to the training shards alone."""

from collections.abc import Sequence
from pathlib import Path

from stepladder.core.types import Baseline
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.models.baselines import examples
from stepladder.studies.captions.models.baselines.commonest import Commonest
from stepladder.studies.captions.models.baselines.neighbour import Neighbour
from stepladder.studies.captions.params import CaptionsParams


def baselines(params: CaptionsParams, train: Sequence[Path]) -> dict[str, Baseline]:
    """Rivals by name.

    commonest: the most frequent answer, tokens by their frequency. n-gram: text alone, answers of similar questions on
    top of a trigram. neighbour: the same with pictures: answers of similar questions of similar pictures.

    Raises:
        StudyError: the shards hold no item.
    """
    learnt, words = examples.read(train), tokenizer(params.conversion)
    return {
        "commonest": Commonest(learnt, words),
        "n-gram": Neighbour(learnt, words, sees=False),
        "neighbour": Neighbour(learnt, words),
    }
