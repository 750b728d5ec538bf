"""A hub on loopback that speaks what huggingface_hub asks of one when it makes a repository, commits and fetches."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

OWNER = "lab"


@dataclass
class Hub:
    """What a hub holds and was asked.

    Attributes:
        tokens: what it takes; everything else is 401.
        objects: oid -> bytes, as PUT.
        trees: commit -> path -> (mode, oid or bytes).
        private: repository -> whether it is.
        asked: (method, path) of all requests.
        received: bodies of all requests that have one, and headers but for the token.
        puts: oids, one for each PUT.
        faults: called with (method, path) before anything is done; (status, headers) is the answer then.
        answered: called with the path after a commit is made, before it is told.
    """

    tokens: set[str]
    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    puts: list[str] = field(default_factory=list)
    faults: Callable[[str, str], tuple[int, dict[str, str]] | None] = lambda method, path: None
    answered: Callable[[str], None] = lambda path: None

    @property
    def head(self) -> dict[str, bytes]:
        """The files of the last commit."""
        return self.trees[self.order[-1]] if self.order else {}

    def commit(self, lines: list[dict]) -> str:
        """Make a commit of the lines that `_send_commit` sends; tell its id."""
        tree = dict(self.head)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                tree[value["path"]] = self.objects[value["oid"]]
            else:
                raise AssertionError(f"nobody asked for {line['key']}")
        oid = hashlib.sha1(json.dumps([len(self.order), lines[0]["value"]]).encode()).hexdigest()
        self.trees[oid] = tree
        self.order.append(oid)
        return oid


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(token: str) -> Iterator[Hub]:
    """A hub at work on a free port of 127.0.0.1 while the block runs."""
    hub = Hub({token})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _json(self, value: object, status: int = 200, **headers: str) -> None:
            self._bytes(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})

        def _bytes(self, data: bytes, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _any(self) -> None:
            path = urlsplit(self.path).path
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append((self.command, path))
            told = "\n".join(f"{k}: {v}" for k, v in self.headers.items() if k.lower() != "authorization")
            hub.received.append(self.path.encode() + told.encode() + body)
            if fault := hub.faults(self.command, path):
                return self._json({"error": "as the test wants it"}, fault[0], **fault[1])
            if path.startswith("/objects/"):  # a signed address: it needs no token
                hub.objects[path.split("/")[-1]] = body
                hub.puts.append(path.split("/")[-1])
                return self._json({})
            if path == "/api/validate-yaml":
                return self._json({"errors": [], "warnings": []})
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in hub.tokens:
                return self._json({"error": "Invalid credentials in Authorization header"}, 401)
            self._known(path, body)

        def _known(self, path: str, body: bytes) -> None:
            parts = path.strip("/").split("/")
            if path == "/api/repos/create":
                asked = json.loads(body)
                repo = f"{asked.get('organization') or OWNER}/{asked['name']}"
                status = 409 if repo in hub.private else 200
                hub.private.setdefault(repo, asked.get("visibility") == "private")
                return self._json({"url": f"{hub.url}/{repo}"}, status)
            if path.endswith("/info/lfs/objects/batch"):
                return self._json(
                    {"transfer": "basic", "objects": [self._object(o) for o in json.loads(body)["objects"]]}
                )
            if path == "/verify":
                wanted = json.loads(body)
                return self._json({}, 200 if len(hub.objects.get(wanted["oid"], b"")) == wanted["size"] else 422)
            if "resolve" in parts:
                return self._file(parts)
            if parts[:2] != ["api", "models"] or "/".join(parts[2:4]) not in hub.private:
                return self._json({"error": "Repository not found"}, 404, **{"X-Error-Code": "RepoNotFound"})
            repo = "/".join(parts[2:4])
            if "preupload" in parts:
                return self._json({"files": [self._mode(file) for file in json.loads(body)["files"]]})
            if "commit" in parts:
                oid = hub.commit([json.loads(line) for line in body.splitlines()])
                hub.answered(path)
                return self._json({"commitUrl": f"{hub.url}/{repo}/commit/{oid}", "commitOid": oid})
            sha = hub.order[-1] if hub.order else "0" * 40
            self._json({"id": repo, "private": hub.private[repo], "sha": sha, "siblings": []})

        def _object(self, wanted: dict) -> dict:
            if wanted["oid"] in hub.objects:
                return wanted
            upload = {"upload": {"href": f"{hub.url}/objects/{wanted['oid']}"}, "verify": {"href": f"{hub.url}/verify"}}
            return {**wanted, "actions": upload}

        def _mode(self, file: dict) -> dict:
            large, there = file["path"].endswith(".safetensors"), hub.head.get(file["path"])
            told = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if there is not None:
                told["oid"] = hashlib.sha256(there).hexdigest() if large else git_oid(there)
            return told

        def _file(self, parts: list[str]) -> None:
            place = parts.index("resolve")
            revision, name = parts[place + 1], "/".join(parts[place + 2 :])
            data = hub.trees.get(revision, {}).get(name)
            if data is None:
                return self._json({"error": "not found"}, 404, **{"X-Error-Code": "EntryNotFound"})
            headers = {"X-Repo-Commit": revision, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
            self._bytes(data, 200, headers)

        do_GET = do_HEAD = do_POST = do_PUT = _any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
