"""Whether every text survives the tokenizer, and whether nobody's text becomes a special token."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import tokenizer
from stepladder.studies.captions.params import CaptionsConversion

SMALL = CaptionsConversion(size="small")


@given(st.text())
def test_every_text_comes_back(text):
    ours = tokenizer.tokenizer(SMALL)
    assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize("name", tokenizer.OWN)
def test_what_looks_special_in_a_text_is_text(name):
    ours = tokenizer.tokenizer(SMALL)
    ids = ours.encode(f"a {name} b")
    assert ours.decode(ids) == f"a {name} b"
    assert min(ids) >= len(tokenizer.OWN)


def test_special_tokens_are_left_out_of_an_answer():
    ours = tokenizer.tokenizer(SMALL)
    assert ours.decode([*ours.encode("A cat."), ours.special.end, -1]) == "A cat."


def test_ids_fit_the_table():
    ours = tokenizer.tokenizer(SMALL)
    assert ours.inner.get_vocab_size() <= ours.vocabulary == tokenizer.vocabulary("tiny")


def test_another_process_learns_the_same():
    code = (
        "from stepladder.studies.captions.data import tokenizer as t; "
        "from stepladder.studies.captions.params import CaptionsConversion as C; "
        "print(t.tokenizer(C(size='tiny')).digest)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == tokenizer.tokenizer(SMALL).digest


def gemma_like(folder, names):
    """A `tokenizer.json` with special tokens of these names, the first of id 0."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocabulary = {name: number for number, name in enumerate([*names, *"user\nmodlcat ."])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([AddedToken(name, special=True) for name in names])
    inner.save(str(folder / "tokenizer.json"))
    return CaptionsConversion(size="gemma3_4b", weights=str(folder))


GEMMA = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"]


def test_gemma_comes_from_the_folder_of_its_weights(tmp_path):
    theirs = tokenizer.tokenizer(gemma_like(tmp_path, [*GEMMA, "<image_soft_token>"]))
    special = theirs.special
    assert (special.begin, special.end, special.image) == (2, 4, 7)
    assert special.user[0] == special.model[0] == 3 and theirs.decode(special.user) == "user\n"
    # World positions take rows of the table behind the vocabulary of Gemma 3.
    assert 262_144 < special.world < special.open < special.close < theirs.vocabulary


def test_a_tokenizer_that_is_not_of_gemma_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"<start_of_turn>.*not Gemma 3's"):
        tokenizer.tokenizer(gemma_like(tmp_path, [name for name in GEMMA if name != "<start_of_turn>"]))


@pytest.mark.parametrize(
    ("weights", "revision", "told"), [(None, None, "is empty"), ("google/gemma", "main", "no commit of 40 digits")]
)
def test_weights_are_pinned(weights, revision, told):
    with pytest.raises(StudyError, match=told):
        tokenizer.tokenizer(CaptionsConversion(size="gemma3_4b", weights=weights, revision=revision))
