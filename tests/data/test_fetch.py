"""Fetching: what is wanted arrives whole and unmixed, whatever the server does and whenever the process dies."""

import gzip
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
import zipfile
from email.utils import formatdate
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import Source
from stepladder.data.fetch import (
    BadMember,
    FetchError,
    IncompleteFetch,
    Member,
    Patience,
    Unreachable,
    fetch,
    inspect,
    plan,
    transfer,
)
from stepladder.data.fetch.cache import Shelf
from stepladder.data.fetch.remote import open_bytes, read_json
from stepladder.data.fetch.remotezip import matcher, read_directory
from stepladder.testing.server import (
    Change,
    Cut,
    Drip,
    FaultyServer,
    Header,
    NoRange,
    Stall,
    Status,
    WrongBytes,
    WrongLength,
    WrongRange,
)

BRISK = Patience(connect_s=2, read_s=0.5, tries=4, first_s=0.01, longest_s=0.05)


def content(name: str, size: int) -> bytes:
    """Bytes that deflate to about half their size."""
    noise = random.Random(name).randbytes(size // 2)
    return noise + bytes(size - len(noise))


FILES = {
    **{f"city/udx/bldg/{i}_bldg.gml": content(f"b{i}", 60_000 + 1000 * i) for i in range(6)},
    **{f"city/udx/dem/{i}_dem.gml": content(f"d{i}", 900_000) for i in range(2)},
    **{f"city/udx/tran/{i}_tran.gml": content(f"t{i}", 30_000) for i in range(4)},
    "city/README.md": b"about the city\n",
}
BLDG = {name: data for name, data in FILES.items() if "/bldg/" in name}


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return path


def zip_bytes(path: Path, members: dict[str, bytes]) -> bytes:
    return write_zip(path / "other.zip", members).read_bytes()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    write_zip(folder / "city.zip", FILES)
    with FaultyServer(folder) as server:
        yield server


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "raw"


def source(server: FaultyServer, *members: str, path: str = "city.zip") -> Source:
    return Source(server.url(path), "12345", members or ("*/bldg/*",))


def files_in(root: Path) -> dict[str, bytes]:
    """All files below `root` but the fetcher's own records."""
    found = (path for path in root.rglob("*") if path.is_file() and ".fetch" not in path.relative_to(root).parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


# What is moved -------------------------------------------------------------------------------------------------------


def test_inspect_lists_the_archive_from_its_end(server):
    with zipfile.ZipFile(server.folder / "city.zip") as archive:
        expected = {(i.filename, i.compress_size, i.file_size, i.CRC, i.header_offset) for i in archive.infolist()}
    assert {(m.path, m.compressed, m.size, m.crc, m.offset) for m in inspect(server.url("city.zip"))} == expected
    assert server.requests() == 2
    assert server.bytes_sent() < 5000


def test_only_the_wanted_members_move(server, raw):
    planned = plan(source(server), raw, BRISK)
    report = fetch(planned)
    assert files_in(report.root) == BLDG
    assert report.root == raw / "12345"
    wanted = sum(member.compressed for member in planned.wanted)
    assert planned.bytes_to_move == wanted
    assert report.bytes_moved == server.bytes_sent()
    assert report.requests == server.requests()
    assert report.retries == 0
    assert wanted < report.bytes_moved <= 1.05 * wanted + planned.directory_bytes + 4096
    assert {(row["path"], row["state"]) for row in report.members} == {(name, "fetched") for name in BLDG}


def test_neighbours_come_in_one_request(server, raw):
    before = plan(source(server), raw, BRISK)
    requests = server.requests()
    fetch(before)
    assert server.requests() == requests + 1


def test_a_distant_member_gets_its_own_request(server, raw):
    report = fetch(plan(source(server, "*/0_bldg.gml", "*/3_tran.gml"), raw, BRISK))
    assert len(files_in(report.root)) == 2
    assert server.bytes_sent() < 0.2 * (server.folder / "city.zip").stat().st_size


def test_a_second_fetch_moves_nothing(server, raw):
    fetch(plan(source(server), raw, BRISK))
    server.clear()
    again = plan(source(server), raw, BRISK)
    assert again.missing == ()
    report = fetch(again)
    assert [served.status for served in server.served()] == [304]
    assert report.bytes_moved == 0
    assert {row["state"] for row in report.members} == {"there"}


def test_more_patterns_fetch_only_what_is_new(server, raw):
    fetch(plan(source(server), raw, BRISK))
    server.clear()
    report = fetch(plan(source(server, "*/bldg/*", "*/tran/*"), raw, BRISK))
    states = {row["path"]: row["state"] for row in report.members}
    assert {name for name, state in states.items() if state == "there"} == set(BLDG)
    assert server.bytes_sent() < 80_000


def test_a_damaged_or_deleted_file_is_fetched_again(server, raw):
    root = fetch(plan(source(server), raw, BRISK)).root
    (root / "city/udx/bldg/0_bldg.gml").unlink()
    (root / "city/udx/bldg/1_bldg.gml").write_bytes(b"short")
    planned = plan(source(server), raw, BRISK)
    assert [member.path[-10:] for member in planned.missing] == ["0_bldg.gml", "1_bldg.gml"]
    fetch(planned)
    assert files_in(root) == BLDG


def test_losing_the_records_costs_no_transfer(server, raw):
    root = fetch(plan(source(server), raw, BRISK)).root
    shutil.rmtree(root / ".fetch")
    assert plan(source(server), raw, BRISK).missing == ()


def test_stored_and_gzipped_members_and_a_comment(server, raw):
    members = {"a.gml.gz": gzip.compress(b"<x/>" * 1000), "empty.txt": b"", "plain.txt": b"text"}
    write_zip(server.folder / "stored.zip", members, zipfile.ZIP_STORED, comment=b"x" * 60_000)
    assert files_in(fetch(plan(source(server, "*", path="stored.zip"), raw, BRISK)).root) == members


def test_zip64_and_a_prefixed_archive(server, raw):
    path = server.folder / "big.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in BLDG.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    path.write_bytes(b"#!self-extracting\n" * 100 + path.read_bytes())
    assert files_in(fetch(plan(source(server, "*", path="big.zip"), raw, BRISK)).root) == BLDG


@pytest.mark.slow
def test_a_zip64_directory_of_70000_members(tmp_path):
    names = [f"f/{i}" for i in range(70_000)]
    path = write_zip(tmp_path / "many.zip", dict.fromkeys(names, b""))
    assert len(inspect(str(path))) == 70_000


def test_long_local_headers_cost_a_second_request_only(server, raw):
    path = server.folder / "padded.zip"
    data = content("x", 50_000)
    with zipfile.ZipFile(
        path, "w"
    ) as archive:  # zipfile writes the extra field to both headers; drop it from one below
        info = zipfile.ZipInfo("a.bin")
        info.extra = b"\xca\xfe" + (996).to_bytes(2, "little") + bytes(996)
        archive.writestr(info, data)
        archive.filelist[0].extra = b""
        archive.writestr("b.bin", data)
    assert set(files_in(fetch(plan(source(server, "a.bin", path="padded.zip"), raw, BRISK)).root)) == {"a.bin"}


@pytest.mark.parametrize("as_url", [False, True])
def test_a_local_zip_is_unpacked(server, raw, as_url):
    path = server.folder / "city.zip"
    local = Source(path.as_uri() if as_url else str(path), "12345", ("*/bldg/*",))
    report = fetch(plan(local, raw))
    assert files_in(report.root) == BLDG
    assert report.requests == 0
    assert plan(local, raw).missing == ()


@pytest.mark.parametrize("as_url", [False, True])
def test_a_local_folder_is_used_where_it_lies(tmp_path, raw, as_url):
    folder = tmp_path / "the mirror"
    (folder / "udx").mkdir(parents=True)
    (folder / "udx" / "a.gml").write_text("<a/>")
    planned = plan(Source(folder.as_uri() if as_url else str(folder), "x", ("*.gml",)), raw)
    assert planned.bytes_to_move == 0
    report = fetch(planned)
    assert report.root == folder
    assert [row["path"] for row in report.members] == ["udx/a.gml"]
    assert not raw.exists()


def test_progress_ends_at_everything(server, raw):
    seen = []
    fetch(plan(source(server), raw, BRISK), on_progress=lambda done, total, name: seen.append((done, total, name)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {name for _, _, name in seen} == set(BLDG)


def test_a_plan_tells_time_and_space(server, raw):
    planned = plan(source(server), raw, BRISK)
    assert planned.hours(planned.bytes_to_move / 7200) == pytest.approx(2)
    assert planned.summary()["files"] == len(BLDG)
    assert planned.fits


# What the server does ------------------------------------------------------------------------------------------------

TROUBLE = {
    "cut": [Cut(5_000, skip=2, times=3)],
    "cut before the first byte": [Cut(0, times=3)],
    "stall": [Stall(after=20_000, seconds=1.5, skip=2)],
    "drip": [Drip(block=16, seconds=0.05, skip=2)],
    "length too long": [WrongLength(1000, skip=2)],
    "length too short": [WrongLength(-1000, skip=2)],
    "range not asked for": [WrongRange(7, skip=2)],
    "wrong bytes once": [WrongBytes(30_000, skip=2)],
    "busy": [Status(429, retry_after="1", times=2)],
    "busy until": [Status(503, retry_after=formatdate(time.time() + 1, usegmt=True), skip=2)],
    "server errors": [Status(500, times=2, skip=1), Status(502, skip=3), Status(504, skip=4)],
}


@pytest.mark.parametrize("faults", TROUBLE.values(), ids=TROUBLE.keys())
def test_trouble_passes(server, raw, faults):
    server.add(*faults)
    report = fetch(plan(source(server), raw, BRISK))
    assert files_in(report.root) == BLDG
    assert all(fault.times == 0 for fault in faults), "the fault never happened"


def test_a_cut_resumes_at_the_byte_it_reached(server, raw):
    planned = plan(source(server), raw, BRISK)
    server.clear()
    server.add(Cut(100_000))
    fetch(planned)
    first, second = server.served()
    assert second.start == first.start + 100_000
    assert server.bytes_sent() == first.stop - first.start


def test_retry_after_is_honoured_up_to_the_cap():
    patience = Patience(first_s=1, longest_s=60)
    assert [patience.wait(n, None) for n in (1, 2, 3, 9)] == [1, 2, 4, 60]
    assert patience.wait(1, 20.0) == 20
    assert patience.wait(1, 3600.0) == 60


def test_a_server_that_never_recovers_is_named(server, raw):
    server.add(Status(503, times=99))
    with pytest.raises(Unreachable, match=r"city\.zip: answered 503.*gave up after 5 tries"):
        plan(source(server), raw, BRISK)
    assert server.requests() == 5


def test_giving_up_keeps_what_came(server, raw):
    planned = plan(source(server), raw, BRISK)
    server.add(Cut(50_000), Status(503, times=99, skip=1))
    with pytest.raises(Unreachable):
        fetch(planned)
    server.clear()
    fetch(plan(source(server), raw, BRISK))
    assert files_in(raw / "12345") == BLDG
    assert server.bytes_sent() <= sum(member.stop - member.offset for member in planned.wanted) - 49_000


def test_a_missing_archive_fails_at_once(server, raw):
    with pytest.raises(FetchError, match="404"):
        plan(source(server, path="nothing.zip"), raw, BRISK)
    assert server.requests() == 1


def test_nobody_listens(raw):
    with pytest.raises(Unreachable, match="refused"):
        plan(Source("http://127.0.0.1:9/a.zip", "x"), raw, BRISK)


def test_a_redirect_is_followed_once(server, raw):
    server.redirects["/latest.zip"] = "/city.zip"
    fetch(plan(source(server, path="latest.zip"), raw, BRISK))
    assert server.requests("latest.zip") == 1
    assert files_in(raw / "12345") == BLDG


def test_an_expired_redirect_is_followed_anew(server, raw):
    server.redirects["/latest.zip"] = "/city.zip"
    planned = plan(source(server, path="latest.zip"), raw, BRISK)
    server.add(Status(403, path="city.zip"))
    fetch(planned)
    assert server.requests("latest.zip") == 2
    assert files_in(raw / "12345") == BLDG


CHANGED = {name: content(name + "new", len(data)) for name, data in FILES.items()}


@pytest.mark.parametrize(("etags", "dates"), [("strong", True), ("weak", True), ("none", True), ("weak", False)])
def test_a_change_during_a_fetch_never_mixes(tmp_path, raw, etags, dates):
    path = write_zip(tmp_path / "city.zip", FILES)
    os.utime(path, (1e9, 1e9))  # Last-Modified counts whole seconds
    new = zip_bytes(tmp_path, CHANGED)
    with FaultyServer(tmp_path, etags=etags, dates=dates) as server:
        planned = plan(source(server), raw, BRISK)
        server.add(Cut(100_000), Change(new, skip=1))
        report = fetch(planned)
    assert files_in(report.root) == {name: data for name, data in CHANGED.items() if name in BLDG}
    assert any("changed" in note for note in report.notes)


def test_a_change_without_any_validator_is_caught_by_the_checksum(tmp_path, raw):
    write_zip(tmp_path / "city.zip", FILES)
    new = zip_bytes(
        tmp_path, {name: CHANGED[name] if name == "city/udx/bldg/0_bldg.gml" else FILES[name] for name in FILES}
    )
    with FaultyServer(tmp_path, etags="none", dates=False) as server:
        planned = plan(source(server, "*/0_bldg.gml"), raw, BRISK)
        server.add(Cut(10_000), Change(new, skip=1))
        with pytest.raises((IncompleteFetch, FetchError)):
            fetch(planned)
        assert files_in(raw / "12345") == {}
        fetch(plan(source(server, "*/0_bldg.gml"), raw, BRISK))
    assert files_in(raw / "12345") == {"city/udx/bldg/0_bldg.gml": CHANGED["city/udx/bldg/0_bldg.gml"]}


def test_a_change_between_two_fetches_moves_only_what_differs(server, raw):
    fetch(plan(source(server), raw, BRISK))
    name = "city/udx/bldg/3_bldg.gml"
    write_zip(server.folder / "city.zip", FILES | {name: CHANGED[name]})
    planned = plan(source(server), raw, BRISK)
    assert [member.path for member in planned.missing] == [name]
    fetch(planned)
    assert files_in(raw / "12345") == BLDG | {name: CHANGED[name]}


def test_an_archive_that_always_changes_is_given_up(server, raw):
    planned = plan(source(server), raw, BRISK)
    for i in range(20):
        other = {name: content(f"{name}{i}", len(data) + i) for name, data in BLDG.items()}
        server.add(Change(zip_bytes(server.folder, other), skip=i))
    with pytest.raises(Unreachable, match="again and again"):
        fetch(planned)


@pytest.mark.parametrize("etags", ["strong", "none"])
def test_a_server_without_ranges_gives_the_archive_once(tmp_path, raw, etags):
    write_zip(tmp_path / "city.zip", FILES)
    with FaultyServer(tmp_path, NoRange(times=10**6), etags=etags) as server:
        planned = plan(source(server), raw, BRISK)
        assert planned.whole
        assert "whole archive" in planned.notes[0]
        assert planned.bytes_to_move == (tmp_path / "city.zip").stat().st_size
        server.clear()
        server.add(NoRange(times=10**6), Cut(1000))
        report = fetch(planned)
        assert files_in(report.root) == BLDG
        assert not list((raw / "12345" / ".fetch").rglob("*.zip"))
        server.clear()
        server.add(NoRange(times=10**6))
        again = plan(source(server), raw, BRISK)
        assert not again.whole
        fetch(again)
        more = fetch(plan(source(server, "*/tran/*"), raw, BRISK))
        assert len(files_in(more.root)) == len(BLDG) + 4
    with FaultyServer(tmp_path, NoRange(times=9)) as server, pytest.raises(FetchError, match="honours no Range"):
        inspect(server.url("city.zip"), BRISK)


# What is in the archive ----------------------------------------------------------------------------------------------


def hostile(kind: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo({"up": "a/../../evil", "root": "/etc/evil", "drive": "C:/evil"}.get(kind, "evil"))
    if kind == "link":
        info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("up", "leaves the folder"),
        ("root", "absolute path"),
        ("drive", "absolute path"),
        ("link", "symbolic link"),
        ("twice", "stands twice"),
    ],
)
def test_hostile_members_are_refused_by_name_when_wanted(tmp_path, raw, kind, reason):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("good.txt", b"good")
        archive.writestr(hostile(kind), b"/etc/passwd")
        if kind == "twice":
            archive.writestr(hostile(kind), b"other")
    with pytest.raises(BadMember, match=f"evil.*{reason}"):
        plan(Source(str(path), "x"), raw)
    fetch(plan(Source(str(path), "x", ("good*",)), raw))
    assert files_in(raw) == {"x/good.txt": b"good"}
    assert not (tmp_path / "evil").exists()


def test_a_file_that_is_also_a_folder_is_refused(tmp_path, raw):
    path = write_zip(tmp_path / "a.zip", {"a": b"file", "a/b": b"below"})
    with pytest.raises(BadMember, match=r"'a'.*folder of another"):
        plan(Source(str(path), "x"), raw)


def test_encrypted_and_exotic_members_are_refused_by_name(tmp_path, raw):
    path = write_zip(tmp_path / "a.zip", {"secret.txt": b"x"})
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(BadMember, match=r"secret\.txt.*encrypted"):
        plan(Source(str(path), "x"), raw)
    write_zip(path, {"lzma.txt": b"x" * 100}, zipfile.ZIP_LZMA)
    with pytest.raises(BadMember, match=r"lzma\.txt.*method 14"):
        plan(Source(str(path), "x"), raw)


def test_a_broken_member_is_named_and_the_others_arrive(server, raw):
    path = server.folder / "city.zip"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("city/udx/bldg/2_bldg.gml").header_offset + 5000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(IncompleteFetch, match=r"1 broken.*2_bldg\.gml") as caught:
        fetch(plan(source(server), raw, BRISK))
    assert files_in(raw / "12345") == {name: data for name, data in BLDG.items() if "2_bldg" not in name}
    states = {row["path"]: row["state"] for row in caught.value.report.members}
    assert states["city/udx/bldg/2_bldg.gml"] == "broken"


def test_overlapping_members_are_refused(tmp_path, raw):
    path = write_zip(tmp_path / "bomb.zip", {"a": bytes(1000), "b": bytes(1000)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    first = data.find(b"PK\1\2")
    data[first + 20 : first + 28] = (2000).to_bytes(4, "little") * 2  # a claims to reach into b
    path.write_bytes(data)
    with pytest.raises(IncompleteFetch, match="a: its data overlaps"):
        fetch(plan(Source(str(path), "x"), raw))


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_no_archive_at_all(server, raw, damage):
    path = server.folder / "city.zip"
    path.write_bytes({"cut": path.read_bytes()[:-2000], "text": b"<html>sorry</html>" * 500, "empty": b""}[damage])
    with pytest.raises(FetchError, match=r"zip archive|empty"):
        plan(source(server), raw, BRISK)
    with pytest.raises(FetchError, match=r"zip archive"):
        plan(Source(str(path), "x"), raw)


def test_patterns_that_match_nothing_say_what_is_there(server, raw):
    with pytest.raises(FetchError, match=r"no member matches '\*/veg/\*'.*city/udx/bldg"):
        plan(source(server, "*/veg/*"), raw, BRISK)
    assert plan(source(server, "*/veg/*", "*/bldg/*"), raw, BRISK).notes == ("no member matches '*/veg/*'",)


def test_a_path_that_is_not_there(raw):
    with pytest.raises(FetchError, match="no such file or folder"):
        plan(Source("/nowhere/a.zip", "x"), raw)
    with pytest.raises(FetchError, match="only http"):
        plan(Source("ftp://example.org/a.zip", "x"), raw)
    with pytest.raises(FetchError, match="this is no address"):
        plan(Source("http://[::1/a.zip", "x"), raw)


LETTERS = st.characters(codec="utf-8", exclude_characters="\\/\0:")
NAMES = st.lists(st.text(LETTERS, min_size=1, max_size=8), min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    path=st.text("ab/.[", max_size=6),
    patterns=st.lists(st.text("ab/.*?[]!", min_size=1, max_size=6), min_size=1, max_size=4),
)
def test_patterns_mean_what_fnmatch_says(path, patterns):
    assert matcher(patterns)(path) == any(fnmatchcase(path, pattern) for pattern in patterns)


@settings(max_examples=60, deadline=None)
@given(
    members=st.dictionaries(
        NAMES.map("/".join), st.tuples(st.binary(max_size=300), st.sampled_from([0, 8])), max_size=8
    ),
    comment=st.binary(max_size=400).filter(lambda c: b"PK" not in c),
    prefix=st.binary(max_size=50),
)
def test_the_reader_agrees_with_zipfile(tmp_path_factory, members, comment, prefix):
    members = {name: value for name, value in members.items() if not {"..", "."} & set(name.split("/"))}
    path = tmp_path_factory.mktemp("zip") / "random.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, (data, method) in members.items():
            archive.writestr(name, data, compress_type=method)
        archive.comment = comment
    path.write_bytes(prefix + path.read_bytes())
    source = open_bytes(str(path), BRISK)
    with zipfile.ZipFile(path) as archive:
        expected = [(i.filename, i.compress_size, i.file_size, i.CRC, i.header_offset) for i in archive.infolist()]
    assert [(m.path, m.compressed, m.size, m.crc, m.offset) for m in read_directory(source).members] == expected


# What an archive or a server may not do ------------------------------------------------------------------------------

AWAY = "192.0.2.7"  # TEST-NET-1: belongs to nobody (RFC 5737)


def test_no_test_reaches_beyond_this_machine(server, loopback):
    """The guard itself: an address, a name, a look-up and a datagram are recorded and refused; the loopback is not."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((AWAY, 80), timeout=1)
    with pytest.raises(requests.ConnectionError):
        requests.get("http://name.invalid/", timeout=1)
    with pytest.raises(ConnectionRefusedError):
        socket.gethostbyname("name.invalid")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, pytest.raises(ConnectionRefusedError):
        datagram.sendto(b"x", (AWAY, 53))
    with socket.socket() as plain, pytest.raises(ConnectionRefusedError):
        plain.connect_ex((AWAY, 80))
    assert {line.split()[1] for line in loopback} == {AWAY, "name.invalid"} and len(loopback) == 5
    loopback.clear()
    assert requests.get(server.url("city.zip"), timeout=5).status_code == 200
    assert not loopback


REDIRECTS = {
    "another protocol": ("ftp://127.0.0.1/a.zip", "ftp"),
    "a file": ("file:///etc/passwd", "file"),
    "in circles": ("/moved.zip", "redirects"),
    "no host": ("http://:80/a.zip", "[Hh]ost"),
    "no address": ("http://[::1", ""),
    "no port": ("http://127.0.0.1:99999/a.zip", "Port"),
    "an empty label": ("http://a..b/a.zip", "idna"),
}


@pytest.mark.parametrize(("target", "why"), REDIRECTS.values(), ids=REDIRECTS.keys())
def test_a_redirect_that_cannot_be_followed_is_final_and_said(server, raw, target, why):
    server.redirects["/moved.zip"] = target
    with pytest.raises(FetchError, match=f"moved.zip: the server leads where nothing can be fetched.*{why}") as caught:
        plan(source(server, path="moved.zip"), raw, BRISK)
    assert not isinstance(caught.value, Unreachable)
    assert server.requests("moved.zip") <= 31, "it was tried again"
    with pytest.raises(FetchError, match="leads where nothing can be fetched"):
        read_json(server.url("moved.zip"), BRISK)


def test_a_redirect_beyond_this_machine_asks_there_and_nowhere_else(server, raw, loopback):
    server.redirects["/moved.zip"] = f"http://{AWAY}/a.zip"
    with pytest.raises(Unreachable, match="beyond this machine"):
        plan(source(server, path="moved.zip"), raw, BRISK)
    assert {line.split()[1] for line in loopback} == {AWAY}
    loopback.clear()


@pytest.mark.parametrize("value", ["²", "1²", "-1", "+5", "0x10", "1e3", "5_000", "1 2", "many", "9" * 30])
@pytest.mark.parametrize("name", ["Content-Length", "Content-Range"])
def test_a_header_that_tells_no_number_is_named(server, raw, name, value):
    said = value if name == "Content-Length" else f"bytes 0-0/{value}"
    server.add(Header(name, said, times=99), *([NoRange(times=99)] if name == "Content-Length" else []))
    with pytest.raises(FetchError, match=rf"city\.zip: the server's header {name} is .*which tells no size"):
        plan(source(server), raw, BRISK)
    assert server.requests() == 1


@pytest.mark.parametrize("value", ["²", "soon", "-3", "Thu, 99 Foo 0000 99:99:99 GMT", "9" * 400, "", "1;2"])
def test_a_retry_after_that_tells_no_time_is_as_if_it_were_not_said(server, raw, value):
    server.add(Status(503, retry_after=value, times=2))
    assert fetch(plan(source(server), raw, BRISK)).retries == 2


SIGNATURE = "0a1b2c3d" * 8


def told(error: BaseException) -> str:
    """Everything a traceback would print of an error."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "address",
    [
        "{}?X-Amz-Credential=AK{}&X-Amz-Signature={}",
        "{}?sv=2024&sp=r&AK{}=1&sig={}",
        "//me:AK{}{}@",
    ],
)
@pytest.mark.parametrize("fault", ["missing", "busy", "header", "away", "no archive", "gone", "circle"])
def test_no_error_tells_what_an_address_carries(server, raw, loopback, address, fault):
    key = "IA" + "A1B2" * 4
    place = server.url("city.zip")
    if address.startswith("//"):
        place = place.replace("//", address.format(key, SIGNATURE))
    else:
        place = address.format(place, key, SIGNATURE)
    faults = {
        "missing": [Status(404, times=99)],
        "busy": [Status(503, times=99)],
        "header": [Header("Content-Length", "²", times=99), NoRange(times=99)],
        "gone": [Cut(0, times=99)],
    }
    server.add(*faults.get(fault, []))
    if fault in ("away", "circle"):
        query = place.partition("?")[2]
        server.redirects["/city.zip"] = f"http://me:{SIGNATURE}@{AWAY}/x?{query}" if fault == "away" else place
    if fault == "no archive":
        (server.folder / "city.zip").write_bytes(b"<html>sorry</html>" * 500)
    with pytest.raises(FetchError) as caught:
        plan(Source(place, "x"), raw, BRISK)
    assert SIGNATURE not in told(caught.value) and key not in told(caught.value)
    assert "127.0.0.1" in str(caught.value)
    loopback.clear()


def test_a_plan_s_summary_tells_no_signature(server, raw):
    planned = plan(Source(f"{server.url('city.zip')}?sig={SIGNATURE}", "x"), raw, BRISK)
    assert "city.zip" in planned.summary()["source"] and SIGNATURE not in str(planned.summary())


HOSTILE = {
    ".fetch/directory.json": "records",
    ".fetch/lock": "records",
    ".FETCH/x": "records",
    ".fetch": "records",
    "a/../../evil": "leaves the folder",
    "/etc/evil": "absolute path",
    "C:/evil": "absolute path",
    "c:evil": "absolute path",
    "..\\evil": "leaves the folder",
    "a./evil": "ends in a dot",
    "evil.": "ends in a dot",
    "a /evil": "ends in a dot or a blank",
    "evil\n": "unusable name",
    "e\x1bvil": "unusable name",
    "x" * 300: "name too long",
    "あ" * 100: "name too long",
    "a/" * 1000 + "evil": "lies too deep",
    "long/" + "/".join(["y" * 200] * 12): "name too long",
}


@pytest.mark.parametrize(("name", "reason"), HOSTILE.items())
def test_a_name_that_cannot_or_must_not_be_written_is_refused(tmp_path, raw, name, reason):
    path = write_zip(tmp_path / "a.zip", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(BadMember, match=reason) as caught:
        plan(Source(str(path), "x"), raw)
    assert len(str(caught.value)) < 500
    assert fetch(plan(Source(str(path), "x", ("good*",)), raw)).paths == {raw / "x/good.txt"}
    assert files_in(raw) == {"x/good.txt": b"good"}


def test_a_nul_in_a_name_is_refused(tmp_path, raw):
    path = write_zip(tmp_path / "a.zip", {"evil0txt": b"evil"})
    path.write_bytes(path.read_bytes().replace(b"evil0txt", b"evil\0txt"))
    with pytest.raises(BadMember, match="unusable name"):
        plan(Source(str(path), "x"), raw)


@pytest.mark.parametrize(
    ("one", "two", "reason"),
    [
        ("a/Name.txt", "a/name.TXT", "only in case"),
        ("caf\u00e9", "cafe\u0301", "only in case or accents"),
        ("stra\u00dfe", "STRASSE", "only in case"),
        ("A", "a/b", "also the folder"),
        ("a//b", "a/b", "stands twice"),
        ("./a", "a", "stands twice"),
    ],
)
def test_names_that_are_one_on_some_file_system_are_refused(tmp_path, raw, one, two, reason):
    path = write_zip(tmp_path / "a.zip", {one: b"one", two: b"two"})
    with pytest.raises(BadMember, match=reason):
        plan(Source(str(path), "x"), raw)


def test_a_member_that_does_not_stay_is_reported_and_not_fetched_for_ever(server, raw, monkeypatch):
    has = Shelf.has
    monkeypatch.setattr(Shelf, "has", lambda shelf, member: "2_bldg" not in member.path and has(shelf, member))
    planned = plan(source(server), raw, BRISK)
    with pytest.raises(IncompleteFetch, match=r"2_bldg\.gml: it did not stay"):
        fetch(planned)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(st.sampled_from("aA./\\ :é\n~"), min_size=1, max_size=8),
            st.sampled_from([*HOSTILE, ".fetch/done.jsonl", "x/.fetch/y", "ok/file.txt", "CON"]),
        ),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_names_are_fetched_whole_or_refused_and_nothing_is_written_elsewhere(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any")
    members = {name: name.encode() for name in names if not name.endswith("/")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_zip(folder / "a.zip", members)
    try:
        fetch(plan(Source(str(path), "x"), folder / "raw"))
    except FetchError:
        assert files_in(folder / "raw") == {}
    else:
        own = folder / "raw/x/.fetch"
        found = [path for path in (folder / "raw/x").rglob("*") if path.is_file() and own not in path.parents]
        assert sorted(path.read_bytes() for path in found) == sorted(members.values())
    assert {entry.name for entry in folder.iterdir()} <= {"a.zip", "raw"}


# When the machine gives way ------------------------------------------------------------------------------------------


def test_a_disk_too_small_is_told_before_anything_moves(server, raw, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    planned = plan(source(server), raw, BRISK)
    assert not planned.fits
    assert "disk too full" in planned.notes[-1]
    server.clear()
    with pytest.raises(FetchError, match=r"disk too full: 0\.\d MB to write, 0\.0 MB free"):
        fetch(planned)
    assert server.requests() == 0


CHILD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from stepladder.data.fetch import transfer
from stepladder.data.fetch import fetch, plan
from stepladder.data.fetch import Patience
transfer.SPAN = 100_000  # several requests, as in a large archive
source = SimpleNamespace(url=sys.argv[1], folder="12345", members=("*/bldg/*", "*/dem/*"))
fetch(plan(source, Path(sys.argv[2]), Patience(first_s=0.01)), parallel=int(sys.argv[3]))
"""


def child(server: FaultyServer, raw: Path, parallel: int = 1, **options) -> subprocess.Popen:
    arguments = [sys.executable, "-c", CHILD, server.url("city.zip"), str(raw), str(parallel)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.drill
@pytest.mark.slow
def test_a_write_that_fails_is_a_clear_error_and_resumes(server, raw):
    """A file-size limit stands in for the full disk: the same error from the same system call."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = child(server, raw, preexec_fn=limit)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "FetchError" in errors.splitlines()[-1]
    assert "make room" in errors
    assert not list(raw.rglob("*.unpacked"))
    assert set(files_in(raw / "12345")) <= set(FILES)
    assert child(server, raw).wait(timeout=300) == 0
    assert files_in(raw / "12345") == {n: d for n, d in FILES.items() if "/bldg/" in n or "/dem/" in n}


def kill_during(server: FaultyServer, raw: Path, parallel: int, seconds: float) -> None:
    """Start a fetch and kill it `seconds` after its first byte moved."""
    before = server.bytes_sent()
    process = child(server, raw, parallel)
    while server.bytes_sent() == before and process.poll() is None:
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    process.communicate()


def on_disk(root: Path, members: dict[str, Member]) -> list[tuple[int, int]]:
    """Ranges of the archive that have reached the disk: data of finished members, and what is in hand of others."""
    finished = [(members[name].offset, members[name].offset + members[name].compressed) for name in files_in(root)]
    parts = [(int(path.stem), int(path.stem) + path.stat().st_size) for path in root.glob(".fetch/*/*.part")]
    return finished + parts


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 4])
def test_twenty_kills_lose_nothing_but_the_moment(server, raw, parallel):
    """SIGKILL at random moments: the end is the same, and no byte that had reached the disk moves again."""
    wanted = {name: data for name, data in FILES.items() if "/bldg/" in name or "/dem/" in name}
    members = {member.path: member for member in inspect(server.url("city.zip")) if member.path in wanted}
    last = max(member.stop for member in members.values())
    server.clear()
    server.add(Drip(block=2048, seconds=0.005 * parallel, times=10**6))  # slow, so that kills fall everywhere
    moments, kills = random.Random(0), []
    for _ in range(20):
        kill_during(server, raw, parallel, moments.uniform(0, 0.2))
        assert all(wanted[name] == data for name, data in files_in(raw / "12345").items())
        kills.append((server.requests(), on_disk(raw / "12345", members)))
    assert len({tuple(held) for _, held in kills}) >= 5, "the kills did not fall during the fetch"
    assert child(server, raw, parallel).wait(timeout=300) == 0
    assert files_in(raw / "12345") == wanted

    log = server.served()
    data = [served for served in log if served.start is not None and 1 < served.stop <= last]
    for count, held in kills:
        asked = [(served.start, served.stop) for served in log[count:] if served in data]
        assert not [(a, h) for a in asked for h in held if a[0] < h[1] and h[0] < a[1]]
    largest = max(member.compressed for member in members.values())
    needed = sum(member.stop - member.offset for member in members.values())
    assert sum(served.sent for served in data) <= needed + 20 * largest


@pytest.mark.slow
def test_one_theme_of_a_real_city_moves_little_more_than_itself(tmp_path, raw, shared_data):
    archive = tmp_path / "27100_osaka.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted((shared_data / "plateau/27100_osaka").rglob("*.gml.gz")):
            out.writestr(
                path.relative_to(shared_data / "plateau").with_suffix("").as_posix(), gzip.decompress(path.read_bytes())
            )
    with FaultyServer(tmp_path) as server:
        planned = plan(Source(server.url(archive.name), "27100", ("*/udx/tran/*.gml",)), raw, BRISK)
        report = fetch(planned)
        compressed = sum(member.compressed for member in planned.wanted)
        assert server.bytes_sent() <= 1.05 * compressed + planned.directory_bytes
        assert server.requests() <= 10
    assert len(report.members) == 12
    with zipfile.ZipFile(archive) as whole:
        assert all((report.root / m.path).read_bytes() == whole.read(m.path) for m in planned.wanted)


def test_threads_stop_when_one_fails(server, raw, monkeypatch):
    """A failure in one request ends the others soon, instead of fetching on for nothing."""
    monkeypatch.setattr(transfer, "SPAN", 1)  # a request per member
    planned = plan(source(server, "*"), raw, BRISK)
    server.clear()
    server.add(Status(404, skip=1), Drip(block=256, seconds=0.01, times=10**6))
    with pytest.raises(FetchError, match="404"):
        fetch(planned, parallel=2)
    assert server.bytes_sent() < 200_000
