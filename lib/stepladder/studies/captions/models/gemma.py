"""Gemma 3 as the language model: the classes of transformers, from a configuration or from published weights.

Decisions:
- Only the text model and the projector of pictures are kept. What the vision tower says is in the shards.
- Masks are made here, of sizes that are known before anything runs: image positions of one picture see each other both
  ways, local layers look back one window, all else is causal. A test compares them with transformers' own.
- Positions are those of the sequence as it is given: one without world tokens is the plain model's, to the last bit.
- On the meta device nothing is read: shapes come from `config` and are what the memory forecast goes by.

Shape legend: B batch, T tokens, H channels, V vocabulary, N pictures, P places, F features.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Gemma3TextModel,
    SiglipVisionConfig,
)
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm

from stepladder.studies.captions.data import sequence, tokenizer
from stepladder.studies.captions.data.sequence import Features
from stepladder.studies.captions.models.language import Language
from stepladder.studies.captions.models.projection import averaged
from stepladder.studies.captions.params import CaptionsParams

FILES = ("*.safetensors", "*.json")  # of published weights


TEXT: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 32,
    },
    "gemma3_4b": {
        "hidden_size": 2560,
        "intermediate_size": 10_240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 1024,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
}
VISION: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiny": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    },
    "gemma3_4b": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
    },
}


def config(size: str) -> Gemma3Config:
    """The configuration of a size: `tiny`, or that of google/gemma-3-4b-it."""
    return Gemma3Config(
        text_config=text_config(size),
        vision_config=SiglipVisionConfig(vision_use_head=False, **VISION[size]),
        mm_tokens_per_image=sequence.FEATURES[size].tokens,
    )


def text_config(size: str) -> Gemma3TextConfig:
    """The language model's part of it."""
    return Gemma3TextConfig(vocab_size=tokenizer.vocabulary(size), **TEXT[size])


class Gemma(Language):
    """See `language.Language`.

    Attributes:
        text: a `Gemma3TextModel`, whose own types say less than is true.
        projector: its published projector of pictures; None where one is trained.
    """

    def __init__(self, text: Any, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.text, self.projector = text, projector
        self.width: int = text.config.hidden_size

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Rows of its table, scaled by the root of the width."""
        return self.text.embed_tokens(tokens_BT)

    def hidden(self, x_BTH: Tensor, kinds_BT: Tensor) -> Tensor:
        """What its layers make of a sequence."""
        return self._run(x_BTH, kinds_BT).last_hidden_state

    def logits(self, hidden_BTH: Tensor) -> Tensor:
        """Scores by the same table."""
        return hidden_BTH @ self.text.embed_tokens.weight.T

    def attention(self, x_BTH: Tensor, kinds_BT: Tensor) -> list[Tensor]:
        """Mean over heads, by layer: (B, T, T)."""
        usual = self.text.config._attn_implementation or "sdpa"
        self.text.set_attn_implementation("eager")  # the only one that tells its weights
        try:
            found = self._run(x_BTH, kinds_BT, output_attentions=True).attentions
        finally:
            self.text.set_attn_implementation(usual)
        return [weights_BKTT.float().mean(1) for weights_BKTT in found]

    def _run(self, x_BTH: Tensor, kinds_BT: Tensor, **asked: bool) -> Any:
        positions_1T = torch.arange(x_BTH.shape[1], device=x_BTH.device)[None]
        window = self.text.config.sliding_window or kinds_BT.shape[1]
        masks = masked(kinds_BT, window, x_BTH.dtype)
        return self.text(inputs_embeds=x_BTH, attention_mask=masks, position_ids=positions_1T, use_cache=False, **asked)


class Projector(nn.Module):
    """Gemma's own projector of pictures: averages over cells, norm, one matrix."""

    def __init__(self, features: Features, width: int) -> None:
        super().__init__()
        self.tokens = features.tokens
        self.norm = Gemma3RMSNorm(features.channels, eps=1e-6)
        self.matrix = nn.Parameter(torch.randn(features.channels, width) * features.channels**-0.5)

    def forward(self, x_BMPF: Tensor) -> Tensor:
        """(B, M, tokens, H)."""
        return self.norm(averaged(x_BMPF, self.tokens).to(self.matrix.dtype)) @ self.matrix


def masked(kinds_BT: Tensor, window: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """What is added to attention scores in global and in local layers, (B, 1, T, T): 0 where seen, else very small."""
    place_T = torch.arange(kinds_BT.shape[1], device=kinds_BT.device)
    back_TT = place_T[:, None] - place_T
    image_BT = sequence.token_types(kinds_BT).bool()
    # Every run of image positions is one picture; the number of its first position's run names it.
    first_BT = image_BT & ~torch.nn.functional.pad(image_BT, (1, 0))[:, :-1]
    picture_BT = torch.where(image_BT, first_BT.cumsum(1), -1)
    same_BTT = (picture_BT[:, :, None] == picture_BT[:, None]) & image_BT[:, None]
    seen_BTT = (back_TT >= 0) | same_BTT
    seen = {"full_attention": seen_BTT, "sliding_attention": seen_BTT & (back_TT < window)}
    least = torch.finfo(dtype).min
    return {name: (~of).to(dtype).mul(least)[:, None] for name, of in seen.items()}


def build(params: CaptionsParams) -> Gemma:
    """Gemma's text model: random weights of its own (`tiny`), or published ones in bfloat16 with their projector."""
    size = params.conversion.size
    if size == "tiny":
        return Gemma(Gemma3TextModel(text_config(size)))
    if weightless():
        text = Gemma3TextModel(text_config(size)).bfloat16()
        return Gemma(text, Projector(sequence.FEATURES[size], text.config.hidden_size).bfloat16())
    return _taken(published(params).model)


def _taken(whole: Any) -> Gemma:
    """The parts of a whole Gemma 3 that are kept."""
    given, vision = whole.multi_modal_projector, whole.config.vision_config
    tokens = whole.config.mm_tokens_per_image
    projector = Projector(Features(vision.hidden_size, tokens, 0, 0), whole.config.text_config.hidden_size)
    projector.norm.weight, projector.matrix = given.mm_soft_emb_norm.weight, given.mm_input_projection_weight
    return Gemma(whole.language_model, projector)


def published(params: CaptionsParams) -> Gemma3ForConditionalGeneration:
    """The whole model with the weights of `conversion.weights`, in bfloat16."""
    folder = tokenizer.weights(params.conversion.weights, params.conversion.revision, FILES)
    return Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)


def identity(params: CaptionsParams) -> str:
    """Which published weights `build` takes: their name and commit, or the sha256 of the files of a folder."""
    place = Path(params.conversion.weights or "").expanduser()
    if not place.is_dir():
        return f"{params.conversion.weights}@{params.conversion.revision}"
    digest = hashlib.sha256()
    for path in sorted(place.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


def weightless() -> bool:
    """Whether what is built now has shapes only: on the meta device, or where tensors are fake."""
    probe = torch.empty(0)
    return probe.is_meta or isinstance(probe, FakeTensor)
