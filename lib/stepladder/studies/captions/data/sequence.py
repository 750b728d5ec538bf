"""What the language model reads of an item, position by position, and which of it is learnt: one function says both.

Decisions:
- A sequence is: begin, the user's turn (per picture its image positions; per picture its world positions in brackets;
  the question), the model's turn (the answer, end of turn), padding. World tokens stand next to the question, where a
  language model that looks back some hundred tokens still sees them from its answer.
- Supervised are the answer's tokens and its end of turn, nothing else. A label stands at its own token's position; the
  loss compares it with what the model says one position earlier.
- An item that does not fit is refused by name: nothing is ever cut off.
- Taking positions away moves the rest to the left, so what is left is the sequence that never had them. That is how
  an arm without world tokens or without pictures is made, and why it may be compared to the plain model.
- How many positions a picture takes follows from the parameters alone, so that sequences have a fixed length.

Shape legend: B batch, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stepladder.core.types import Batch, StudyError
from stepladder.studies.captions.data.layout import CLOSE, IMAGE, MOST_PICTURES, OPEN, PAD, TEXT, WORLD

IGNORED: Final = -100  # label of a position that is not supervised
PADDING: Final = 0  # token id of a position that holds nothing, in every tokenizer
SEQUENCE: Final = ("tokens_T", "kinds_T", "labels_T")


@dataclass(frozen=True)
class Special:
    """Token ids that have a meaning of their own.

    Attributes:
        begin, end: of a sequence, and of a turn.
        user, model: what opens a turn of either.
        picture: what stands before and after the image positions of a picture, as many tokens on either side.
        image, world, open, close: what stands at such a position; its features are put in the place of its embedding.
        line: what stands between two turns.
    """

    begin: int
    end: int
    user: tuple[int, ...]
    model: tuple[int, ...]
    picture: tuple[tuple[int, ...], tuple[int, ...]]
    image: int
    world: int
    open: int
    close: int
    line: tuple[int, ...] = ()

    @property
    def margin(self) -> int:
        """Tokens on either side of a picture's image positions."""
        return len(self.picture[0])


@dataclass(frozen=True)
class Features:
    """What the frozen towers of a size say of one picture.

    Attributes:
        channels: of the vision tower's features, one row for every cell of a square.
        tokens: image positions that a picture takes, the cells of a coarser square or the same.
        latents, side: channels of a world latent, and its rows and columns.
    """

    channels: int
    tokens: int
    latents: int
    side: int


FEATURES: Final = {
    "tiny": Features(channels=32, tokens=4, latents=4, side=8),
    "small": Features(channels=1280, tokens=16, latents=4, side=8),
    "gemma3_4b": Features(channels=1152, tokens=256, latents=16, side=64),
}


def frames(params: Any) -> int:
    """Frames of the world tower's latents: one more than `conversion.world_steps`."""
    return 1 + params.conversion.world_steps


def world_tokens(params: Any) -> int:
    """World positions of a picture, without brackets; 0 where `model.world` is off."""
    settings, features = params.model, FEATURES[params.conversion.size]
    if not settings.world:
        return 0
    every_place = settings.projection in {"linear", "mlp"}
    return frames(params) * features.side**2 if every_place else settings.world_tokens


