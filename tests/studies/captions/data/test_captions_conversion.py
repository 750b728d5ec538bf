"""From a tar to a sequence with features: what the towers saw is what a step takes, whatever it is kept in."""

import numpy as np
import pytest
import torch

from stepladder.core.types import StudyError
from stepladder.data.shards import Shard
from stepladder.studies.captions.data import features, sequence
from stepladder.studies.captions.data.conversion import convert, items_of
from stepladder.studies.captions.data.dataset import Pairs, ids, pictures
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.models.towers.tower import GREY, towers
from tests.studies.captions import drawn_tars

LONG = {"question": "What? " * 40, "answer": "much", "kind": "choice"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Shards of one tar: as float16 and as int8, their parameters, and the tar."""
    folder = tmp_path_factory.mktemp("made")
    asset = drawn_tars.tar(folder, count=4)
    settings = {kept: drawn_tars.params(features=kept) for kept in ("float16", "int8")}
    return {kept: (drawn_tars.shard(asset, each, folder / kept), each) for kept, each in settings.items()}, asset


def test_pixels_are_what_the_vision_tower_saw_and_features_what_it_made_of_them(made):
    path, settings = made[0]["float16"]
    shard, seen = Shard(path), towers(settings.conversion)
    pixels = np.array(shard.array("pixels_NYXC"))
    np.testing.assert_array_equal(shard.array("vision_NPF"), seen.vision(pixels).astype(np.float16))
    grey = np.full((1, *pixels.shape[1:]), GREY, np.uint8)
    np.testing.assert_allclose(shard.array("blank_vision_PF"), seen.vision(grey)[0], atol=2e-3)
    assert shard.attributes["towers"] == seen.keys


def test_items_come_back_word_by_word_and_their_ids_are_the_tokenizers(made):
    path, settings = made[0]["float16"]
    shard, words = Shard(path), tokenizer(settings.conversion)
    items = items_of(shard.array("items_S"))
    assert len(items) == 12
    for place, item in enumerate(items):
        assert words.decode(ids(shard, "prompt", place)) == item.question
        assert words.decode(ids(shard, "answer", place)) == item.answer
        assert tuple(pictures(shard, place)) == item.pictures
        assert shard.attributes["families"][place] == item.family


def test_int8_features_reach_the_sample_within_their_error(made):
    samples = {}
    for kept, (path, settings) in made[0].items():
        samples[kept] = [Pairs([path], settings).sample(index, None) for index in range(4)]
        assert set(Shard(path).attributes["features_error"]) == {"vision_NPF", "world_NTVUC"}
    for exact, rough in zip(samples["float16"], samples["int8"], strict=True):
        for name in ("vision_MPF", "world_MTVUC"):
            assert rough[name].dtype == exact[name].dtype == np.float16
            assert 0 < features.error(exact[name].astype(np.float32), rough[name]) < 0.02
    told = Shard(made[0]["int8"][0]).attributes["features_error"]
    assert all(0 < error < 0.02 for error in told.values())


def test_absent_pictures_are_zeros(made):
    path, settings = made[0]["float16"]
    sample = Pairs([path], settings).sample(0, None)
    assert sample["pictures"] == 1
    assert sample["vision_MPF"][0].any()
    assert not sample["vision_MPF"][1:].any()
    assert not sample["world_MTVUC"][1:].any()


def test_moving_scenes_become_three_frames_of_latents_that_move(tmp_path):
    settings = drawn_tars.params(steps=2, length=128)
    path = drawn_tars.shard(drawn_tars.moving(tmp_path, frames=17), settings)
    world = np.array(Shard(path).array("world_NTVUC"), np.float32)
    assert world.shape[1] == 3
    assert (np.abs(np.diff(world, axis=1)).mean((2, 3, 4)) > 0.01).all()
    assert Shard(path).array("blank_world_TVUC").shape == world.shape[1:]
    sample = Pairs([path], settings).sample(0, None)
    assert sample["world_MTVUC"].shape[1] == 3
    still = drawn_tars.shard(drawn_tars.tar(tmp_path / "still", count=2), settings)
    assert Pairs([path, still], settings).sample(3, None)["world_MTVUC"].shape == sample["world_MTVUC"].shape


def test_an_item_that_is_too_long_is_left_out_and_counted(tmp_path):
    asset = drawn_tars.tar(tmp_path, count=3, questions=(LONG,))
    settings = drawn_tars.params(length=64)
    pairs = Pairs([drawn_tars.shard(asset, settings)], settings)
    assert (len(pairs), pairs.left_out) == (3, 3)
    assert all((pairs.sample(index, None)["labels_T"] != sequence.IGNORED).any() for index in range(3))


def test_what_is_left_out_is_exactly_what_the_sequence_refuses(made):
    path, settings = made[0]["float16"]
    shard, words = Shard(path), tokenizer(settings.conversion)
    for length in range(36, 70):
        settings = drawn_tars.params(length=length)
        fits = 0
        for item in range(12):
            try:
                sequence.build(ids(shard, "prompt", item), ids(shard, "answer", item), words.special, [4], 4, length)
                fits += 1
            except StudyError:
                continue
        if fits:
            assert len(Pairs([path], settings)) == fits
        else:
            with pytest.raises(StudyError, match=f"model.length = {length}"):
                Pairs([path], settings)


def test_shards_of_other_towers_are_refused_by_name(made, tmp_path):
    path, settings = made[0]["float16"]
    other = convert(made[1], settings)
    from stepladder.data import shards

    changed = type(other)(other.arrays, other.compressed, {**other.attributes, "towers": {"vision": "another"}})
    shards.write(tmp_path / "other.h5", changed, "recipe")
    with pytest.raises(StudyError, match=r"00000\.h5 and other\.h5 were made by different towers"):
        Pairs([path, tmp_path / "other.h5"], settings)


def test_ids_of_another_tokenizer_are_refused_by_name(made, tmp_path):
    settings = made[0]["float16"][1]
    other = convert(made[1], settings)
    from stepladder.data import shards

    changed = type(other)(other.arrays, other.compressed, {**other.attributes, "tokenizer": "another"})
    shards.write(tmp_path / "other.h5", changed, "recipe")
    with pytest.raises(StudyError, match=r"other\.h5 are another tokenizer's"):
        Pairs([tmp_path / "other.h5"], settings)


def test_conversion_moves_nobodys_seed(made):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    convert(made[1], made[0]["float16"][1])
    assert torch.equal(before, torch.get_rng_state())
