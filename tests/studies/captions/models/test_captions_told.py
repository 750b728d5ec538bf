"""Whether words stand in the places of pictures and nowhere else, and of the answer of their own sample alone."""

import torch

from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import IMAGE, TEXT, WORLD
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.models import told
from tests.studies.captions.captioned import batch_of, model_of, parameters

torch.set_num_threads(1)


def written(monkeypatch, **settings):
    """A batch told in words, with settings of `told`: kinds, vectors, and the vectors of text alone."""
    for name, value in settings.items():
        monkeypatch.setattr(told, name, value)
    model = model_of()
    batch, x_BTH = told.in_words(model.language, batch_of(parameters()), 1)
    return batch, x_BTH, model.language.embed(batch["tokens_T"])


@torch.no_grad()
def test_text_is_as_it_was(monkeypatch):
    batch, x_BTH, plain_BTH = written(monkeypatch, BARE=0.0)
    text_BT, place_BT = batch["kinds_T"] == TEXT, torch.isin(batch["kinds_T"], torch.tensor([IMAGE, WORLD]))
    assert torch.equal(x_BTH[text_BT], plain_BTH[text_BT])
    assert (x_BTH[place_BT] != plain_BTH[place_BT]).any(1).all()


@torch.no_grad()
def test_words_are_those_of_the_own_answer_in_their_order(monkeypatch):
    batch, x_BTH, _ = written(monkeypatch, BARE=0.0, ORDERED=1.0, NOISE=0.0, MIXED=1, FAINTEST=1.0, KEPT=1.0)
    table_VH = model_of().language.embed(torch.arange(1024))
    for item in range(3):
        answer = batch["tokens_T"][item][batch["labels_T"][item] != IGNORED][:-1].tolist()
        place_T = torch.isin(batch["kinds_T"][item], torch.tensor([IMAGE, WORLD]))
        found = torch.cdist(x_BTH[item][place_T], table_VH).argmin(1).tolist()
        assert set(found) <= set(answer)
        assert len(set(answer)) < len(answer) or [answer.index(one) for one in found] == sorted(
            map(answer.index, found)
        )


@torch.no_grad()
def test_a_bare_sample_is_text_alone(monkeypatch):
    batch, x_BTH, plain_BTH = written(monkeypatch, BARE=1.0)
    bare = sequence.without(batch_of(parameters()), IMAGE, *range(WORLD, WORLD + 3))
    assert torch.equal(batch["tokens_T"], bare["tokens_T"]) and torch.equal(x_BTH, plain_BTH)


@torch.no_grad()
def test_no_arm_is_told_the_answer():
    model, batch = model_of(), batch_of(parameters())
    for arm in model.arms:
        read, x_BTH = model.read(batch, arm)
        _, asked_BTH = model.read(sequence.prompt(batch), arm)
        before_BT = (read["labels_T"] == IGNORED).cumprod(1).bool()
        assert torch.equal(x_BTH[before_BT], asked_BTH[before_BT])
