"""The offline corpus: bytes follow from seed and parameters, its list is DataComp's, its web holds what it names."""

import hashlib
import io
import json
import tarfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stepladder.studies.captions.data.synthesis import corpus, faults, photographs, texts
from stepladder.studies.captions.params import CaptionsParams


def parameters(**data) -> CaptionsParams:
    """Parameters with these of `data`."""
    return CaptionsParams.model_validate({"study": "captions", "profile": "quick", "run": "test", "data": data})


def digest(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 of every file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpus.synthesize(folder, 120, 3, parameters(block=20, moving=5))
    return folder


def test_bytes_follow_seed_and_parameters(tmp_path: Path, made: Path):
    corpus.synthesize(tmp_path, 130, 4, parameters(block=30, moving=9, faults=0.5))
    corpus.synthesize(tmp_path, 120, 3, parameters(block=20, moving=5))
    assert digest(tmp_path) == digest(made), "what was made before must leave nothing"
    corpus.synthesize(tmp_path, 120, 4, parameters(block=20, moving=5))
    other = digest(tmp_path)
    assert other["list.parquet"] != digest(made)["list.parquet"]
    assert not {p for p in other if p.startswith("web/h")} & set(digest(made))


def test_the_list_is_datacomps(made: Path):
    table = pq.read_table(made / "list.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert list(types.items())[:9] == [
        ("uid", "string"),
        ("url", "string"),
        ("text", "string"),
        ("original_width", "int64"),
        ("original_height", "int64"),
        ("clip_b32_similarity_score", "float"),
        ("clip_l14_similarity_score", "float"),
        ("face_bboxes", "list<element: list<element: double>>"),
        ("sha256", "string"),
    ]
    assert table.num_rows == 120 and len(set(table["uid"].to_pylist())) == 120
    assert len({url.split("/")[2] for url in table["url"].to_pylist()}) > 30, "many hosts"


def test_what_does_not_misbehave_is_served_as_the_list_says(made: Path):
    rows = pq.read_table(made / "list.parquet").to_pylist()
    bad = json.loads((made / "faults.json").read_text())["rows"]
    good = [row for row in rows if row["url"] not in bad]
    assert len(good) == 120 - 30
    for row in good:
        body = (made / "web" / row["url"].removeprefix("http://")).read_bytes()
        assert hashlib.sha256(body).hexdigest() == row["sha256"]
        with Image.open(io.BytesIO(body)) as image:
            assert image.size == (row["original_width"], row["original_height"])
        assert all(question["answer"] in question["choices"] for question in json.loads(row["questions"]))


def test_the_promised_share_misbehaves_in_every_way(tmp_path: Path):
    corpus.synthesize(tmp_path, 200, 0, parameters(block=25))
    bad = json.loads((tmp_path / "faults.json").read_text())["rows"]
    assert len(bad) == 50 and {row["fault"] for row in bad.values()} == set(faults.KINDS)
    corpus.synthesize(tmp_path, 30, 0, parameters(faults=0.0))
    assert json.loads((tmp_path / "faults.json").read_text()) == {"format": 1, "rows": {}, "answers": {}}


@pytest.mark.parametrize(("count", "block"), [(12, 4), (60, 1000), (120, 20), (200, 25), (201, 7), (500, 2), (40, 1)])
def test_a_family_never_straddles_a_block(count: int, block: int):
    """All views of a photograph become one tar, whatever its size, and rows are as many as asked for."""
    found = corpus.places(count, block, np.random.default_rng(0))
    blocks = defaultdict(set)
    for number, place in enumerate(found):
        if place is not None:
            blocks[place[0]].add(number // block)
    assert len(found) == count and blocks and all(len(numbers) == 1 for numbers in blocks.values())
    assert all(a != b for a, b in pairwise(found) if a is not None), "no view twice in a row"


def test_moving_scenes_are_tars_of_seventeen_frames(made: Path):
    (path,) = sorted(made.glob("moving*.tar"))
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    keys = sorted({name.partition(".")[0] for name in members})
    assert len(keys) == 5
    for key in keys:
        frames = [members[f"{key}.jpg"], *(members[f"{key}.frame{n:02d}.jpg"] for n in range(1, 17))]
        pixels = [np.asarray(Image.open(io.BytesIO(frame)), int) for frame in frames]
        assert max(np.abs(a - b).max() for a, b in pairwise(pixels)) > 50, "nothing moves"
        facts = json.loads(members[f"{key}.json"])
        assert facts["questions"][0]["kind"] == "temporal" and members[f"{key}.txt"].decode().endswith(".")


def test_more_moving_scenes_than_a_block_make_more_tars(tmp_path: Path):
    (source,) = corpus.synthesize(tmp_path, 12, 0, parameters(block=4, moving=6))
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["moving00000.tar", "moving00001.tar"]
    assert source.members == ("list.parquet", "moving*.tar")


def test_every_photograph_is_there_and_differs_from_view_to_view():
    for name, photograph in photographs.PHOTOGRAPHS.items():
        views = [photographs.view(name, number) for number in range(len(photograph.views))]
        assert all(max(view.size) <= 256 and min(view.size) >= 48 for view in views), name
        assert len({view.tobytes() for view in views}) == len(views)
        (question,) = photographs.questions(np.random.default_rng(0), name, 0)
        assert question["answer"] == photograph.subject and len(set(question["choices"])) == 4


def test_faces_follow_the_view():
    (whole,), (near,) = photographs.faces("astronaut", 0), photographs.faces("astronaut", 1)
    assert whole == pytest.approx([0.34, 0.1, 0.53, 0.37])
    assert near == pytest.approx([0.225, 0.25, 0.7, 0.925])
    assert photographs.faces("astronaut", 2) == [] and photographs.faces("coffee", 0) == []


def test_texts_hold_every_word_of_a_corpus(made: Path):
    known = {word for text in texts.texts() for word in text.split()}
    rows = pq.read_table(made / "list.parquet").to_pylist()
    said = [row["text"] for row in rows] + [q["question"] for row in rows for q in json.loads(row["questions"])]
    assert texts.texts() == texts.texts()
    assert {word for text in said for word in text.split()} <= known
    assert len(known) < 260, "a vocabulary that can be learnt from a hundred pictures"


def test_a_photograph_that_is_not_shipped_is_named(monkeypatch: pytest.MonkeyPatch):
    missing = {"dodo": photographs.Photograph("dodo.png", "a dodo", photographs.PHOTOGRAPHS["coffee"].views)}
    monkeypatch.setattr(photographs, "PHOTOGRAPHS", missing)
    with pytest.raises(ValueError, match=r"scikit-image .* ships no dodo\.png"):
        photographs.whole("dodo")
