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


def foreign(path: Path, members: list[tuple[str, bytes]], **how) -> Path:
    """A tar by tarfile, without index."""
    with tarfile.open(path, "w", **how) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def copied(shared_data: Path, name: str, folder: Path) -> Path:
    """A real tar of webdataset's tests in a folder that may be written."""
    path = folder / name
    path.write_bytes((shared_data / "captions/webdataset__webdataset/testdata" / name).read_bytes())
    return path


def test_webdatasets_own_tar_reads_the_same(shared_data: Path, tmp_path: Path) -> None:
    path = copied(shared_data, "mpdata.tar", tmp_path)
    assert by_us(path) == by_webdataset(path) and len(TarReader(path)) == 100


def test_members_compressed_inside_are_there_and_named(shared_data: Path, tmp_path: Path) -> None:
    reader = TarReader(copied(shared_data, "compressed.tar", tmp_path))
    assert reader.keys[0] == "compressed/0001" and reader.endings(0) == ["txt.gz"]
    with pytest.raises(TarError, match=r"no 'txt', only txt\.gz; unpack 'txt\.gz'"):
        reader.read(0, "txt")


def test_a_compressed_tar_is_refused_by_name(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TarError, match=r"sample\.tgz is compressed \(gzip\).*unpack"):
        len(TarReader(copied(shared_data, "sample.tgz", tmp_path)))


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_layout_are_read_as_webdataset_does(tmp_path: Path, layout: int) -> None:
    long = "folder/" * 13 + "ä" * 40 if layout != tarfile.USTAR_FORMAT else "folder/" * 13 + "a"
    members = [("b/1.JPG", b"x"), ("b/1.cls", b"7"), (f"{long}.txt", b"long"), ("README", b"no sample")]
    path = foreign(tmp_path / "0.tar", members, format=layout)
    assert by_us(path) == by_webdataset(path)


def test_members_of_a_key_may_stand_apart(tmp_path: Path) -> None:
    path = foreign(tmp_path / "0.tar", [("1.jpg", b"a"), ("2.jpg", b"b"), ("1.txt", b"c")])
    assert by_us(path) == {"1": {"jpg": b"a", "txt": b"c"}, "2": {"jpg": b"b"}}


@pytest.mark.parametrize(
    ("kind", "named"),
    [(tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a link"), (tarfile.FIFOTYPE, "no plain"), (b"S", "sparse")],
)
def test_what_has_no_content_is_refused_by_name(tmp_path: Path, kind: bytes, named: str) -> None:
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("1.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(TarError, match=rf"'1\.jpg' in .*0\.tar is {named}.*dereference"):
        len(TarReader(tmp_path / "0.tar"))


def test_a_tar_cut_anywhere_is_named(tmp_path: Path) -> None:
    whole = foreign(tmp_path / "whole.tar", MEMBERS).read_bytes()
    end = tars.index_of(tmp_path / "whole.tar").samples["00000001"]["frame01.jpg"]
    last = sum(end) + -sum(end) % 512
    for length in {0, 1, 511, 512, 513, 1024, 1100, 1536, *range(2048, last + 512, 997), last, last + 511}:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(TarError, match=r"cut\.tar is cut or damaged"):
            len(TarReader(tmp_path / "cut.tar"))


@given(st.data())
def test_a_damaged_tar_is_read_or_named(tmp_path_factory, data) -> None:
    path = foreign(tmp_path_factory.mktemp("tar") / "0.tar", MEMBERS)
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 2600), min_size=1, max_size=20)):
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        by_us(path)
    except TarError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, b"\x89PNG\r\n\x1a\n" * 200])
def test_what_is_no_tar_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(TarError, match=r"0\.tar"):
        len(TarReader(tmp_path / "0.tar"))


def test_a_missing_tar_is_named(tmp_path: Path) -> None:
    with pytest.raises(TarError, match=r"absent\.tar cannot be read"):
        len(TarReader(tmp_path / "absent.tar"))


