"""How many parameters what was published has, part by part, and what a step of it needs in memory.

Decisions:
- Shapes come from configurations in code, on the meta device: nothing is downloaded, nothing takes memory.
- The plan this study learns from reports 76,290,451 trainable parameters and calls them its projection. They are the
  decoder of a video autoencoder that nobody ran, Gemma's own projector, and 43,520 of the projection: `PLANNED`.
- The 2-billion-parameter world model of that plan never ran: of the pipeline that was loaded (transformer, text
  encoder, safety checker) only the encoder of its autoencoder was called. So only that is loaded here.
- Memory by formula: what a layer keeps for its backward pass, though its weights are frozen, because a gradient goes
  through it to the projection.

Shape legend: B batch, T tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from stepladder.core.units import readable
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.params import CaptionsParams

if TYPE_CHECKING:
    import pandas as pd

PLANNED: Final = 76_290_451  # "trainable" parameters that the plan reports
PLANNED_TOKENS, PLANNED_BATCH, PLANNED_BYTES = 5076, 2, 89_900_000_000  # of its profile: 4,096 are world tokens
BFLOAT16, FLOAT32 = 2, 4  # bytes


def gemma() -> Any:
    """The whole Gemma 3 4B, shapes only."""
    from transformers import Gemma3ForConditionalGeneration

    from stepladder.studies.captions.models.gemma import config

    with torch.device("meta"):
        return Gemma3ForConditionalGeneration(config("gemma3_4b"))


def autoencoder() -> nn.Module:
    """The autoencoder of Wan 2.1 that Cosmos-Predict2 takes its latents from, shapes only."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    with torch.device("meta"):
        return AutoencoderKLWan(  # every number is the published one, and the class's default
            base_dim=96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]
        )


def table() -> pd.DataFrame:
    """Parameters of what was published, and of what the plan trained: `part`, `parameters`, `in the plan`."""
    import pandas as pd

    whole, world = gemma(), autoencoder()
    model: Any = whole.model
    projector, decoder = count(model.multi_modal_projector), count(world.decoder)
    convolutions = count(world.quant_conv) + count(world.post_quant_conv)
    linear = sequence.FEATURES["gemma3_4b"].latents * model.config.text_config.hidden_size
    linear += model.config.text_config.hidden_size
    rows = [
        ("Gemma 3 4B, language model", count(model.language_model), "frozen"),
        ("Gemma 3 4B, SigLIP", count(model.vision_tower), "frozen"),
        ("Gemma 3 4B, projector of pictures", projector, "trained by accident"),
        ("Wan autoencoder, encoder", count(world.encoder), "frozen"),
        ("Wan autoencoder, decoder", decoder, "never run, left unfrozen"),
        ("Wan autoencoder, convolutions between", convolutions, "left unfrozen"),
        ("linear projection of world latents", linear, "trained"),
        ("Gemma 3 4B, all", count(whole), ""),
        ("Wan autoencoder, all", count(world), ""),
        ("what the plan calls trainable", projector + decoder + convolutions + linear, ""),
    ]
    return pd.DataFrame(rows, columns=["part", "parameters", "in the plan"])


def count(module: Any) -> int:
    """Parameters of a module, those that are tied once."""
    return sum(parameter.numel() for parameter in module.parameters())


def layer_bytes(tokens: int, config: Any) -> int:
    """Bytes that one layer of Gemma keeps of a sequence for its backward pass, in bfloat16, weights frozen.

    Per token, as transformers computes it: what goes into each of four norms and into those of queries and keys, as
    float32; queries, keys and values, both repeated for every head, and what attention says; gate, activation and upper
    half. A frozen matrix keeps nothing, and attention that is computed in tiles keeps no T x T scores.
    """
    heads, keys = (number * config.head_dim for number in (config.num_attention_heads, config.num_key_value_heads))
    norms = (4 * config.hidden_size + heads + keys) * FLOAT32
    attention, gated = 4 * heads * BFLOAT16, 3 * config.intermediate_size * BFLOAT16
    return tokens * (norms + attention + gated)


def step_bytes(tokens: int, batch: int) -> dict[str, int]:
    """Bytes of a step through the frozen Gemma 3 4B by what takes them, without recomputation."""
    whole = gemma()
    config = whole.config.text_config
    return {
        "weights": count(whole) * BFLOAT16,
        "activations of layers": batch * config.num_hidden_layers * layer_bytes(tokens, config),
        # Scores of the next token, their logarithms and their gradient.
        "scores of tokens": batch * tokens * config.vocab_size * (BFLOAT16 + 2 * FLOAT32),
    }


def foretold(params: CaptionsParams) -> str:
    """What the plan's step needs by this formula, and what one of these parameters does."""
    if params.conversion.size != "gemma3_4b":
        return ""
    batch = params.training.batch // params.training.accumulate
    planned, ours = step_bytes(PLANNED_TOKENS, PLANNED_BATCH), step_bytes(params.model.length, batch)
    parts = ", ".join(f"{name} {readable(value)}" for name, value in planned.items())
    return (
        f"A frozen language model keeps activations, because a gradient goes through it: the plan's {PLANNED_BATCH} "
        f"sequences of {PLANNED_TOKENS} tokens, 4,096 of them world tokens, take {readable(sum(planned.values()))} "
        f"({parts}; measured by its authors: {readable(PLANNED_BYTES)}). With {sequence.world_tokens(params)} world "
        f"tokens in sequences of {params.model.length}, {batch} at a time, that is {readable(sum(ours.values()))}."
    )
