"""Lists as people publish them: every format, every name of a column, and what is broken is counted or named."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import formats, lists

SAMPLE = "captions/rom1504__img2dataset/tests/test_files/test_1000.parquet"
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=20)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def all_rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row for batch in lists.rows(path, **options) for row in batch.to_pylist()]


def test_a_thousand_real_rows_have_their_addresses_and_texts(shared_data: Path) -> None:
    path = shared_data / SAMPLE
    rows, table = all_rows(path), pq.read_table(path)
    assert [row["url"] for row in rows] == table["URL"].to_pylist() and len(rows) == 1000
    assert [row["text"] for row in rows] == table["TEXT"].to_pylist()


def test_names_that_real_lists_have_are_known(shared_data: Path) -> None:
    real = shared_data / "captions"
    [row] = all_rows(real / "rom1504__img2dataset/tests/blur_test_files/test_bbox.parquet")
    assert row["text"] == "Lorem Ipsum" and len(row["face_bboxes"][0]) == 4
    hashed = all_rows(real / "rom1504__img2dataset/tests/test_files/sample_image.parquet")
    assert all(len(row["sha256"]) == 64 for row in hashed)
    [first, *_] = all_rows(real / "cambridgeltl__visual-spatial-reasoning/data/splits/zeroshot/dev.jsonl")
    assert first["url"].startswith("http://images.cocodataset.org/") and first["text"] == "The dog is on the surfboard."


@pytest.mark.parametrize("name", ["lil-lab__nlvr", "cambridgeltl__visual-spatial-reasoning"])
def test_statements_that_may_be_false_are_no_list(shared_data: Path, name: str) -> None:
    assert list((shared_data / "captions" / name).rglob("*.jsonl"))
    assert lists.find([shared_data / "captions" / name]) == []


@settings(max_examples=40)
@given(texts=st.lists(TEXT, min_size=1, max_size=8))
def test_a_text_comes_back_as_it_was_from_every_format(texts: list[str]) -> None:
    urls = [f"https://a.example/{number}.jpg" for number in range(len(texts))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([("url", "caption"), *zip(urls, texts, strict=True)])
    lines = "".join(json.dumps({"url": url, "caption": text}) + "\n" for url, text in zip(urls, texts, strict=True))
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = [written(folder, "a.csv", out.getvalue().encode()), written(folder, "a.jsonl", lines.encode())]
        pq.write_table(pa.table({"URL": urls, "TEXT": texts}), folder / "a.parquet")
        for path in [*files, folder / "a.parquet"]:
            assert [(row["url"], row["text"]) for row in all_rows(path)] == list(zip(urls, texts, strict=True)), path


def test_numbers_are_numbers_and_objects_are_text_whatever_the_format(tmp_path: Path) -> None:
    row = {"url": "http://a.example/1.jpg", "caption": "one", "width": 640, "questions": [{"question": "where?"}]}
    row["bboxes"] = [[0, 0.25, 1, 0.5]]
    [found] = all_rows(written(tmp_path, "a.jsonl", json.dumps(row).encode()))
    assert found["original_width"] == 640.0 and json.loads(found["questions"]) == row["questions"]
    assert found["face_bboxes"] == row["bboxes"]
    [found] = all_rows(written(tmp_path, "a.csv", b"url,caption,WIDTH\nhttp://a.example/1.jpg,one,640\n"))
    assert found["original_width"] == 640.0


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'http://a.example/1.jpg\ta "lone quote\n', 'a "lone quote'),  # CC12M
        (b"a cat\thttp://a.example/1.jpg\n", "a cat"),  # CC3M
    ],
)
def test_conceptual_captions_come_without_a_header(tmp_path: Path, line: bytes, text: str) -> None:
    rows = all_rows(written(tmp_path, "cc.tsv", 2 * line))
    assert rows == 2 * [{"url": "http://a.example/1.jpg", "text": text}] or rows == 2 * [
        {"text": text, "url": "http://a.example/1.jpg"}
    ]


BROKEN = {
    "a.csv": (
        b"url,caption,width\nhttp://a/1,good,5\nhttp://a/2,bad \xff,6\nhttp://a/3,a,b,c\nhttp://a/4\nhttp://a/5,good,wide\n",
        {formats.NOT_UTF8: 1, formats.RAGGED: 2, lists.NO_NUMBER: 1},
        ["http://a/1", "http://a/2", "http://a/5"],
    ),
    "boxes.jsonl": (
        b'{"url": "http://a/1", "text": "a", "bboxes": [["left", 0, 1, 1]]}\n'
        b'{"url": "http://a/2", "text": "b", "bboxes": null}\n{"url": "http://a/3", "text": "c", "bboxes": [1, 2]}\n',
        {lists.NO_BOXES: 2},
        ["http://a/1", "http://a/2", "http://a/3"],
    ),
    "quote.csv": (
        b'url,caption\nhttp://a/1,good\nhttp://a/2,"never closed\nhttp://a/3,lost\n',
        {formats.UNCLOSED: 1},
        ["http://a/1"],
    ),
    "a.jsonl": (
        b'{"url": "http://a/1", "text": "good"}\n\n[1]\n'
        b'{"url": "http://a/2", "text": "\xff"}\n{"url": "http://a/3", "te',
        {formats.HALF: 2, formats.NOT_UTF8: 1},
        ["http://a/1", "http://a/2"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_lines_are_counted_and_the_others_kept(tmp_path: Path, name: str) -> None:
    content, kinds, urls = BROKEN[name]
    broken = Counter[str]()
    assert [row["url"] for row in all_rows(written(tmp_path, name, content), broken=broken)] == urls
    assert broken == kinds


@pytest.mark.parametrize("name", BROKEN)
def test_who_counts_nothing_is_told_of_the_first(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match=name.replace(".", r"\.")):
        all_rows(written(tmp_path, name, BROKEN[name][0]))


def test_parquet_whose_text_is_no_utf8_keeps_the_row(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"bad \xff"]).cast(pa.binary())
    pq.write_table(pa.table({"url": ["http://a/1", "http://a/2"], "text": bad}), tmp_path / "a.parquet")
    broken = Counter[str]()
    rows = all_rows(tmp_path / "a.parquet", broken=broken)
    assert [row["text"] for row in rows] == ["good", "bad \ufffd"] and broken == {formats.NOT_UTF8: 1}


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
def test_a_cut_parquet_is_named(tmp_path: Path, kept: float) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"url": [f"http://a/{n}" for n in range(500)], "text": ["t"] * 500}), whole)
    content = whole.read_bytes()
    with pytest.raises(StudyError, match=r"cut\.parquet.*fetch it again"):
        all_rows(written(tmp_path, "cut.parquet", content[: int(kept * len(content))]))


def test_a_damaged_parquet_says_after_which_row(tmp_path: Path) -> None:
    rows = 4000
    table = pa.table({"url": [f"http://a/{n * 7919 % 9973}" for n in range(rows)], "text": ["t"] * rows})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=1000, write_page_checksum=True, compression="gzip")
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start + 100 : start + 400] = bytes(300)
    with pytest.raises(StudyError, match="damaged after row"):
        all_rows(written(tmp_path, "b.parquet", bytes(content)))


def test_a_list_without_address_or_text_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no column of addresses among where, text.*call it one of url"):
        all_rows(written(tmp_path, "a.csv", b"where,text\nx,y\n"))
    with pytest.raises(StudyError, match=r"no column of texts among link, what.*caption"):
        all_rows(written(tmp_path, "b.tsv", b"link\twhat\nx\ty\n"))


def test_only_the_columns_asked_for_are_read_and_never_more_than_a_piece(tmp_path: Path) -> None:
    rows = 2 * formats.PIECE + 5
    table = pa.table({"url": ["http://a/1"] * rows, "text": ["t"] * rows, "width": [1] * rows, "other": [2] * rows})
    pq.write_table(table, tmp_path / "a.parquet")
    batches = list(lists.rows(tmp_path / "a.parquet", ["url", "original_width", "clip_l14_similarity_score"]))
    assert {tuple(batch.schema.names) for batch in batches} == {("url", "original_width")}
    assert sum(batch.num_rows for batch in batches) == rows
    assert max(batch.num_rows for batch in batches) <= formats.PIECE


def test_lists_are_found_in_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b.csv", "sub/a.csv", "a.csv", "picture.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"url,text\n")
    assert [path.relative_to(tmp_path).as_posix() for path in lists.find([tmp_path])] == ["a.csv", "b.csv", "sub/a.csv"]
    assert all_rows(tmp_path / "a.csv") == []