def test_an_index_is_left_beside_a_foreign_tar_and_used(tmp_path: Path, monkeypatch) -> None:
    path = foreign(tmp_path / "0.tar", MEMBERS)
    first = by_us(path)
    monkeypatch.setattr(tarfile, "open", None)  # the headers are not walked a second time
    assert by_us(path) == first


def test_an_index_of_another_tar_is_noticed_and_made_anew(tmp_path: Path) -> None:
    path = foreign(tmp_path / "0.tar", MEMBERS)
    by_us(path)
    other = [("00000007.jpg", b"other"), *MEMBERS[1:]]  # of the same size: both are padded to 10,240 bytes
    size = path.stat().st_size
    foreign(path, other)
    assert path.stat().st_size == size and by_us(path)["00000007"] == {"jpg": b"other"}


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 5}', '{"format": 1, "headers": 3, "samples": [{"key": 4}]}'])
def test_an_unusable_index_costs_a_walk_and_no_file_of_others(tmp_path: Path, text: str) -> None:
    path = foreign(tmp_path / "0.tar", MEMBERS)
    path.with_suffix(".json").write_text(text)
    assert by_us(path)["00000000"]["jpg"] == MEMBERS[0][1]
    assert path.with_suffix(".json").read_text() == text or "samples" in text


def test_a_tar_written_anew_is_never_read_by_old_offsets(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    tars.write(path, MEMBERS)
    old = TarReader(path)
    before = old.read(1, "jpg")
    tars.write(path, [("0.txt", b"first"), *MEMBERS])
    assert by_us(path)["0"] == {"txt": b"first"}
    assert old.read(1, "jpg") == before  # of the file that was opened then
    tars._OPEN.clear()
    with pytest.raises(TarError, match="written anew"):
        old.read(1, "jpg")


def test_a_tar_cut_after_its_index_was_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    tars.write(path, MEMBERS)
    reader = TarReader(path)
    reader.read(0, "txt")
    os.truncate(path, 3000)
    with pytest.raises(TarError, match="cut or damaged"):
        reader.read(1, "frame01.jpg")


def test_json_that_is_none_is_named(tmp_path: Path) -> None:
    tars.write(tmp_path / "0.tar", [("1.json", b'{"a": [1]}'), ("2.json", b"\xff{")])
    reader = TarReader(tmp_path / "0.tar")
    assert reader.json(0) == {"a": [1]}
    with pytest.raises(TarError, match=r"2\.json in .* is no JSON"):
        reader.json(1)


def _read_in_child(reader: TarSet, index: int) -> bytes:
    return reader.read(index, "txt")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_loader_processes_read_at_random(tmp_path: Path, start: str) -> None:
    for number in range(3):
        tars.write(tmp_path / f"{number}.tar", [(f"{i}.txt", f"{number}/{i}".encode()) for i in range(20)])
    several = TarSet(sorted(tmp_path.glob("*.tar")))
    assert len(several) == 60 and len(pickle.dumps(several)) < 2000
    expected = [f"{index // 20}/{index % 20}".encode() for index in range(60)]
    order = [(index * 37) % 60 for index in range(60)]
    assert [several.read(index, "txt") for index in order] == [expected[index] for index in order]
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.starmap(_read_in_child, [(several, index) for index in order]) == [expected[i] for i in order]
    for index in (-1, 60):
        with pytest.raises(IndexError, match=f"sample {index} of 60"):
            several.read(index, "txt")


def test_threads_share_more_tars_than_stay_open(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tars, "MOST_OPEN", 2)
    for number in range(6):
        tars.write(tmp_path / f"{number}.tar", [(f"{i}.txt", f"{number}/{i}".encode() * 2000) for i in range(10)])
    several = TarSet(sorted(tmp_path.glob("*.tar")))
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: several.read(i * 7 % 60, "txt"), range(600)))
    assert found == [f"{i * 7 % 60 // 10}/{i * 7 % 10}".encode() * 2000 for i in range(600)]
    assert len(os.listdir("/proc/self/fd")) <= before + 3
