import io
import stat
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.registry.store import RegistryError
from stepladder.registry.unpack import unpack, unpacked_path

FILES = {"readme.txt": b"hello", "deep/er/data.bin": bytes(3000), "empty": b""}


def tar(path, members, mode="w:gz"):
    """A tar of names -> bytes, or ready-made TarInfo objects."""
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path, members):
    """A zip of names (or ZipInfo objects) -> bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def special(name, kind, target=""):
    """A tar member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def below(folder):
    """Files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [tar, zipped])
@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,3}(/[d-f]{4,6})?\.x", fullmatch=True), st.binary(max_size=300), max_size=5)
)
@settings(max_examples=15)
def test_whatever_was_packed_comes_out_equal(tmp_path_factory, make, members):
    folder = tmp_path_factory.mktemp("archive")
    rows = unpack(make(folder / "a.bin", members), folder / "out", "a")
    assert below(folder / "out") == members
    assert {row["path"]: row["bytes"] for row in rows} == {path: len(data) for path, data in members.items()}


@pytest.mark.drill
@pytest.mark.parametrize(
    ("make", "member", "why"),
    [
        (tar, "../evil", "leaves the folder"),
        (tar, "a/../../evil", "leaves the folder"),
        (tar, "/tmp/evil", "absolute path"),
        (tar, special("link", tarfile.SYMTYPE, "/etc"), "a link"),
        (tar, special("link", tarfile.SYMTYPE, "readme.txt"), "a link"),
        (tar, special("link", tarfile.LNKTYPE, "../../evil"), "a link"),
        (tar, special("pipe", tarfile.FIFOTYPE), "no plain file"),
        (tar, special("disk", tarfile.BLKTYPE), "no plain file"),
        (tar, "./readme.txt/../../evil", "leaves the folder"),
        (zipped, "../evil", "leaves the folder"),
        (zipped, "/tmp/evil", "absolute path"),
        (zipped, "..\\evil", "unusable name"),
        (zipped, "C:evil", "absolute path"),
        (zipped, zip_link("link"), "a link"),
    ],
)
def test_an_evil_member_refuses_the_archive_before_anything_is_written(tmp_path, make, member, why):
    archive = make(tmp_path / "archive", {**FILES, member: b"evil"})
    with pytest.raises(RegistryError, match=rf"shown: refused .*{why}"):
        unpack(archive, tmp_path / "deep" / "out", "shown")
    assert below(tmp_path).keys() == {"archive"}


def test_a_name_that_stands_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("same"))
    with pytest.raises(RegistryError, match="stands twice"):
        unpack(tmp_path / "a.tar", tmp_path / "out", "a.tar")


@pytest.mark.drill
@pytest.mark.parametrize("make", [tar, zipped])
def test_a_cut_or_damaged_archive_is_named_and_leaves_nothing(tmp_path, make):
    noise = bytes(number * 131 % 251 for number in range(5000))
    whole = make(tmp_path / "archive", {"data.bin": noise, **FILES}).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2 - 40] ^= 0xFF
    for broken in (whole[: len(whole) * 2 // 3], bytes(damaged), b"no archive at all"):
        (tmp_path / "archive").write_bytes(broken)
        with pytest.raises(RegistryError, match="shown: "):
            unpack(tmp_path / "archive", tmp_path / "out", "shown")
        assert below(tmp_path).keys() == {"archive"}


@pytest.mark.parametrize(
    ("path", "folder"), [("a/b.tar.gz", "a/b"), ("b.zip", "b"), ("b.v2.tgz", "b.v2"), ("b.h5", "")]
)
def test_an_archive_becomes_a_folder_of_its_name(path, folder):
    assert unpacked_path(path) == folder
