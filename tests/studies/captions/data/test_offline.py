"""The offline web as an ordinary HTTP client meets it: virtual hosts, faults by address, a memory that outlives it."""

import gzip
import http.client
import socket
from pathlib import Path

import pytest

from stepladder.core import files
from stepladder.studies.captions.data import offline

PICTURE = bytes(range(256)) * 40
ANSWERS = {
    "a.example/gone.jpg": {"status": 404},
    "a.example/once.jpg": {"status": 500, "times": 1},
    "a.example/wait.jpg": {"status": 429, "times": 2, "headers": {"Retry-After": "1"}},
    "a.example/cut.jpg": {"cut": 0.5, "times": 1},
    "a.example/slow.jpg": {"pause": 0.01},
    "a.example/moved.jpg": {"status": 302, "headers": {"Location": "http://b.example/good.jpg"}},
    "a.example/coded.jpg": {"headers": {"Content-Encoding": "gzip"}},
    "a.example/endless.jpg": {"endless": True},
    "dead.example": {"close": True},
}


@pytest.fixture
def web(tmp_path: Path) -> Path:
    for host in ("a.example", "b.example", "dead.example"):
        (tmp_path / "web" / host).mkdir(parents=True)
    for address in ("b.example/good.jpg", *(a for a in ANSWERS if "/" in a)):
        (tmp_path / "web" / address).write_bytes(gzip.compress(PICTURE) if "coded" in address else PICTURE)
    files.write_json(tmp_path / "faults.json", {"format": 1, "rows": {}, "answers": ANSWERS})
    (tmp_path / "secret.txt").write_text("nothing of the web")
    return tmp_path


def ask(loopback, host: str, path: str):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection(loopback.address, loopback.port, timeout=5)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    try:
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_hosts_are_told_apart_and_files_come_as_they_are(web: Path, tmp_path: Path):
    with offline.serving(web, tmp_path / "asked") as loopback:
        assert loopback.address == "127.0.0.1"
        status, headers, body = ask(loopback, "B.example:80", "/good.jpg")
        assert (status, body, headers["Content-Type"]) == (200, PICTURE, "image/jpeg")
        assert ask(loopback, "a.example", "/good.jpg")[0] == 404
        assert ask(loopback, "a.example", "/robots.txt")[0] == 404


@pytest.mark.parametrize("path", ["/../../secret.txt", "/../../faults.json", "//etc/passwd"])
def test_nothing_outside_the_web_is_served(web: Path, tmp_path: Path, path: str):
    with offline.serving(web, tmp_path / "asked") as loopback:
        assert ask(loopback, "a.example", path)[0] == 404
        assert ask(loopback, "..", "/secret.txt")[0] == 404


def test_faults_meet_their_addresses(web: Path, tmp_path: Path):
    with offline.serving(web, tmp_path / "asked") as loopback:
        assert ask(loopback, "a.example", "/gone.jpg")[0] == 404
        status, headers, _ = ask(loopback, "a.example", "/wait.jpg")
        assert (status, headers["Retry-After"]) == (429, "1")
        status, headers, _ = ask(loopback, "a.example", "/moved.jpg")
        assert (status, headers["Location"]) == (302, "http://b.example/good.jpg")
        _, headers, body = ask(loopback, "a.example", "/coded.jpg")
        assert headers["Content-Encoding"] == "gzip" and gzip.decompress(body) == PICTURE
        assert ask(loopback, "a.example", "/slow.jpg")[2] == PICTURE
        with pytest.raises(http.client.IncompleteRead):
            ask(loopback, "a.example", "/cut.jpg")
        assert ask(loopback, "a.example", "/cut.jpg")[2] == PICTURE
        for path in ("/robots.txt", "/x.jpg"):
            with pytest.raises(http.client.RemoteDisconnected):
                ask(loopback, "dead.example", path)


def test_an_endless_answer_ends_with_who_listens(web: Path, tmp_path: Path):
    with offline.serving(web, tmp_path / "asked") as loopback:
        with socket.create_connection((loopback.address, loopback.port)) as connection:
            connection.sendall(b"GET /endless.jpg HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert sum(len(connection.recv(1 << 16)) for _ in range(100)) > 100_000
        assert ask(loopback, "b.example", "/good.jpg")[0] == 200


def test_a_web_that_comes_back_goes_on(web: Path, tmp_path: Path):
    """What fails once failed before the restart: an address is not bad anew because the download was killed."""
    told = []
    for _ in range(3):
        with offline.serving(web, tmp_path / "asked") as loopback:
            told.append((ask(loopback, "a.example", "/once.jpg")[0], ask(loopback, "a.example", "/wait.jpg")[0]))
    assert told == [(500, 429), (200, 429), (200, 200)]