def build(
    prompt_ids: Sequence[int],
    answer_ids: Sequence[int],
    special: Special,
    vision_tokens: Sequence[int],
    world_tokens: int,
    length: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One item as `tokens_T`, `kinds_T` and `labels_T`, each int64 of `length`.

    Args:
        prompt_ids, answer_ids: the question and its answer, without special tokens.
        special: ids of what stands between.
        vision_tokens: image positions of every picture, one to four pictures.
        world_tokens: world positions of every picture; 0: none, and no brackets.
        length: positions of the sequence, padding included.

    Raises:
        StudyError: there is no picture or there are too many, or the item does not fit.
    """
    if not 1 <= len(vision_tokens) <= MOST_PICTURES:
        raise StudyError(f"an item of {len(vision_tokens)} pictures: it must have one to {MOST_PICTURES}")
    parts = [
        ((special.begin, *special.user), TEXT),
        *(part for count in vision_tokens for part in _picture(special, count)),
        *(part for _ in vision_tokens for part in _world(special, world_tokens)),
        ((*prompt_ids, special.end, *special.line, *special.model), TEXT),
    ]
    answer = [*answer_ids, special.end]
    tokens = [token for ids, _ in parts for token in ids]
    kinds = [kind for ids, kind in parts for _ in ids]
    _fits(len(tokens), len(prompt_ids), len(answer), length)
    labels = [IGNORED] * len(tokens) + answer
    filled = (tokens + answer, PADDING), (kinds + [TEXT] * len(answer), PAD), (labels, IGNORED)
    tokens_T, kinds_T, labels_T = (_padded(values, value, length) for values, value in filled)
    return tokens_T, kinds_T, labels_T


def without(batch: Batch, *kinds: int, margin: int = 1) -> Batch:
    """A batch without the positions of these kinds: the rest moved to the left, padding on the right.

    A picture goes with the `margin` tokens on either side of its image positions (see `Special.margin`).
    """
    kinds_BT = batch["kinds_T"]
    gone_BT = torch.isin(kinds_BT, torch.tensor(kinds, device=kinds_BT.device))
    if IMAGE in kinds:
        gone_BT |= pictured(kinds_BT, margin)
    return compact(batch, ~gone_BT)


def pictured(kinds_BT: Tensor, margin: int) -> Tensor:
    """Which positions belong to pictures: image positions and `margin` tokens on either side."""
    image_BT = (kinds_BT == IMAGE).float()[:, None]
    return functional.max_pool1d(image_BT, 2 * margin + 1, 1, margin)[:, 0].bool()


def prompt(batch: Batch) -> Batch:
    """A batch without what is supervised: what is there to be answered."""
    return compact(batch, batch["labels_T"] == IGNORED)


def compact(batch: Batch, keep_BT: Tensor) -> Batch:
    """A batch of the kept positions alone, moved to the left in their order; as long as before."""
    keep_BT = keep_BT & (batch["kinds_T"] != PAD)
    order_BT = keep_BT.logical_not().byte().argsort(dim=1, stable=True)
    kept_BT = keep_BT.gather(1, order_BT)
    empty = zip(SEQUENCE, (PADDING, PAD, IGNORED), strict=True)
    moved = {name: batch[name].gather(1, order_BT).masked_fill(~kept_BT, value) for name, value in empty}
    return {**batch, **moved}


def cut(batch: Batch, length: int) -> Batch:
    """A batch of its first `length` positions; the caller knows that the rest is padding."""
    return {**batch, **{name: batch[name][:, :length] for name in SEQUENCE}}


def lengths(kinds_BT: Tensor) -> Tensor:
    """How many positions of each sequence are no padding, (B,)."""
    return (kinds_BT != PAD).sum(1)


def token_types(kinds_BT: Tensor) -> Tensor:
    """What Gemma calls token types: 1 where a picture's image positions see each other both ways, 0 elsewhere.

    World tokens are read in their order like text: the plain model knows no second kind of picture.
    """
    return (kinds_BT == IMAGE).long()


def _picture(special: Special, count: int) -> list[tuple[tuple[int, ...], int]]:
    before, after = special.picture
    return [(before, TEXT), ((special.image,) * count, IMAGE), (after, TEXT)]


def _world(special: Special, count: int) -> list[tuple[tuple[int, ...], int]]:
    if not count:
        return []
    return [((special.open,), OPEN), ((special.world,) * count, WORLD), ((special.close,), CLOSE)]


def _fits(before: int, question: int, answer: int, length: int) -> None:
    if before + answer > length:
        raise StudyError(
            f"an item of {before + answer} tokens (question {question}, answer {answer}, pictures and turns "
            f"{before - question}) does not fit model.length = {length}: raise it, or take fewer world tokens"
        )


def _padded(values: Sequence[int], value: int, length: int) -> np.ndarray:
    return np.array([*values, *[value] * (length - len(values))], np.int64)
