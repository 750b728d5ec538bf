"""Manifests and files for the registry's tests."""

import time
from collections.abc import Callable
from pathlib import Path

from stepladder.core import files
from stepladder.registry.index import Entry, Manifest, Registry
from stepladder.registry.store import Store, blob_path

TOKEN = "hf" + "_" + "abcdefghijklmnopqrstuv"  # looks like one, is none


def manifest(name: str = "thing", **fields) -> Manifest:
    """A manifest of one file, or of the given ones."""
    usual = {"kind": "files", "licence": "CC0-1.0", "files": [entry("a.bin")]}
    return Manifest(name=name, **{**usual, **fields})


def entry(path: str, sha256: str = "0" * 64, size: int = 1, **facts) -> Entry:
    """A file of a manifest."""
    return Entry(path=path, sha256=sha256, bytes=size, **facts)


def blob(store: Store, sha256: str) -> Path:
    """Where a store in a folder keeps a blob."""
    return Path(store.root) / blob_path(sha256)


def publish(registry: Registry, folder: Path, contents: dict[str, bytes], name: str = "thing") -> Manifest:
    """Write files below `folder` and publish them, without a look at git."""
    entries = []
    for path, data in contents.items():
        files.write_bytes(folder / path, data)
        entries.append(entry(path, files.file_sha256(folder / path), len(data)))
        registry.store.put(entries[-1].sha256, folder / path)
    made = manifest(name, files=entries)
    registry.add(made)
    return made


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until `condition()`; fail when it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
