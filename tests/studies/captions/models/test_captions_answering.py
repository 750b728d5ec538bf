"""Whether answers are what a step-by-step reading of the model says, whoever else is in the batch."""

import pytest
import torch

from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import TEXT, WORLD
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.models import answering, attention, losses
from tests.studies.captions.captioned import ANSWERS, batch_of, model_of, parameters

torch.set_num_threads(1)
SIZES = ("small", "tiny")


def cases(size):
    """A batch whose choices are the true answer, another one, and nothing."""
    batch, ours = batch_of(parameters(size)), model_of(size).tokenizer
    ids = [[ours.encode(text), ours.encode("Yes, a dog."), []] for text in ANSWERS]
    rows = [[[*choice, ours.special.end] if choice else [] for choice in item] for item in ids]
    longest = max(len(choice) for item in rows for choice in item)
    padded = [[choice + [-1] * (longest - len(choice)) for choice in item] for item in rows]
    return batch | {"choice_ids_CL": torch.tensor(padded)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("arm", ["trained", "text_only"])
@torch.no_grad()
def test_the_likelihood_of_the_answer_is_that_of_training(size, arm):
    model, batch = model_of(size), cases(size)
    told = answering.predict(model, batch, arm)
    read, x_BTH = model.read(batch, arm)
    logs_BTV = model.logits(x_BTH, read["kinds_T"])[:, :-1].log_softmax(2)
    labels_BT = read["labels_T"][:, 1:]
    logs_BT = logs_BTV.gather(2, labels_BT.clamp(min=0)[..., None])[..., 0]
    expected_B = torch.where(labels_BT != IGNORED, logs_BT, 0.0).sum(1)
    torch.testing.assert_close(told["likelihood_BC"][:, 0], expected_B, rtol=1e-4, atol=1e-4)
    assert told["likelihood_BC"][:, 2].tolist() == [-torch.inf] * 3
    assert told["tokens_BC"][:, 2].tolist() == [0] * 3
    per_token = -losses.by_sample(torch.where(labels_BT != IGNORED, logs_BT, 0.0), labels_BT)
    assert float((told["likelihood_BC"] / told["tokens_BC"])[:, 0].mean()) == pytest.approx(-float(per_token), rel=1e-4)


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_greedy_takes_the_likeliest_token_every_time(size):
    model, batch = model_of(size), cases(size)
    told = answering.predict(model, batch)["text_BS"]
    for item in range(3):
        alone = {name: value[item : item + 1] for name, value in batch.items()}
        read, x_BTH = model.read(sequence.prompt(alone))
        length = int(sequence.lengths(read["kinds_T"]))
        x_BTH, ids = x_BTH[:, :length], []
        while len(ids) < model.evaluation.new_tokens:
            kinds_BT = torch.cat([read["kinds_T"][:, :length], torch.full((1, len(ids)), TEXT)], dim=1)
            ids.append(int(model.logits(x_BTH, kinds_BT)[0, -1].argmax()))
            if ids[-1] == model.tokenizer.special.end:
                break
            x_BTH = torch.cat([x_BTH, model.language.embed(torch.tensor([[ids[-1]]]))], dim=1)
        text = bytes(told[item].tolist()).rstrip(b"\0").decode()
        assert text == model.tokenizer.decode([token for token in ids if token != model.tokenizer.special.end])


@torch.no_grad()
def test_further_arms_answer_as_they_would_alone():
    model, batch = model_of(), cases("small")
    together = answering.predict(model, batch, arms=("text_only", "shuffled"))
    for arm in ("text_only", "shuffled"):
        alone = answering.predict(model, batch, arm)
        torch.testing.assert_close(together[f"likelihood_{arm}_BC"], alone["likelihood_BC"], rtol=1e-4, atol=1e-4)
        one, two = (bytes(of[0].tolist()).rstrip(b"\0") for of in (together[f"text_{arm}_BS"], alone["text_BS"]))
        assert one == two


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_attention_on_world_tokens_is_a_share(size):
    model, batch = model_of(size), cases(size)
    share_BL = attention.share(model, batch)
    assert share_BL.shape == (3, {"small": 2, "tiny": 6}[size])
    assert ((share_BL > 0) & (share_BL < 1)).all()
    assert (attention.share(model, batch, "text_only") == 0).all()


@torch.no_grad()
def test_attention_that_is_spread_evenly_is_on_world_tokens_by_their_number():
    model, batch = model_of(), batch_of(parameters(), pictures=(1, 1, 1))
    saved = {name: value.clone() for name, value in model.language.state_dict().items()}
    for block in model.language.blocks:
        block.attention.qkv.weight.zero_()
    share_B = attention.share(model, batch)[:, 0]
    model.language.load_state_dict(saved)
    world = sequence.world_tokens(parameters())
    for item, share in enumerate(share_B.tolist()):
        places = torch.nonzero(batch["labels_T"][item] != IGNORED)[:, 0]  # each answers one position earlier
        assert share == pytest.approx(float((world / places.float()).mean()), rel=1e-4)
    assert (batch["kinds_T"] == WORLD).sum(1).tolist() == [world] * 3
