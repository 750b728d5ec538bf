"""Words in the places of pictures: how a language model that is trained on text alone learns to read what stands there.

Decisions:
- A language model that never found anything of use in its context cannot be steered by what is put into it: with one
  trained on questions and answers alone, 300 steps of a projection moved the loss from 0.993 to 0.992 nats per token.
  Published models learnt to read their context from much text; ours, of some hundred captions, is shown how.
- So in its phase the image and world positions hold words of the answer, drawn at random: two in one place, as a place
  of a picture shows colour and shape, loud or faint, in their order for half of the samples, beside noise. A projection
  later has to say as much in the same places, and is heard while it still whispers.
- A fifth of the samples have no such positions: those are the model that `text_only` asks.
- All is drawn by slot (`data.draws`), so that a batch may be divided.

Shape legend: B batch, T tokens, H channels.
"""

import torch
from torch import Tensor

from stepladder.core.types import Batch
from stepladder.data import draws
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import IMAGE, WORLD
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.models.language import Language

BARE, ORDERED, NOISE = 0.2, 0.5, 0.3  # share without pictures, share in order, standard deviation beside the words
MIXED, FAINTEST, KEPT = 2, 0.3, 0.5  # words in one place, their least scale, least share of places that hold some


def in_words(language: Language, batch: Batch, margin: int) -> tuple[Batch, Tensor]:
    """A batch, and the vectors of its sequences (B, T, H) with words of the answer where pictures and world would be.

    Args:
        language: whose words they are.
        batch: sequences; features are not read.
        margin: see `sequence.Special`.
    """
    count = len(batch["tokens_T"])
    batch = _some_bare(batch, draws.rand(count, 1, device=batch["tokens_T"].device) < BARE, margin)
    kinds_BT = batch["kinds_T"]
    x_BTH = language.embed(batch["tokens_T"])
    words_BTH = torch.stack([language.embed(_drawn(batch)) for _ in range(MIXED)]).sum(0) / MIXED**0.5
    loud_B11 = FAINTEST + (1 - FAINTEST) * draws.rand(count, 1, device=kinds_BT.device)[..., None]
    share_BT = draws.rand(*kinds_BT.shape, device=kinds_BT.device)
    least_B1 = KEPT + (1 - KEPT) * draws.rand(count, 1, device=kinds_BT.device)
    told_BTH = torch.where((share_BT < least_B1)[..., None], loud_B11 * words_BTH, 0.0) + NOISE * draws.randn_like(
        x_BTH
    )
    place_BT = (kinds_BT == IMAGE) | (kinds_BT == WORLD)
    return batch, torch.where(place_BT[..., None], told_BTH, x_BTH)


def _some_bare(batch: Batch, bare_B1: Tensor, margin: int) -> Batch:
    """The batch, its bare samples without pictures and world."""
    kinds_BT = batch["kinds_T"]
    gone_BT = sequence.pictured(kinds_BT, margin) | (kinds_BT >= WORLD)
    return sequence.compact(batch, ~(gone_BT & bare_B1))


def _drawn(batch: Batch) -> Tensor:
    """For every position some token of the sample's answer, (B, T); of a share of the samples in their order."""
    supervised_BT = batch["labels_T"] != IGNORED
    answer_BT = sequence.compact(batch, supervised_BT)["tokens_T"]
    words_B1 = supervised_BT.sum(1, keepdim=True) - 1  # without its end of turn
    shape, device = supervised_BT.shape, supervised_BT.device
    number_BT = (draws.rand(*shape, device=device) * words_B1).long()
    ordered_B1 = draws.rand(shape[0], 1, device=device) < ORDERED
    number_BT = torch.where(ordered_B1, number_BT.sort(dim=1).values, number_BT)
    return answer_BT.gather(1, number_BT)
