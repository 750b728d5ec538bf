"""The judge of meaning: what it says of known pairs, and that nothing but the text decides it."""

import numpy as np
import pytest

from stepladder.core.types import StudyError
from stepladder.studies.captions.evaluation import minilm
from stepladder.studies.captions.evaluation.meaning import meaning, retrieval, retrieval_table, vector, vectors

pytest.importorskip(minilm.PACKAGE)

TEXTS = ["A cat sits on the sofa.", "A kitten is on a couch.", "The stock market fell today.", "A red rocket at dusk."]


def test_a_kitten_is_nearly_a_cat_and_the_stock_market_is_not() -> None:
    assert meaning("cat", "kitten") == pytest.approx(0.76, abs=0.05)
    assert meaning(TEXTS[0], TEXTS[1]) > 0.7
    assert meaning(TEXTS[0], TEXTS[2]) <= 0.09
    assert meaning(TEXTS[0], TEXTS[0]) == pytest.approx(1, abs=1e-6)


def test_an_empty_answer_means_nothing() -> None:
    assert meaning("", "a cat") == meaning(" ", " ") == 0


def test_the_encoder_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    config = transformers.BertConfig(
        vocab_size=minilm.WORDS, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    model, tokenizer = minilm.load()
    held = {minilm._theirs(name): value for name, value in model.state_dict().items()}
    theirs.load_state_dict(held)
    ids = torch.tensor([tokenizer.encode(TEXTS[0]).ids])
    with torch.inference_mode():
        mean = torch.nn.functional.normalize(theirs(ids).last_hidden_state.mean(1), dim=-1)
        assert torch.allclose(model(ids), mean, atol=1e-6)


def test_a_vector_does_not_depend_on_what_else_is_encoded() -> None:
    alone = np.stack([vector(text) for text in TEXTS])
    vector.cache_clear()
    assert np.array_equal(vectors(TEXTS[::-1])[::-1], alone)


def test_a_changed_file_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(minilm.SHA256, "model.safetensors", "0" * 64)
    with pytest.raises(StudyError, match=r"model\.safetensors is not the file"):
        minilm.load.__wrapped__()


def test_a_missing_package_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(StudyError, match=r"needs no-such-package.*captions"):
        minilm._bytes("model.safetensors")


def test_captions_that_differ_find_their_pictures_and_one_caption_for_all_finds_as_chance_does() -> None:
    table = retrieval_table({"own": TEXTS, "same": ["a picture"] * 4}, TEXTS).set_index("arm")
    assert table.loc["own", "R@1"] == 1
    assert table.loc["same", "R@1"] == pytest.approx(0.25) == pytest.approx(table.loc["same", "chance"])


def test_pictures_with_equal_references_may_stand_for_one_another() -> None:
    assert retrieval(["a cat", "a cat", "a dog"], ["a cat", "a cat", "a dog"])["R@1"] == 1
