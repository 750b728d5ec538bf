"""Data that lies in a store of artifacts: the machine fetches it from there itself, by its hash.

    python -m stepladder.launch.blobs OUTPUTS    on the box: fetch what standard input names; prints what is whole then

Decisions:
- A store keeps bytes under their hash, so no name and no version of an artifact is needed: whatever a job misses and
  the store of `STEPLADDER_REGISTRY` has, comes from there. A line at home is slower than one between machines.
- A store that only this machine sees, such as a folder, is none for others.
- A store that fails costs nothing but time: what did not come is sent from here.
- Its credentials are the job's secrets; they go by standard input into that one process.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stepladder.core import files
from stepladder.core.files import Json
from stepladder.core.identity import Vouched
from stepladder.data.fetch import Patience
from stepladder.launch import code
from stepladder.launch.hosts import CommandFailed, Host
from stepladder.registry.index import RECEIPTS, Entry
from stepladder.registry.pull import Transfer
from stepladder.registry.store import RegistryError, Store, blob_path

ADDRESS = "STEPLADDER_REGISTRY"  # environment variable: URL of the store
HERE = ("file", "local", "memory")  # protocols that lead nowhere on another machine
LEAST = 1 << 20  # bytes below which asking the store takes as long as sending
PARALLEL = 8
SLOW = 5e6  # bytes per second below which a machine is not waited for
Wanted = dict[str, Vouched]  # path below the outputs folder -> size and hash


def stored(asked: Wanted, names: Iterable[str]) -> tuple[str, ...]:
    """Which of the named files the store of `STEPLADDER_REGISTRY` holds; none where none is set, or it is silent."""
    url = os.environ.get(ADDRESS, "")
    large = [name for name in names if asked[name]["bytes"] >= LEAST]
    if "://" not in url or url.partition("://")[0] in HERE or not large:
        return ()
    try:
        store = Store(url)
        with ThreadPoolExecutor(PARALLEL) as pool:
            sizes = list(pool.map(lambda name: store.size(blob_path(asked[name]["sha256"])), large))
    except RegistryError:
        return ()
    return tuple(name for name, size in zip(large, sizes, strict=True) if size == asked[name]["bytes"])


def fetch(
    host: Host, python: str, place: str, outputs: str, asked: Wanted, names: Sequence[str], secrets: Sequence[str] = ()
) -> tuple[str, ...]:
    """Let a machine fetch files from the store; the names of those that are whole there then.

    Args:
        host: the machine.
        python: the Python there.
        place: the code there.
        outputs: the job's outputs folder there.
        asked: what must be there.
        names: what the store holds of it (see `stored`).
        secrets: names of the environment variables that the store's credentials are in.
    """
    if not names:
        return ()
    variables = {name: os.environ[name] for name in secrets if name in os.environ}
    wish = {"url": os.environ[ADDRESS], "files": {name: asked[name] for name in names}, "variables": variables}
    patience = 600.0 + sum(asked[name]["bytes"] for name in names) / SLOW
    command = code.command(python, place, "stepladder.launch.blobs", outputs)
    try:
        return tuple(json.loads(host.call(command, stdin=json.dumps(wish).encode(), timeout=patience).splitlines()[-1]))
    except CommandFailed:
        return ()


def gather(outputs: Path, wish: Json, environment: Mapping[str, str]) -> list[str]:
    """Fetch what is wished for into a folder of this machine; names of what is whole then."""
    os.environ.update(environment)
    wanted: Wanted = wish["files"]
    there = set(whole(outputs, wanted))
    entries = [Entry.model_validate({"path": name, **wanted[name]}) for name in wanted.keys() - there]
    (outputs / RECEIPTS).mkdir(parents=True, exist_ok=True)
    try:
        Transfer(Store(wish["url"]), outputs, None, Patience(tries=4)).run(entries)
    except RegistryError as error:
        print(error, file=sys.stderr)
    return whole(outputs, wanted)


def whole(outputs: Path, asked: Wanted) -> list[str]:
    """Names of the files in `outputs` that are what they should be; others of the same size are deleted."""
    found: list[str] = []
    for name, facts in asked.items():
        path = outputs / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            continue
        if files.file_sha256(path) == facts["sha256"]:
            found.append(name)
        else:
            path.unlink()
    return found


def main() -> None:
    """Fetch what standard input names."""
    wish = json.load(sys.stdin)
    print(json.dumps(gather(Path(sys.argv[1]), wish, wish["variables"])))


if __name__ == "__main__":
    main()
