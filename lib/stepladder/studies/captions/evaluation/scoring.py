"""How an answer is scored, what the truth would say, and what is printed beside every number.

Decisions:
- Captions and choices are asked of one model but not scored alike: a part of a metric is a kind of question, and the
  metric is the mean over kinds. What a kind has no answer to (the meaning of "yes") it has no record of.
- Token probability comes first: it is there for every item, sees what greedy answers hide, and costs one pass.
- A choice is taken twice: the likeliest, and the one that a parser reads from the free answer. To abstain is wrong.
- Every item has a record of every metric; where a method says nothing, one without support. So all methods are seen on
  the same items, and who cannot answer is left out instead of being 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp

import numpy as np
import torch

from stepladder.core.types import Batch, Prediction, Record
from stepladder.studies.captions.data.layout import CAPTION, ITEMS
from stepladder.studies.captions.evaluation import text_metrics
from stepladder.studies.captions.evaluation.meaning import meaning
from stepladder.studies.captions.evaluation.paired import half_width
from stepladder.studies.captions.evaluation.parser import parse
from stepladder.studies.captions.params import CaptionsParams


@dataclass(frozen=True)
class Scored:
    """One item of a batch and what a method says of it.

    Attributes:
        kind: of `layout.ITEMS`, by number.
        reference: the right answer.
        choices: what it is chosen from; for a caption the reference alone.
        right: the place of the right choice; 0 for a caption.
        text: the free answer; None where the method gives none.
        likelihood_C, tokens_C: log-likelihood of every choice and its tokens; None likewise.
    """

    kind: int
    reference: str
    choices: tuple[str, ...]
    right: int
    text: str | None
    likelihood_C: np.ndarray | None
    tokens_C: np.ndarray | None


def score(batch: Batch, prediction: Prediction, params: CaptionsParams) -> list[Record]:
    """Records of every item and metric; support 0 where the item is not asked for it, or the method has no answer."""
    records = []
    for place in range(len(batch["kind"])):
        item = item_of(batch, prediction, place)
        for name, (_, value_of) in METRICS.items():
            value = value_of(item)
            part = (ITEMS[item.kind], value, 1.0, 1.0) if value is not None else ("", 0.0, 0.0, 0.0)
            records.append(Record(place, name, part[1], part[2], part[0], part[3]))
    return records


def item_of(batch: Batch, prediction: Prediction, place: int) -> Scored:
    """Item `place` of a batch beside its prediction."""
    count = int((batch["choice_ids_CL"][place] >= 0).any(dim=-1).sum())  # the rest is padding
    choices = tuple(text_of(row_S) for row_S in batch["choices_CS"][place][:count])
    reference, kind = text_of(batch["reference_S"][place]), int(batch["kind"][place])
    likelihood_C, tokens_C = (_row(prediction, name, place) for name in ("likelihood_BC", "tokens_BC"))
    return Scored(
        kind=kind,
        reference=reference,
        choices=(reference,) if kind == CAPTION else choices,
        right=max(int(batch["answer"][place]), 0),
        text=text_of(prediction["text_BS"][place]) if "text_BS" in prediction else None,
        likelihood_C=None if likelihood_C is None else likelihood_C[:count],
        tokens_C=tokens_C,
    )


def _row(prediction: Prediction, name: str, place: int) -> np.ndarray | None:
    return prediction[name][place].float().cpu().numpy() if name in prediction else None


def text_of(bytes_S: torch.Tensor) -> str:
    """Text of UTF-8 bytes that are filled up with zeros; what is cut within a letter is left out."""
    return bytes(bytes_S.cpu().numpy()).rstrip(b"\0").decode("utf-8", "ignore")


def bytes_of(texts: list[str]) -> torch.Tensor:
    """UTF-8 bytes of texts, filled up with zeros to the longest: (B, S)."""
    coded = [text.encode() for text in texts]
    length = max([1, *map(len, coded)])
    return torch.tensor([list(code.ljust(length, b"\0")) for code in coded], dtype=torch.uint8)


def token_probability(item: Scored) -> float | None:
    """exp(mean log-probability of a token of the right answer), 0 to 1."""
    if item.likelihood_C is None or item.tokens_C is None:
        return None
    return exp(float(item.likelihood_C[item.right]) / max(float(item.tokens_C[item.right]), 1.0))


def choice_accuracy(item: Scored) -> float | None:
    """1 where the right choice is the likeliest as a whole; equal ones share it, so that blindness scores as chance."""
    if item.kind == CAPTION or item.likelihood_C is None:
        return None
    best_C = item.likelihood_C == item.likelihood_C.max()
    return float(best_C[item.right] / best_C.sum())


def parsed_accuracy(item: Scored) -> float | None:
    """1 where the free answer names the right choice."""
    if item.kind == CAPTION or item.text is None:
        return None
    return float(parse(item.text, item.choices) == item.right)


def rouge(item: Scored) -> float | None:
    """ROUGE-L of a caption."""
    if item.kind != CAPTION or item.text is None:
        return None
    return text_metrics.rouge_l(item.text, [item.reference])


def meant(item: Scored) -> float | None:
    """Cosine of a caption and its reference by a sentence encoder."""
    return None if item.kind != CAPTION or item.text is None else meaning(item.text, item.reference)


METRICS: Mapping[str, tuple[str, Callable[[Scored], float | None]]] = {
    "token probability": ("exp of the mean log-probability per token of the right answer", token_probability),
    "choice accuracy": ("the right choice is the likeliest as a whole, its end of turn included", choice_accuracy),
    "parsed accuracy": ("the free answer names the right choice; to abstain is wrong", parsed_accuracy),
    "ROUGE-L": (f"captions, against one reference; words: {text_metrics.TOKENIZER}", rouge),
    "meaning": ("captions, cosine by all-MiniLM-L6-v2 of answer and reference, cut at 0", meant),
}
ACCURACIES = ("choice accuracy", "parsed accuracy")


def oracle(batch: Batch, params: CaptionsParams) -> Prediction:
    """The truth in the form of a prediction: the right answer is said, and certain."""
    items = [item_of(batch, {}, place) for place in range(len(batch["kind"]))]
    tokens_BC = (batch["choice_ids_CL"] >= 0).sum(dim=-1)
    likelihood_BC = torch.full(tokens_BC.shape, -torch.inf)
    likelihood_BC[range(len(items)), [item.right for item in items]] = 0.0
    said = bytes_of([item.reference for item in items])
    return {"text_BS": said, "likelihood_BC": likelihood_BC, "tokens_BC": tokens_BC}


def protocol(params: CaptionsParams) -> dict[str, str]:
    """What is printed beside every number."""
    count = params.evaluation.samples
    return {
        "space": f"whole items, answered greedily with {params.evaluation.new_tokens} tokens at most; no sampling",
        "split": "by family: a photograph, its crops and its copies are on one side",
        "averaging": "mean over items, then over kinds of question; intervals resample families",
        "what could not be seen": f"an accuracy near 50 % over {count} items is known to ±"
        f"{100 * half_width(0.5, count):.0f} points; a smaller difference may be there unseen",
        "rivals": "fitted to training shards alone; they see the vision features and the text that the model sees",
        **{name: told for name, (told, _) in METRICS.items()},
    }
