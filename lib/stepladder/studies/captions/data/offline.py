"""The offline web: every host of a synthetic corpus, served on loopback with the faults that it was made with.

Decisions:
- Hosts are virtual: what is served is `web/<Host header>/<path>`, so one port plays all of them. Who downloads is given
  a `Loopback`, in code; nothing in a list or a parameter makes one.
- `faults.json` says how an address, or all of a host, answers; what it does not name is served well. What fails a few
  times only is counted in a file: a download that is killed and comes back meets a web that goes on, not one that
  begins anew.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.data.download.connecting import Loopback
from stepladder.studies.captions.data.synthesis.corpus import FAULTS, WEB

TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "txt": "text/plain"}
PIECES = 8  # that a slow answer comes in
BLOCK = bytes(1 << 18)  # of an endless one
FILE = {"status": 200, "headers": {}}  # an answer that is no fault


class Web:
    """What is answered: the files below `folder / "web"` and the answers of its `faults.json`.

    Args:
        folder: a synthetic corpus.
        memory: file in which is kept what was asked for of the addresses that fail a few times only.
    """

    def __init__(self, folder: Path, memory: Path):
        self._folder = (Path(folder) / WEB).resolve()
        self._answers: Mapping[str, Mapping[str, Any]] = files.read_json(Path(folder) / FAULTS)["answers"]
        self._memory, self._lock = Path(memory), threading.Lock()
        self._asked = Counter(self._memory.read_text().splitlines() if self._memory.exists() else [])

    def answer(self, host: str, path: str) -> Mapping[str, Any]:
        """How this request is answered; it counts as one."""
        address = host + path
        fault = self._answers.get(address) or self._answers.get(host) or FILE
        return FILE if "times" in fault and self._count(address) > fault["times"] else fault

    def body(self, host: str, path: str) -> bytes | None:
        """The file of an address, None where there is none."""
        file = (self._folder / host / path.lstrip("/")).resolve()
        return file.read_bytes() if file.is_relative_to(self._folder) and file.is_file() else None

    def _count(self, address: str) -> int:
        with self._lock:
            self._asked[address] += 1
            with self._memory.open("a") as memory:
                memory.write(f"{address}\n")
            return self._asked[address]


@contextmanager
def serving(folder: Path, memory: Path) -> Iterator[Loopback]:
    """Serve a corpus on a free port of 127.0.0.1, in threads of this process, until the block ends."""
    handler = type("Handler", (_Handler,), {"web": Web(folder, memory)})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield Loopback("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow answer nobody waits for any more must not hold up the end
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Keep quiet: who asks may go away at any time."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection; `web` is set by `serving`."""

    web: Web
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Keep quiet: the ledger of who asks tells more."""

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0].lower()
        path = self.path.partition("?")[0]
        answer = self.web.answer(host, path)
        body = self.web.body(host, path)
        status = answer.get("status", 200)
        if answer.get("close"):
            self.close_connection = True
        elif status != 200 or body is None:
            self._head(status if status != 200 else 404, answer, 0)
        elif answer.get("endless"):
            self._endless(answer, body)
        else:
            self._send(path, answer, body)

    def _send(self, path: str, answer: Mapping[str, Any], body: bytes) -> None:
        self._head(200, answer, len(body), TYPES.get(path.rpartition(".")[2], "application/octet-stream"))
        if "cut" in answer:
            body, self.close_connection = body[: int(len(body) * answer["cut"])], True
        pieces = PIECES if "pause" in answer else 1
        size = max(1, -(-len(body) // pieces))
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            time.sleep(answer.get("pause", 0))

    def _endless(self, answer: Mapping[str, Any], body: bytes) -> None:
        """A picture and more bytes, of no told length, until nobody listens."""
        self.close_connection = True
        self._head(200, answer, None, "image/jpeg")
        while True:
            self.wfile.write(body)
            body = BLOCK

    def _head(self, status: int, answer: Mapping[str, Any], length: int | None, kind: str = "text/plain") -> None:
        said = {"Content-Type": kind, **answer.get("headers", {})}
        if length is not None:
            said["Content-Length"] = str(length)
        self.send_response(status)
        for name, value in said.items():
            self.send_header(name, value)
        self.end_headers()
