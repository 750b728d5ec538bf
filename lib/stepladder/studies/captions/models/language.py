"""What the network asks of a language model, whoever made it, and which one a size has."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from stepladder.studies.captions.data import tokenizer
from stepladder.studies.captions.params import CaptionsParams


class Language(nn.Module, ABC):
    """A causal language model that reads vectors.

    Attributes:
        width: channels of what it reads.
        projector: makes vectors of pictures where such a network was published with it; None where one is trained.
    """

    width: int
    projector: nn.Module | None

    @abstractmethod
    def embed(self, tokens_BT: Tensor) -> Tensor:
        """The vectors of token ids, (B, T, H), as the first block reads them."""

    @abstractmethod
    def hidden(self, x_BTH: Tensor, kinds_BT: Tensor) -> Tensor:
        """What it makes of a sequence, (B, T, H); padding stands on the right and is seen by nothing before it."""

    @abstractmethod
    def logits(self, hidden_BTH: Tensor) -> Tensor:
        """Scores of the next token at every position, (..., V)."""

    @abstractmethod
    def attention(self, x_BTH: Tensor, kinds_BT: Tensor) -> list[Tensor]:
        """How much every position attends to every other, by layer: (B, T, T), rows sum to 1, mean over heads."""


def build(params: CaptionsParams) -> Language:
    """The language model of `conversion.size`: our own, or Gemma 3 with random or published weights."""
    if params.conversion.size == "small":
        from stepladder.studies.captions.models import own

        settings = params.model
        return own.Transformer(tokenizer.vocabulary("small"), settings.width, settings.layers)
    from stepladder.studies.captions.models import gemma  # takes seconds

    return gemma.build(params)


def given(params: CaptionsParams) -> dict[str, str]:
    """Prefix of parameter names -> identity of weights that are published; empty where they are made here."""
    if params.conversion.size != "gemma3_4b":
        return {}
    from stepladder.studies.captions.models import gemma

    return {"language.": "no weights: shapes only" if gemma.weightless() else gemma.identity(params)}
