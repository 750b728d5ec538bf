"""Whether Gemma is run as transformers runs it: masks, positions and weights, with transformers as the oracle."""

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import CLOSE, IMAGE, OPEN, PAD, TEXT, WORLD
from stepladder.studies.captions.models import gemma, network
from tests.studies.captions.captioned import batch_of, parameters

torch.set_num_threads(1)
KINDS = [TEXT] * 3 + [IMAGE] * 4 + [TEXT] * 2 + [IMAGE] * 4 + [TEXT, OPEN, *[WORLD] * 4, CLOSE] + [TEXT] * 40


@pytest.fixture(scope="module")
def whole():
    """A tiny Gemma 3 of transformers."""
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(gemma.config("tiny")).eval()
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    return model


@torch.no_grad()
def test_hidden_states_are_those_of_transformers(whole):
    kinds_BT = torch.tensor([KINDS, KINDS[:30] + [PAD] * (len(KINDS) - 30)])
    x_BTH = torch.randn(*kinds_BT.shape, 64)
    ours_BTH = gemma.Gemma(whole.model.language_model).hidden(x_BTH, kinds_BT)
    theirs_BTH = whole.model(
        inputs_embeds=x_BTH,
        attention_mask=(kinds_BT != PAD).long(),
        token_type_ids=sequence.token_types(kinds_BT),
        use_cache=False,
    ).last_hidden_state
    there_BT = kinds_BT != PAD
    torch.testing.assert_close(ours_BTH[there_BT], theirs_BTH[there_BT])


@torch.no_grad()
def test_logits_are_those_of_transformers(whole):
    tokens_BT = torch.randint(20, 900, (2, 12))
    ours = gemma.Gemma(whole.model.language_model)
    logits_BTV = ours.logits(ours.hidden(ours.embed(tokens_BT), torch.full_like(tokens_BT, TEXT)))
    torch.testing.assert_close(logits_BTV, whole(input_ids=tokens_BT, use_cache=False).logits)


def test_local_layers_look_back_one_window():
    seen = {name: mask[0, 0] == 0 for name, mask in gemma.masked(torch.tensor([KINDS]), 8, torch.float32).items()}
    text = KINDS.index(WORLD) + 4
    assert seen["full_attention"][text + 20, text] and not seen["sliding_attention"][text + 20, text]
    assert not seen["full_attention"][3, 9]  # another picture
    assert seen["full_attention"][3, 6] and seen["sliding_attention"][3, 6]  # the same
    assert not seen["full_attention"][KINDS.index(WORLD), KINDS.index(WORLD) + 1]  # world tokens stand in their order


@torch.no_grad()
def test_the_projector_is_theirs(whole):
    ours = gemma._taken(whole.model).projector
    x_BPF = torch.randn(2, 16, 32)
    torch.testing.assert_close(ours(x_BPF[:, None])[:, 0], whole.model.multi_modal_projector(x_BPF))


@torch.no_grad()
def test_attention_is_told_by_layer(whole):
    ours, kinds_BT = gemma.Gemma(whole.model.language_model), torch.tensor([KINDS])
    layers = ours.attention(torch.randn(1, len(KINDS), 64), kinds_BT)
    assert len(layers) == 6
    for weights_BTT in layers:
        torch.testing.assert_close(weights_BTT.sum(2), torch.ones(1, len(KINDS)))
    assert whole.model.language_model.config._attn_implementation != "eager"


def test_published_weights_come_from_a_folder_and_are_told(whole, tmp_path, monkeypatch):
    whole.save_pretrained(tmp_path)
    tiny = sequence.FEATURES["tiny"]
    monkeypatch.setitem(sequence.FEATURES, "gemma3_4b", tiny)
    params = parameters("gemma3_4b")
    params = params.model_copy(
        update={"conversion": params.conversion.model_copy(update={"weights": str(tmp_path), "size": "gemma3_4b"})}
    )
    model = network.build(params)
    table = whole.model.language_model.embed_tokens.weight
    assert torch.equal(model.language.text.embed_tokens.weight, table.bfloat16())
    assert model.given["language."].startswith("sha256:") and network.build(params).given == model.given
    other = tmp_path / "model.safetensors"
    content = bytearray(other.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    assert network.build(params).given != model.given
    # One step in mixed types: bfloat16 below, float32 above.
    batch = batch_of(parameters("tiny"))
    model(batch).float().sum().backward()
    assert model.world_projection.network[1].weight.grad.dtype == torch.float32
