"""Tars: what is written is read back by tarfile and webdataset, and at random; what cannot be read is named."""

import io
import json
import multiprocessing
import os
import pickle
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.images import tars
from stepladder.data.images.tars import TarError, TarReader, TarSet

NAMES = ["00000000.jpg", "00000000.txt", "00000000.json", "00000001.jpg", "00000001.frame01.jpg"]
MEMBERS = [(name, f"{name} {number}".encode() * (number * 300)) for number, name in enumerate(NAMES)]
key = st.text(st.characters(exclude_characters="./\0\n", codec="utf-8"), min_size=1, max_size=120).filter(
    lambda text: not text.startswith("__")
)
contents = st.dictionaries(st.tuples(key, st.sampled_from(["jpg", "txt", "frame01.jpg"])), st.binary(max_size=1500))


def by_webdataset(path: Path) -> dict[str, dict[str, bytes]]:
    """What webdataset makes of a tar: key -> ending -> bytes."""
    import webdataset

    samples = webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
    return {
        sample["__key__"]: {name: value for name, value in sample.items() if not name.startswith("__")}
        for sample in samples
    }


def by_us(path: Path) -> dict[str, dict[str, bytes]]:
    """What our reader makes of it."""
    reader = TarReader(path)
    return {
        key: {ending: reader.read(index, ending) for ending in reader.endings(index)}
        for index, key in enumerate(reader.keys)
    }


@given(contents)
def test_anything_written_is_read_back_by_us_webdataset_and_tarfile(tmp_path_factory, contents) -> None:
    path = tmp_path_factory.mktemp("tar") / "0.tar"
    members = [(f"{key}.{ending}", content) for (key, ending), content in sorted(contents.items())]
    tars.write(path, members)
    expected: dict[str, dict[str, bytes]] = {}
    for (key, ending), content in sorted(contents.items()):
        expected.setdefault(key, {})[ending] = content
    assert by_us(path) == by_webdataset(path) == expected
    with tarfile.open(path) as tar:
        assert [(member.name, tar.extractfile(member).read()) for member in tar] == members


def test_the_same_members_make_the_same_bytes_and_ustar_headers(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        tars.write(tmp_path / name, MEMBERS, {"ok": 2})
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {(member.mtime, member.uid, member.uname, member.type) for member in tar} == {(0, 0, "", b"0")}


def test_system_tar_reads_what_is_written(tmp_path: Path) -> None:
    tars.write(tmp_path / "0.tar", [*MEMBERS, ("Ä" * 90 + "/b.txt", b"long name")])
    listed = subprocess.run(
        ["tar", "tf", "0.tar"], cwd=tmp_path, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert len(listed.stdout.splitlines()) == len(MEMBERS) + 1 and not listed.stderr


def test_the_index_says_where_everything_lies(tmp_path: Path) -> None:
    index = tars.write(tmp_path / "0.tar", MEMBERS, {"ok": 2, "gone": 1})
    stored = json.loads((tmp_path / "0.json").read_text())
    assert stored["counts"] == {"ok": 2, "gone": 1} and stored["format"] == 1
    raw = (tmp_path / "0.tar").read_bytes()
    for sample in stored["samples"]:
        for ending, (offset, size) in sample["members"].items():
            assert raw[offset : offset + size] == dict(MEMBERS)[f"{sample['key']}.{ending}"]
    assert tars.index_of(tmp_path / "0.tar").samples == index.samples
    assert TarReader(tmp_path / "0.tar").counts == {"ok": 2, "gone": 1}


@pytest.mark.parametrize(
    "name", ["plain", "/abs.jpg", "../up.jpg", ".jpg", "__meta__/a.jpg", "a\0.jpg", "\udc80.jpg", "a.b/c"]
)
def test_a_name_that_webdataset_would_not_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TarError, match="name"):
        tars.write(tmp_path / "0.tar", [(name, b"")])
    assert list(tmp_path.iterdir()) == []


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TarError, match=r"a\.JPG.*twice"):
        tars.write(tmp_path / "0.tar", [("a.jpg", b""), ("a.JPG", b"")])
