"""The faulty server itself: true HTTP where nothing is scripted, and exactly the scripted fault where it is."""

import time

import pytest
import requests

from stepladder.testing.server import Change, Cut, Drip, FaultyServer, NoRange, Stall, Status, WrongLength, WrongRange

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with FaultyServer(tmp_path) as server:
        yield server


def get(server, headers=None, path="a.bin", **options):
    return requests.get(server.url(path), headers=headers, timeout=5, **options)


@pytest.mark.parametrize(
    ("asked", "expected"), [("0-9", CONTENT[:10]), ("10-", CONTENT[10:]), ("-7", CONTENT[-7:]), ("0-99999", CONTENT)]
)
def test_ranges_are_honoured(server, asked, expected):
    answer = get(server, {"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.content == expected
    start = len(CONTENT) - 7 if asked == "-7" else int(asked.split("-")[0])
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(CONTENT)}"


def test_a_range_beyond_the_end_is_416(server):
    assert get(server, {"Range": f"bytes={len(CONTENT)}-"}).status_code == 416


def test_conditions_follow_the_version(server, tmp_path):
    tag = get(server).headers["ETag"]
    assert get(server, {"If-None-Match": tag}).status_code == 304
    assert get(server, {"Range": "bytes=0-4", "If-Range": tag}).status_code == 206
    (tmp_path / "a.bin").write_bytes(b"another")
    assert get(server, {"If-None-Match": tag}).status_code == 200
    assert get(server, {"Range": "bytes=0-4", "If-Range": tag}).content == b"another"


def test_it_counts_requests_and_bytes(server):
    get(server, {"Range": "bytes=0-99"})
    get(server)
    get(server, path="missing")
    assert (server.requests(), server.requests("a.bin"), server.bytes_sent()) == (3, 2, 100 + len(CONTENT))
    assert [served.status for served in server.served()] == [206, 200, 404]


def test_it_serves_nothing_outside_its_folder(server, tmp_path):
    (tmp_path.parent / "secret.txt").write_text("secret")
    assert get(server, path="%2e%2e/secret.txt").status_code == 404


def test_status_is_answered_as_often_as_scripted_and_after_the_skipped(server):
    server.add(Status(503, retry_after="3", times=2, skip=1))
    answers = [get(server) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert answers[1].headers["Retry-After"] == "3"


def test_a_fault_only_meets_the_paths_it_names(server, tmp_path):
    (tmp_path / "b.bin").write_bytes(b"b")
    server.add(Status(500, path="b.*"))
    assert (get(server).status_code, get(server, path="b.bin").status_code) == (200, 500)


@pytest.mark.parametrize(("fault", "sent"), [(Cut(100), 100), (WrongLength(50), len(CONTENT))])
def test_a_body_shorter_than_promised(server, fault, sent):
    server.add(fault)
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        get(server)
    assert server.bytes_sent() == sent


def test_stall_is_a_silence(server):
    server.add(Stall(after=10, seconds=5))
    with pytest.raises(requests.exceptions.RequestException):
        requests.get(server.url("a.bin"), timeout=0.2)


def test_drip_sends_everything_slowly(server):
    server.add(Drip(block=4096, seconds=0.02))
    began = time.monotonic()
    assert get(server).content == CONTENT
    assert time.monotonic() - began > 0.04  # two pauses at least: the fault is the time


def test_wrong_range_no_range_and_change(server):
    server.add(WrongRange(5))
    assert get(server, {"Range": "bytes=0-9"}).content == CONTENT[5:15]
    server.add(NoRange())
    answer = get(server, {"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "Accept-Ranges" not in answer.headers
    server.add(Change(b"new"))
    assert get(server).content == b"new"


def test_redirects_and_json_answers(server):
    server.redirects["/latest"] = "/a.bin"
    server.answers["/api"] = lambda query: {"asked": query}
    assert get(server, path="latest").content == CONTENT
    assert get(server, path="api?q=1&q=2").json() == {"asked": {"q": ["1", "2"]}}
