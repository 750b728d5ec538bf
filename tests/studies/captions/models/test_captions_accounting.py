"""Whether the parameters of the plan are accounted for one by one, and its memory by what a layer keeps."""

import pytest
import torch

from stepladder.studies.captions.models import accounting, gemma, network
from tests.studies.captions.captioned import parameters


@pytest.fixture(scope="module")
def parts():
    return accounting.table().set_index("part")["parameters"]


def test_published_models_have_their_published_sizes(parts):
    assert parts["Gemma 3 4B, all"] == 4_300_079_472
    assert parts["Wan autoencoder, all"] == 126_892_531
    assert parts["Wan autoencoder, decoder"] == 73_295_331


def test_what_the_plan_trained_is_accounted_for(parts):
    decoder = parts["Wan autoencoder, decoder"] + parts["Wan autoencoder, convolutions between"]
    projector, linear = parts["Gemma 3 4B, projector of pictures"], parts["linear projection of world latents"]
    assert (decoder, projector, linear) == (73_296_659, 2_950_272, 43_520)
    assert parts["what the plan calls trainable"] == decoder + projector + linear == accounting.PLANNED


def test_a_captioner_of_gemma_is_built_of_shapes_alone():
    with torch.device("meta"):
        model = network.build(parameters("gemma3_4b", length=512, projection="linear"))
    named = dict(model.named_parameters())
    assert sum(p.numel() for name, p in named.items() if name.startswith("world_projection.")) == 43_520
    assert {p.dtype for name, p in named.items() if name.startswith("language.")} == {torch.bfloat16}
    assert list(model.given) == ["language."]


def test_a_layer_keeps_what_the_formula_says():
    config, tokens = gemma.config("gemma3_4b").text_config, 512
    config.num_hidden_layers = 1
    kept = kept_bytes(config, tokens)
    # On the meta device attention keeps its T x T scores and float32 copies; the rest is compared.
    heads = config.num_attention_heads * config.head_dim
    instead = tokens * 3 * heads * 4 + config.num_attention_heads * tokens**2 * 4
    expected = accounting.layer_bytes(tokens, config) - tokens * 4 * heads * 2 + instead
    assert kept == pytest.approx(expected, rel=0.02)


def kept_bytes(config, tokens):
    """Bytes of what one layer saves for its backward pass, told by torch; its own weights left out."""
    with torch.device("meta"):
        text = gemma.Gemma3TextModel(config).bfloat16().requires_grad_(False)
        x_BTH = torch.empty(1, tokens, config.hidden_size, dtype=torch.bfloat16, requires_grad=True)
        kinds_BT, positions = torch.ones(1, tokens, dtype=torch.long), torch.arange(tokens)[None]
    kind, saved = config.layer_types[0], []
    masks, turn = gemma.masked(kinds_BT, config.sliding_window, x_BTH.dtype), text.rotary_emb(x_BTH, positions, kind)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        text.layers[0](x_BTH, attention_mask=masks[kind], position_embeddings=turn)
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in saved}
    own = {parameter.untyped_storage()._cdata for parameter in text.parameters()}
    return sum(size for storage, size in storages.items() if storage not in own)


def test_the_plan_is_within_a_tenth_of_its_own_measurement():
    needed = sum(accounting.step_bytes(accounting.PLANNED_TOKENS, accounting.PLANNED_BATCH).values())
    assert 0.85 < needed / accounting.PLANNED_BYTES < 1


def test_few_world_tokens_need_little():
    params = parameters("gemma3_4b", length=512, world_tokens=64)
    told = accounting.foretold(params)
    assert "5076 tokens" in told and "64 world tokens in sequences of 512" in told
    assert accounting.foretold(parameters()) == ""
