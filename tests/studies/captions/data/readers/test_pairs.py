"""Tars of strangers: what can be read is read, what cannot is counted, nothing is a crash."""

import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stepladder.core.types import StudyError
from stepladder.studies.captions.data.conversion import items_of
from stepladder.studies.captions.data.layout import CAPTION, RELATION, TRUE_FALSE
from stepladder.studies.captions.data.readers import find, pairs
from stepladder.studies.captions.data.synthesis.drawing import jpeg, pictures
from stepladder.studies.captions.models.towers import own
from tests.studies.captions import drawn_tars

ASK = "Describe this image simply."
IMAGE = pictures(1, 5, 64)[0]
RIGHT = {"question": "Which?", "answer": "b", "kind": "choice", "choices": ["a", "b"]}


def read(folder, *samples):
    rows = [row for number, sample in enumerate(samples) for row in drawn_tars.members(f"k{number}", **sample)]
    return pairs.read(drawn_tars.written(folder, "a", rows), ASK)


def counted(content):
    return {issue.kind: sum(i.count for i in content.issues if i.kind == issue.kind) for issue in content.issues}


def test_a_caption_and_every_question_is_an_item_of_its_picture(tmp_path):
    content = pairs.read(drawn_tars.tar(tmp_path, count=3), ASK)
    assert [item.kind for item in content.items] == [CAPTION, TRUE_FALSE, RELATION] * 3
    assert [item.pictures for item in content.items] == [(n,) for n in range(3) for _ in range(3)]
    assert content.items[0].question == ASK
    assert {item.family for item in content.items} == {"scene 0", "scene 1", "scene 2"}
    assert not content.issues


def test_a_tar_from_elsewhere_without_json_says_that_every_picture_is_a_family(tmp_path):
    content = read(tmp_path, {"image": IMAGE, "caption": "One."}, {"image": IMAGE, "caption": "Two."})
    assert [item.family for item in content.items] == ["k0", "k1"]
    assert {item.group for item in content.items} == {"pictures"}


def test_img2datasets_caption_in_the_json_is_a_caption(tmp_path):
    content = read(tmp_path, {"image": IMAGE, "facts": {"caption": "A dog.", "status": "success"}})
    assert [item.answer for item in content.items] == ["A dog."]


@pytest.mark.parametrize("wrong", [
    {}, "text", None, 7, [],
    {**RIGHT, "kind": "poem"}, {**RIGHT, "answer": "z"}, {**RIGHT, "answer": 3}, {**RIGHT, "answer": ""},
    {**RIGHT, "choices": list("abcdefg")}, {**RIGHT, "choices": 5}, {**RIGHT, "choices": [1, "b"]},
    {"question": "Which?", "answer": "b"},
])  # fmt: skip
def test_a_question_that_cannot_be_used_is_counted_and_the_rest_is_kept(tmp_path, wrong):
    content = read(tmp_path, {"image": IMAGE, "caption": "One.", "facts": {"questions": [wrong, RIGHT]}})
    assert [item.answer for item in content.items] == ["One.", "b"]
    assert counted(content) == {"question cannot be used": 1}


@pytest.mark.parametrize("facts", [b"{not json", b"[1, 2]", b'"text"', b"\xff\xfe{}", b"[" * 100_000], ids=range(5))
def test_a_json_that_cannot_be_read_costs_itself_only(tmp_path, facts):
    content = read(tmp_path, {"image": IMAGE, "caption": "One.", "facts": facts})
    assert [(item.answer, item.family) for item in content.items] == [("One.", "k0")]
    assert counted(content) == {"json cannot be read": 1}


@pytest.mark.parametrize("questions", [{"question": "x"}, "abc", 5])
def test_questions_that_are_no_list_are_one_that_cannot_be_used(tmp_path, questions):
    content = read(tmp_path, {"image": IMAGE, "caption": "One.", "facts": {"questions": questions}})
    assert len(content.items) == 1
    assert counted(content) == {"question cannot be used": 1}


def test_a_text_that_is_not_utf8_is_read_with_replacements_and_survives_conversion(tmp_path):
    rows = drawn_tars.members("k0", IMAGE, "Café".encode("latin-1"))
    rows += drawn_tars.members("k1", IMAGE, "", b'{"caption": "half \\ud800 a pair\\u0000"}')
    path = drawn_tars.shard(drawn_tars.written(tmp_path, "a", rows), drawn_tars.params())
    from stepladder.data.shards import Shard

    assert [item.answer for item in items_of(Shard(path).array("items_S"))] == ["Caf\ufffd", "half ? a pair"]


