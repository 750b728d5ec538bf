"""NLVR's real statements, and what VSR's are without their pictures."""

import json
import shutil

import pytest

from stepladder.core.types import StudyError
from stepladder.studies.captions.data.layout import TRUE_FALSE
from stepladder.studies.captions.data.readers import find, statements
from stepladder.studies.captions.data.synthesis.drawing import jpeg, pictures
from tests.studies.captions import drawn_tars

VSR = {"caption": "The dog is on it.", "label": 1, "relation": "on"}


def lines(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def drawn(folder, *names):
    for name, image in zip(names, pictures(len(names), 2, 48), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(image))


def counted(content):
    return {issue.kind: issue.count for issue in content.issues}


@pytest.fixture(scope="module")
def nlvr(shared_data):
    folder = shared_data / "captions" / "lil-lab__nlvr"
    if not folder.is_dir():
        pytest.skip("no NLVR among the real data")
    return folder


def test_nlvrs_real_statements_are_all_read_with_their_true_labels(nlvr):
    contents = [statements.read(asset) for asset in find.assets([nlvr], drawn_tars.params())]
    items = [item for content in contents for item in content.items]
    truth = [json.loads(line) for line in (nlvr / "dev.jsonl").read_text().splitlines()]
    said = sorted((item.question.removeprefix("True or false? "), item.answer) for item in items)
    assert said == sorted((row["sentence"].strip(), row["label"]) for row in truth)
    assert all(item.kind == TRUE_FALSE and item.choices == ("true", "false") for item in items)
    assert sum(len(content.issues) for content in contents) == 0


def test_no_sentence_of_nlvr_lies_in_two_assets(nlvr):
    families = [
        {item.family for item in statements.read(asset).items} for asset in find.assets([nlvr], drawn_tars.params())
    ]
    assert len(families) > 1
    assert len(set().union(*families)) == sum(map(len, families))


def test_a_statement_shows_its_own_picture(nlvr):
    content = statements.read(find.assets([nlvr], drawn_tars.params())[0])
    keys = {row["sentence"].strip(): set() for row in map(json.loads, (nlvr / "dev.jsonl").read_text().splitlines())}
    for row in map(json.loads, (nlvr / "dev.jsonl").read_text().splitlines()):
        keys[row["sentence"].strip()].add(row["image"].split("/")[-1].removesuffix(".png"))
    for item in content.items:
        assert content.keys[item.pictures[0]] in keys[item.question.removeprefix("True or false? ")]


def test_vsrs_statements_without_pictures_are_counted(tmp_path):
    rows = [{**VSR, "image": f"{number}.jpg", "label": number % 2} for number in range(60)]
    lines(tmp_path, "dev.jsonl", rows)
    drawn(tmp_path, "3.jpg", "4.jpg")
    content = statements.read(find.assets([tmp_path], drawn_tars.params())[0])
    assert [item.answer for item in content.items] == ["true", "false"]
    assert counted(content) == {"picture of a statement is not here": 58}


def test_a_set_none_of_whose_pictures_is_here_is_nothing(tmp_path):
    lines(tmp_path, "dev.jsonl", [{**VSR, "image": "1.jpg"}])
    with pytest.raises(StudyError, match="no pictures with texts"):
        find.assets([tmp_path], drawn_tars.params())


def test_lines_that_are_no_statements_and_broken_pictures_are_counted(tmp_path):
    drawn(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    rows = ["[1]", {**VSR, "image": "1.jpg"}, "{broken", {**VSR, "image": 5}, {**VSR, "image": "2.jpg"},
            {**VSR, "image": "3.jpg"}]  # fmt: skip
    lines(tmp_path, "dev.jsonl", rows)
    content = statements.read(find.assets([tmp_path], drawn_tars.params())[0])
    assert content.keys == ["1", "2"]
    assert len(content.items) == 2
    assert counted(content) == {"picture not_image": 1, "line is no statement": 3}


@pytest.mark.parametrize("image", ["../secret.jpg", "{folder}/secret.jpg", "a/../../secret.jpg", "x\0y.jpg"])
def test_a_set_reads_no_picture_outside_its_folder(tmp_path, image):
    drawn(tmp_path, "secret.jpg", "set/1.jpg", "set/a/2.jpg")
    named = image.format(folder=tmp_path)
    lines(tmp_path / "set", "dev.jsonl", [{**VSR, "image": "1.jpg"}, {**VSR, "image": named}])
    content = statements.read(find.assets([tmp_path / "set"], drawn_tars.params())[0])
    assert content.keys == ["1"]
    assert counted(content) == {"picture of a statement is not here": 1}


def test_a_list_of_addresses_in_lines_is_no_set(tmp_path):
    lines(tmp_path, "list.jsonl", [{"url": "http://a.example/1.jpg", "text": "A dog."}])
    assert statements.assets([tmp_path], ()) == []


def test_a_set_that_changed_since_is_refused_by_name(tmp_path):
    drawn(tmp_path, "1.jpg")
    lines(tmp_path, "dev.jsonl", [{**VSR, "image": "1.jpg"}])
    asset = find.assets([tmp_path], drawn_tars.params())[0]
    shutil.move(tmp_path / "1.jpg", tmp_path / "2.jpg")
    with pytest.raises(StudyError, match=r"dev\.jsonl is not the set"):
        statements.read(asset)
