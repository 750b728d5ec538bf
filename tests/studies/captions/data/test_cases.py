"""Cases as evaluation takes them: whose picture is swapped for whose, which words, which kinds are among a few."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.shards import Shard
from stepladder.evaluation import metrics
from stepladder.studies.captions.data import cases
from stepladder.studies.captions.data.cases import CHOICES, TEXT, Cases, decoded, encoded
from stepladder.studies.captions.data.layout import CAPTION
from stepladder.studies.captions.data.tokenizer import tokenizer
from tests.studies.captions import drawn_tars

CLUSTERS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=40).map(np.array)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    settings = drawn_tars.params()
    asset = drawn_tars.tar(tmp_path_factory.mktemp("cases"), count=6, families=["a", "a", "b", "b", "c", "d"])
    return Cases([drawn_tars.shard(asset, settings)], settings), settings


@given(CLUSTERS)
def test_nobody_is_shuffled_with_their_own_family_where_there_is_another(clusters):
    found = cases.others(clusters)
    largest = Counter(clusters.tolist()).most_common(1)[0][1]
    if len(set(clusters)) == 1:
        np.testing.assert_array_equal(found, np.arange(len(clusters)))
        return
    assert (clusters[found] != clusters).all()
    if 2 * largest <= len(clusters):
        assert sorted(found) == list(range(len(clusters)))  # a derangement: all are seen as often as before


@given(st.lists(st.integers(0, 4), max_size=300), st.integers(1, 60))
def test_interleaving_keeps_everybody_and_the_order_within_a_kind(kinds, count):
    order = cases.interleaved(kinds)
    assert sorted(order) == list(range(len(kinds)))
    for kind in set(kinds):
        own = [index for index in order if kinds[index] == kind]
        assert own == sorted(own)


@pytest.mark.parametrize("count", [20, 50, 64, 100, 150, 200, 300])
@pytest.mark.parametrize("kinds", [[0, 1] * 300, [0, 1, 2] * 200, [0] * 500 + [1] * 100, [0, 2, 2, 2] * 150])
def test_a_few_cases_taken_evenly_are_of_every_kind_by_its_share(kinds, count):
    order = cases.interleaved(kinds)
    taken = Counter(kinds[order[index]] for index in metrics.choose(order, count))
    for kind, total in Counter(kinds).items():
        assert taken[kind] == pytest.approx(count * total / len(kinds), abs=max(3, 0.15 * count))


def test_cases_are_interleaved_the_same_every_time(made):
    found, settings = made
    again = Cases([found.shards[0].path], settings)
    assert again.places == found.places
    assert sorted(place.item for place in found.places) == list(range(18))
    assert len({found.item(int(index)).kind for index in metrics.choose(found, 9)}) == 3
    assert [found.item(index).family for index in range(18)] == found.clusters.tolist()


def test_the_other_picture_is_anothers_features(made):
    found, _ = made
    for index in range(len(found)):
        other = found.other(index)
        assert found.clusters[other] != found.clusters[index]
        sample, swapped = found.sample(index, None), found.sample(other, None)
        np.testing.assert_array_equal(sample["other_vision_MPF"][0], swapped["vision_MPF"][0])
        np.testing.assert_array_equal(sample["other_world_MTVUC"][0], swapped["world_MTVUC"][0])
        assert not sample["other_vision_MPF"][1:].any()


def test_words_choices_and_the_right_one_are_in_the_sample(made):
    found, settings = made
    words = tokenizer(settings.conversion)
    for index in range(len(found)):
        item, sample = found.item(index), found.sample(index, None)
        assert decoded(sample["question_S"]) == item.question
        assert decoded(sample["reference_S"]) == item.answer
        count = int(sample["choices"])
        rows = [row[row >= 0].tolist() for row in sample["choice_ids_CL"]]
        assert [words.decode(row[:-1]) for row in rows[:count]] == list(item.choices or (item.answer,))
        assert all(row[-1] == words.special.end for row in rows[:count])
        assert not any(rows[count:])
        if item.kind == CAPTION:
            assert (count, int(sample["answer"])) == (1, -1)
        else:
            assert item.choices[int(sample["answer"])] == item.answer
            assert [decoded(text) for text in sample["choices_CS"][:count]] == list(item.choices)


def test_every_sample_has_the_same_shapes(made):
    found, _ = made
    shapes = [{name: np.shape(value) for name, value in found.sample(index, None).items()} for index in range(18)]
    assert all(each == shapes[0] for each in shapes)
    assert shapes[0]["choices_CS"] == (CHOICES, TEXT)


def test_the_blank_picture_is_the_shards(made):
    found, _ = made
    shard = Shard(found.shards[0].path)
    np.testing.assert_array_equal(found.sample(0, None)["blank_vision_PF"], shard.array("blank_vision_PF"))


@given(st.text(max_size=60), st.integers(4, 200))
def test_texts_round_trip_and_are_cut_at_a_character(text, size):
    back = decoded(encoded(text, size))
    assert text.startswith(back) or text.rstrip("\0").startswith(back)
    if len(text.encode()) <= size:
        assert back == text.rstrip("\0")
    assert len(encoded(text, size)) == size
