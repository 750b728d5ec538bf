"""Answers of the captioner: what it says, and how likely it finds what it might have said.

Decisions:
- Every arm is asked the same question, and all arms of an item go through the language model side by side: rows of one
  batch that differ in what was put into them.
- Greedy: the likeliest token, until the turn ends or `evaluation.new_tokens` are said. Nothing is drawn, so arms differ
  by what they see alone.
- The likelihood of a choice is the sum of the log-probabilities of its tokens and of the end of turn behind them, as in
  training. Its number of tokens is told, for whoever wants it per token.
- A prompt that would be longer than the sequence with its answer is refused where sequences are built, so there is room
  for every choice; tokens that are said get room of their own.

Shape legend: B batch, T tokens, H channels, V vocabulary, C choices, L tokens of a choice, S bytes, R rows: arms x
batch (x choices).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepladder.core.types import Batch, Prediction
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import TEXT
from stepladder.studies.captions.models import attention
from stepladder.studies.captions.models.network import Captioner


@dataclass(frozen=True)
class Prompts:
    """Prompts of rows, each with its padding on the right.

    Attributes:
        x_RTH, kinds_RT: vectors, and what stands where.
        length_R: positions that are no padding.
    """

    x_RTH: Tensor
    kinds_RT: Tensor
    length_R: Tensor

    def repeated(self, count: int) -> "Prompts":
        """Every row `count` times, one after the other."""
        return Prompts(*(part.repeat_interleave(count, 0) for part in (self.x_RTH, self.kinds_RT, self.length_R)))

    def taken(self, rows_N: Tensor) -> "Prompts":
        """These rows alone."""
        return Prompts(self.x_RTH[rows_N], self.kinds_RT[rows_N], self.length_R[rows_N])

    def followed(self, x_RLH: Tensor, said_RL: Tensor) -> "Prompts":
        """The rows with further tokens behind them, where `said_RL` says that there are some."""
        place_RL = self.length_R[:, None] + torch.arange(x_RLH.shape[1], device=x_RLH.device)
        longer = torch.nn.functional.pad
        x_RTH = longer(self.x_RTH, (0, 0, 0, x_RLH.shape[1]))
        kinds_RT = longer(self.kinds_RT, (0, x_RLH.shape[1]))
        x_RTH = x_RTH.scatter(1, place_RL[..., None].expand_as(x_RLH), x_RLH.to(x_RTH.dtype))
        kinds_RT = kinds_RT.scatter(1, place_RL, said_RL.long() * TEXT)
        return Prompts(x_RTH, kinds_RT, self.length_R + said_RL.sum(1))


@torch.no_grad()
def predict(model: Captioner, batch: Batch, arm: str = "trained", arms: Sequence[str] = ()) -> Prediction:
    """What an arm says of every item, and how likely it finds each choice.

    Args:
        model: the captioner.
        batch: cases, with whatever features the arms need.
        arm: the one that answers under the plain names.
        arms: further ones, whose answers have their name: `text_ARM_BS`, `likelihood_ARM_BC`.

    Returns:
        `text_BS`: the answer in UTF-8, padded with zeros; `likelihood_BC`: log-probability of each choice in nats,
        -inf where there is none; `tokens_BC`: how many tokens that is; `attention_BL`: see `attention.share`.
    """
    names = list(dict.fromkeys([arm, *arms]))
    prompts = _prompts(model, batch, names)
    texts = _texts(model, _greedy(model, prompts, model.evaluation.new_tokens))
    likelihood_RC = _likelihood(model, prompts, batch["choice_ids_CL"].repeat(len(names), 1, 1))
    found = {"tokens_BC": (batch["choice_ids_CL"] >= 0).sum(2)}
    for number, name in enumerate(names):
        rows = slice(number * len(likelihood_RC) // len(names), (number + 1) * len(likelihood_RC) // len(names))
        label = "" if name == arm else f"{name}_"
        found |= {f"text_{label}BS": texts[rows], f"likelihood_{label}BC": likelihood_RC[rows]}
    return found | {"attention_BL": attention.share(model, batch, arm)}


def _prompts(model: Captioner, batch: Batch, arms: Sequence[str]) -> Prompts:
    """The prompts of all arms, one arm after the other, cut to the longest."""
    read = [model.read(sequence.prompt(batch), arm) for arm in arms]
    length_R = torch.cat([sequence.lengths(one["kinds_T"]) for one, _ in read])
    longest = int(length_R.max())
    x_RTH = torch.cat([_as_long(x_BTH, longest) for _, x_BTH in read])
    return Prompts(x_RTH, torch.cat([_as_long(one["kinds_T"], longest) for one, _ in read]), length_R)


def _as_long(part: Tensor, length: int) -> Tensor:
    """The first `length` positions; what is shorter is padded with zeros, which is what padding is called."""
    part = part[:, :length]
    return torch.cat([part, part.new_zeros(len(part), length - part.shape[1], *part.shape[2:])], dim=1)


def _greedy(model: Captioner, prompts: Prompts, most: int) -> Tensor:
    """The likeliest tokens of every row, (R, at most `most`); -1 behind the end of turn, which is left out."""
    end, said = model.tokenizer.special.end, list[Tensor]()
    going_R = torch.ones_like(prompts.length_R, dtype=torch.bool)
    for _ in range(most):
        hidden_RTH = model.language.hidden(prompts.x_RTH, prompts.kinds_RT)
        token_R = model.language.logits(_at(hidden_RTH, prompts.length_R - 1)).argmax(1)
        going_R = going_R & (token_R != end)
        said.append(torch.where(going_R, token_R, -1))
        if not bool(going_R.any()):
            break
        token_R1 = token_R[:, None]
        prompts = prompts.followed(model.language.embed(token_R1), torch.ones_like(token_R1, dtype=torch.bool))
    return torch.stack(said, dim=1)


def _likelihood(model: Captioner, prompts: Prompts, ids_RCL: Tensor) -> Tensor:
    """Log-probability of every choice of every row, (R, C); -inf where a choice has no tokens."""
    choices, longest = ids_RCL.shape[1], int((ids_RCL >= 0).sum(2).max())
    ids_RL = ids_RCL[..., :longest].flatten(0, 1)
    there_RL = ids_RL >= 0
    sums_R = ids_RL.new_full((len(ids_RL),), -torch.inf, dtype=torch.float32)
    rows_N = there_RL.any(1).nonzero()[:, 0]
    sums_R[rows_N] = _summed(model, prompts.repeated(choices).taken(rows_N), ids_RL[rows_N])
    return sums_R.unflatten(0, (-1, choices))


def _summed(model: Captioner, prompts: Prompts, ids_RL: Tensor) -> Tensor:
    """Log-probability of one choice behind every prompt, (R,); ids of -1 are none."""
    there_RL, ids_RL = ids_RL >= 0, ids_RL.clamp(min=0)
    whole = prompts.followed(model.language.embed(ids_RL), there_RL)
    hidden_RTH = model.language.hidden(whole.x_RTH, whole.kinds_RT)
    # What is said of a token stands one position before it.
    place_RL = prompts.length_R[:, None] - 1 + torch.arange(ids_RL.shape[1], device=ids_RL.device)
    hidden_RLH = hidden_RTH.gather(1, place_RL[..., None].expand(-1, -1, hidden_RTH.shape[2]))
    logs_RLV = model.language.logits(hidden_RLH).float().log_softmax(2)
    logs_RL = logs_RLV.gather(2, ids_RL[..., None])[..., 0]
    return torch.where(there_RL, logs_RL, 0.0).sum(1)


def _at(hidden_RTH: Tensor, place_R: Tensor) -> Tensor:
    return hidden_RTH[torch.arange(len(place_R), device=place_R.device), place_R]


def _texts(model: Captioner, ids_RN: Tensor) -> Tensor:
    """Texts of ids as UTF-8, (R, S), padded with zeros."""
    coded = [model.tokenizer.decode(ids).encode() for ids in ids_RN.tolist()]
    longest = max(1, *map(len, coded))
    return torch.stack([torch.tensor([*text.ljust(longest, b"\0")], dtype=torch.uint8) for text in coded])
