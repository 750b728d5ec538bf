"""Whether the assistant's tokens alone are supervised, and whether what is left out might never have been there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import sequence
from stepladder.studies.captions.data.layout import CLOSE, IMAGE, KINDS, OPEN, PAD, TEXT, WORLD
from stepladder.studies.captions.data.sequence import IGNORED, SEQUENCE, Special
from stepladder.studies.captions.params import CaptionsParams

SPECIALS = (
    Special(begin=2, end=3, user=(4,), model=(5,), picture=((6,), (7,)), image=8, world=9, open=10, close=11),
    Special(2, 3, (4, 5, 6), (4, 7, 6), ((12, 13), (14, 12)), 8, 9, 10, 11, line=(6,)),  # as Gemma's, with gaps
)
ids = st.lists(st.integers(20, 99), max_size=12)
items = st.tuples(ids, ids, st.sampled_from(SPECIALS), st.lists(st.integers(1, 9), min_size=1, max_size=4))


def as_batch(*built):
    return {
        name: torch.from_numpy(np.stack(parts)) for name, parts in zip(SEQUENCE, zip(*built, strict=True), strict=True)
    }


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in SEQUENCE)


@given(items, st.integers(0, 9))
def test_supervised_are_the_answer_and_its_end_and_nothing_else(item, world):
    question, answer, special, pictures = item
    tokens_T, kinds_T, labels_T = sequence.build(question, answer, special, pictures, world, 160)
    supervised_T = labels_T != IGNORED
    assert tokens_T[supervised_T].tolist() == [*answer, special.end]
    assert (labels_T[supervised_T] == tokens_T[supervised_T]).all()
    assert (kinds_T[supervised_T] == TEXT).all()
    # What comes after is padding, and what comes before is the model's turn.
    first, last = np.flatnonzero(supervised_T)[[0, -1]]
    assert (kinds_T[last + 1 :] == PAD).all() and supervised_T[first : last + 1].all()
    assert tokens_T[first - len(special.model) : first].tolist() == list(special.model)


@given(items, st.integers(0, 9))
def test_every_picture_has_its_positions(item, world):
    question, answer, special, pictures = item
    tokens_T, kinds_T, _ = sequence.build(question, answer, special, pictures, world, 160)
    counts = dict(zip(KINDS, np.bincount(kinds_T, minlength=len(KINDS)).tolist(), strict=True))
    assert counts["image"] == sum(pictures) and counts["world"] == world * len(pictures)
    assert counts["open"] == counts["close"] == len(pictures) * bool(world)
    for kind, token in ((IMAGE, special.image), (WORLD, special.world), (OPEN, special.open), (CLOSE, special.close)):
        assert (tokens_T[kinds_T == kind] == token).all()
    # World positions stand between the pictures and the question.
    assert not world or np.flatnonzero(kinds_T == IMAGE)[-1] < np.flatnonzero(kinds_T == OPEN)[0]


@given(st.lists(items, min_size=1, max_size=3), st.integers(1, 9))
def test_without_world_is_the_sequence_that_never_had_it(several, world):
    several = [(question, answer, SPECIALS[1], pictures) for question, answer, _, pictures in several]
    with_world = as_batch(*[sequence.build(*item, world, 160) for item in several])
    plain = as_batch(*[sequence.build(*item, 0, 160) for item in several])
    off = sequence.without(with_world, OPEN, WORLD, CLOSE)
    assert same(off, plain) and same(sequence.without(off, OPEN, WORLD, CLOSE), plain)


@given(items, st.integers(0, 9))
def test_text_alone_has_nothing_of_a_picture(item, world):
    question, answer, special, _ = item
    batch = as_batch(sequence.build(*item, world, 160))
    text = sequence.without(batch, IMAGE, OPEN, WORLD, CLOSE, margin=special.margin)
    expected = [special.begin, *special.user, *question, special.end, *special.line, *special.model, *answer]
    count = int(sequence.lengths(text["kinds_T"]))
    assert text["tokens_T"][0, :count].tolist() == [*expected, special.end]
    prompt = sequence.prompt(text)
    assert int(sequence.lengths(prompt["kinds_T"])) == count - len(answer) - 1
    assert (prompt["labels_T"] == IGNORED).all()


@given(items, st.integers(0, 9), st.integers(1, 160))
@settings(max_examples=200)
def test_nothing_is_cut_silently(item, world, length):
    needed = int((sequence.build(*item, world, 160)[1] != PAD).sum())
    if length >= needed:
        assert (sequence.build(*item, world, length)[1] != PAD).sum() == needed
        return
    with pytest.raises(StudyError, match=f"{needed} tokens .*answer {len(item[1]) + 1}.* model.length = {length}"):
        sequence.build(*item, world, length)


@pytest.mark.parametrize("pictures", [[], [1] * 5])
def test_an_item_has_one_to_four_pictures(pictures):
    with pytest.raises(StudyError, match=f"{len(pictures)} pictures"):
        sequence.build([20], [21], SPECIALS[0], pictures, 0, 99)


def test_only_image_positions_see_each_other_both_ways():
    kinds_BT = torch.tensor([[TEXT, IMAGE, IMAGE, TEXT, OPEN, WORLD, CLOSE, TEXT, PAD]])
    assert sequence.token_types(kinds_BT).tolist() == [[0, 1, 1, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(("projection", "steps", "count"), [("linear", 0, 64), ("mlp", 2, 192), ("resampler", 2, 16)])
def test_world_positions_follow_from_parameters(projection, steps, count):
    params = CaptionsParams(study="captions", model={"projection": projection}, conversion={"world_steps": steps})
    assert sequence.world_tokens(params) == count
    assert (
        sequence.world_tokens(params.model_copy(update={"model": params.model.model_copy(update={"world": False})}))
        == 0
    )


def test_answers_of_gemma_see_the_world_tokens_in_their_local_layers():
    # Gemma 3 looks back 1,024 tokens in five of six layers; the plan put 4,096 world tokens before the picture.
    special, answer = SPECIALS[1], list(range(20, 84))
    _, kinds_T, labels_T = sequence.build([20] * 60, answer, special, [256], 64, 1024)
    farthest = np.flatnonzero(labels_T != IGNORED)[-1] - np.flatnonzero(kinds_T == WORLD)[0]
    assert farthest < 1024
    assert np.flatnonzero(labels_T != IGNORED)[-1] - np.flatnonzero(kinds_T == IMAGE)[0] < 1024