def test_broken_pictures_and_pictures_without_text_are_counted_apart(tmp_path):
    content = read(
        tmp_path,
        {"image": b"no picture", "caption": "One."},
        {"image": jpeg(IMAGE)[:200], "caption": "Two."},
        {"image": IMAGE, "caption": "   \n"},
        {"image": IMAGE, "caption": "Good."},
    )
    assert content.keys == ["k3"]
    assert content.items[0].pictures == (0,)
    assert counted(content)["picture without a text"] == 1
    assert sum(count for kind, count in counted(content).items() if kind.startswith("picture ")) == 3


def test_a_tar_whose_every_picture_is_broken_is_refused_by_name_with_what_was_wrong(tmp_path):
    with pytest.raises(StudyError, match=r"a\.tar holds no picture with a text: 2 samples.*k0"):
        read(tmp_path, {"image": b"no", "caption": "One."}, {"image": b"", "caption": "Two."})


def test_a_cut_tar_is_refused_by_name(tmp_path):
    asset = drawn_tars.tar(tmp_path)
    (tmp_path / "00000.json").unlink()
    asset.files[0].write_bytes(asset.files[0].read_bytes()[:3000])
    with pytest.raises(StudyError, match=r"00000\.tar cannot be read"):
        pairs.read(asset, ASK)


def test_later_frames_are_read_in_their_order_and_nothing_else_is_a_frame(tmp_path):
    later = [np.full_like(IMAGE, value) for value in (50, 100, 150)]
    rows = [*drawn_tars.members("k0", IMAGE, "One.", None, later), ("k0.frames.json", b"{}"), ("k0.framed.txt", b"x")]
    frames = pairs.read(drawn_tars.written(tmp_path, "a", rows), ASK).frames[0]
    assert [round(float(frame.mean())) for frame in frames[1:]] == [50, 100, 150]


def test_frames_of_different_size_are_a_broken_picture(tmp_path):
    rows = drawn_tars.members("k0", IMAGE, "One.", None, [np.zeros((8, 8, 3), np.uint8)])
    rows += drawn_tars.members("k1", IMAGE, "Two.")
    content = pairs.read(drawn_tars.written(tmp_path, "a", rows), ASK)
    assert content.keys == ["k1"]
    assert counted(content) == {"picture decode": 1}


@pytest.mark.parametrize("ending", ["png", "webp", "gif", "jpeg"])
def test_other_formats_are_pictures_too(tmp_path, ending):
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, ending)
    asset = drawn_tars.written(tmp_path, "a", [(f"k.{ending}", buffer.getvalue()), ("k.txt", b"One.")])
    assert pairs.read(asset, ASK).frames[0].shape == (1, 64, 64, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["caption", "family", "group", "questions", "question", "answer", "kind", "choices"]), inner
    ),
    max_leaves=12,
)  # fmt: skip


@given(facts=JSON)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_json_holds_the_reader_gives_items_of_text_or_counts(tmp_path, facts):
    content = read(
        tmp_path,
        {"image": IMAGE, "caption": "One.", "facts": json.dumps(facts or {"unused": facts}).encode()},
    )
    for item in content.items:
        assert item.answer
        assert all(
            isinstance(text, str) for text in (item.question, item.answer, item.group, item.family, *item.choices)
        )
        assert not item.choices or item.answer in item.choices
        (item.question + item.answer + item.family + item.group).encode()


def test_folders_with_nothing_are_named_with_the_layouts_that_are_known(tmp_path):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"no pictures with texts lie in empty.*\*\.tar"):
        find.assets([tmp_path / "empty"], drawn_tars.params())


def test_two_tars_of_one_name_are_refused_and_those_of_folders_are_told_apart(tmp_path):
    drawn_tars.tar(tmp_path / "one" / "first", "00000")
    drawn_tars.tar(tmp_path / "one" / "second", "00000")
    names = [asset.id for asset in find.assets([tmp_path / "one"], drawn_tars.params())]
    assert names == ["first_00000", "second_00000"]
    drawn_tars.tar(tmp_path / "two", "00000")
    drawn_tars.tar(tmp_path / "three", "00000")
    with pytest.raises(StudyError, match="two assets are called '00000'"):
        find.assets([tmp_path / "two", tmp_path / "three"], drawn_tars.params())


def test_weights_of_the_world_tower_are_part_of_every_asset_of_size_small_alone(tmp_path):
    drawn_tars.tar(tmp_path)
    place = own.place_of(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")
    small = drawn_tars.parameters("small")
    assert [asset.neighbours for asset in find.assets([tmp_path], small)] == [(place,)]
    assert [asset.neighbours for asset in find.assets([tmp_path], drawn_tars.params())] == [()]
