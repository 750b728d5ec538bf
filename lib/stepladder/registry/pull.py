"""From a manifest to files in a folder: what is there is verified, what is missing is fetched.

    <folder>/<path of an entry>                       whole and verified, or absent
    <folder>/.artifacts/<name>@<version>.yaml         manifest of what was fetched: verified without network
    <folder>/.artifacts/<sha256>.part                 a blob in hand: the next call goes on from there
    <folder>/.artifacts/<sha256>.json                 the members of an archive that was unpacked

Decisions:
- Everything there is hashed; a file with the right name and other bytes is never overwritten unasked: it may be damage,
  it may be somebody's work. The error names it, `replace` fetches it anew.
- A blob takes its place only when its hash is right. One that came wrong is thrown away and fetched once more; wrong
  again, the store itself is damaged and the error says where.
- Two files with the same content are one download. One process at a time fetches into a folder.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepladder.core import claim, files, names
from stepladder.data.fetch import Patience
from stepladder.data.fetch.transfer import side_by_side
from stepladder.registry import leaks
from stepladder.registry.index import RECEIPTS, Entry, Manifest, Registry, checked, dump, load, parse
from stepladder.registry.store import RegistryError, Store, Unavailable, blob_path
from stepladder.registry.unpack import unpack, unpacked_path

BLOCK = 8 << 20  # of one request
PARALLEL = 4  # blobs side by side
SHOWN = 5  # names in an error
State = Literal["there", "missing", "differs"]
Progress = Callable[
    [int, int, str], None
]  # bytes come, bytes to come in all, file in hand; by any thread, one at a time


@dataclass(frozen=True)
class Pulled:
    """What a fetch did: the version, its manifest, bytes moved, and for every path `there`, `fetched` or `replaced`."""

    version: str
    manifest: Manifest
    moved: int
    states: dict[str, str]


def pull(
    registry: Registry,
    reference: str,
    folder: Path,
    run: str | None = None,
    replace: bool = False,
    on_progress: Progress | None = None,
    patience: Patience = Patience(tries=4),  # noqa: B008
) -> Pulled:
    """Bring an artifact's files below `folder`. After any failure call it again: it goes on where it stood.

    Args:
        registry: where it is published.
        reference: `NAME`, `NAME@VERSION` or `NAME@ALIAS`.
        folder: where the paths of its files begin.
        run: what the run of an artifact of shards or checkpoints is called here; its own name where None.
        replace: overwrite files that are there with other bytes.
        on_progress: told after every block.
        patience: how often and how long to wait for the store.

    Raises:
        RegistryError: no such artifact, a run that a launched job has, files in the way, a full disk, a blob that is
            missing or damaged in the store.
        Leak: its splits leak.
        Unavailable: the store gave no new byte, however often it was asked.
    """
    version, manifest = registry.read(reference)
    leaks.check(manifest)
    manifest = renamed(manifest, run) if run else manifest
    _refuse_claimed(manifest, folder)
    with _writing(str(folder)), files.locked(folder / RECEIPTS):
        before = survey(manifest, folder)
        if not replace:
            _refuse_others(before, folder)
        wanted = [entry for entry in manifest.files if before[entry.path] != "there"]
        transfer = Transfer(registry.store, folder, on_progress, patience)
        transfer.run(wanted)
        files.write_text(receipt(folder, manifest.name, version), dump(manifest))
    words = {"there": "there", "missing": "fetched", "differs": "replaced"}
    return Pulled(version, manifest, transfer.moved, {path: words[state] for path, state in before.items()})


def renamed(manifest: Manifest, run: str) -> Manifest:
    """The manifest with its run called `run`: shards serve all runs, records belong to one."""
    old, new = f"{manifest.study}/{manifest.run}/", f"{manifest.study}/{run}/"
    moved = [
        entry.model_copy(update={"path": new + entry.path.removeprefix(old)}) if entry.path.startswith(old) else entry
        for entry in manifest.files
    ]
    return checked({**dict(manifest), "run": run, "files": moved}, f"{manifest.name} as run {run!r}")


def _refuse_claimed(manifest: Manifest, folder: Path) -> None:
    """Refuse to write among the records of a run that a launched job has: they come from its machine."""
    place = f"{manifest.study}/{manifest.run}"
    if any(entry.path.startswith(f"{place}/") for entry in manifest.files) and (why := claim.refusal(folder / place)):
        raise RegistryError(f"{why}; or fetch into another run with --run")


def survey(manifest: Manifest, folder: Path) -> dict[str, State]:
    """Hash everything of an artifact that is in `folder`: path of each entry -> `there`, `missing` or `differs`."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        states = pool.map(_state, manifest.files, [folder] * len(manifest.files))
        return {entry.path: state for entry, state in zip(manifest.files, states, strict=True)}


def fetched(folder: Path, reference: str) -> tuple[str, Manifest]:
    """Version and manifest of an artifact that was fetched into `folder`, the newest where several versions were.

    Raises:
        RegistryError: none was; says which were.
    """
    name, asked = parse(reference)
    found = sorted((folder / RECEIPTS).glob("*@*.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    own = [p for p in found if p.name.startswith(f"{name}@" if asked == "latest" else f"{name}@{asked}")]
    if not own:
        known = ", ".join(path.stem for path in found) or "nothing"
        raise RegistryError(f"{folder}: {reference} was not fetched into it (fetched: {known}); or give --from URL")
    return own[0].stem.partition("@")[2], load(own[0].read_bytes(), str(own[0]))


def damaged(store: Store, manifest: Manifest) -> dict[str, str]:
    """Read every blob of an artifact in its store: path -> what is wrong, of those that are not what they should be."""

    def fault(entry: Entry) -> str:
        digest, size = hashlib.sha256(), store.size(blob_path(entry.sha256))
        if size != entry.bytes:
            return "missing" if size is None else "damaged"
        try:
            for start in range(0, entry.bytes, BLOCK):
                digest.update(store.blob(entry.sha256, start, min(start + BLOCK, entry.bytes)))
        except Unavailable:
            raise
        except RegistryError:
            return "missing"
        return "" if digest.hexdigest() == entry.sha256 else "damaged"

    with ThreadPoolExecutor(PARALLEL) as pool:
        found = zip(manifest.files, pool.map(fault, manifest.files), strict=True)
        return {f"{entry.path} ({blob_path(entry.sha256)})": problem for entry, problem in found if problem}


@contextmanager
def _writing(place: str) -> Iterator[None]:
    """What the disk refuses (it is full, a file lies where a folder should) as one sentence."""
    try:
        yield
    except OSError as error:
        raise RegistryError(f"{place} cannot be written ({error.strerror or error}); what has come is kept") from None


def receipt(folder: Path, name: str, version: str) -> Path:
    """Where the manifest of what was fetched is kept."""
    return folder / RECEIPTS / f"{name}@{version}.yaml"


def _state(entry: Entry, folder: Path) -> State:
    """Whether one entry is in its place, by its hash; of an archive, whether all its members are."""
    if entry.unpack:
        place = folder / unpacked_path(entry.path)
        if not os.path.lexists(place):
            return "missing"
        try:
            members = files.read_json(_members(folder, entry.sha256))
            sound = members is not None and all(_is(place / m["path"], m["bytes"], m["sha256"]) for m in members)
        except (ValueError, TypeError, KeyError):  # the record was cut or edited: what lies there is not known
            sound = False
        return "there" if sound else "differs"
    path = folder / entry.path
    if not os.path.lexists(path):
        return "missing"
    return "there" if _is(path, entry.bytes, entry.sha256) else "differs"


def _is(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and files.file_sha256(path) == sha256


def _members(folder: Path, sha256: str) -> Path:
    return folder / RECEIPTS / f"{sha256}.json"


def _refuse_others(states: dict[str, State], folder: Path) -> None:
    """Never overwrite what this artifact did not bring."""
    others = [path for path, state in states.items() if state == "differs"]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise RegistryError(
            f"{folder}: {', '.join(others[:SHOWN])}{more} is there with other content, damaged or your own; "
            "fetch into another folder, move it away, or fetch with --replace"
        )


@dataclass
class Transfer:
    """One run over the missing entries of an artifact; `moved` counts the bytes that came."""

    store: Store
    folder: Path
    on_progress: Progress | None
    patience: Patience
    moved: int = 0
    _total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cancel: threading.Event = field(default_factory=threading.Event)

    def run(self, wanted: Sequence[Entry]) -> None:
        """Fetch every blob once and put it in all its places; the first failure stops all and comes out."""
        blobs: dict[str, list[Entry]] = {}
        for entry in wanted:
            blobs.setdefault(entry.sha256, []).append(entry)
        self._total = sum(entries[0].bytes - self._have(entries[0]) for entries in blobs.values())
        self._check_disk(wanted)
        side_by_side(self._bring, blobs.values(), PARALLEL, self._cancel)

    def _bring(self, entries: Sequence[Entry]) -> None:
        """Fetch one blob, verify it, put it in its places."""
        part = self._part(entries[0])
        if not (self._gather(entries[0], part) or self._gather(entries[0], part)):
            place = blob_path(entries[0].sha256)
            raise RegistryError(
                f"{entries[0].path}: its blob {self.store.url}/{place} is damaged in the store; "
                "delete that file and publish again from an intact copy"
            )
        for entry in entries:
            with _writing(f"{self.folder}: {names.shown(entry.path)}"):
                self._place(entry, part)
        part.unlink()

    def _gather(self, entry: Entry, part: Path) -> bool:
        """Gather a blob in `part`, going on from what is there; whether its hash is right. A wrong one is deleted."""
        digest, failures = hashlib.sha256(), 0
        if part.exists():
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        with part.open("ab") as out:
            while (have := out.tell()) < entry.bytes:
                try:
                    block = self.store.blob(entry.sha256, have, min(have + BLOCK, entry.bytes))
                except Unavailable:
                    failures += 1
                    if failures > self.patience.tries:
                        raise
                    time.sleep(self.patience.wait(failures, None))
                    continue
                if self._cancel.is_set():
                    raise Unavailable(f"{entry.path}: cancelled")
                if not block:
                    break  # the blob ends too early: its hash will tell
                failures = 0
                out.write(block)
                out.flush()  # a kill must lose nothing that came
                digest.update(block)
                self._tell(len(block), entry.path)
        if digest.hexdigest() == entry.sha256:
            return True
        part.unlink()
        return False

    def _place(self, entry: Entry, part: Path) -> None:
        """Put a verified blob where an entry wants it."""
        if not entry.unpack:
            place = self.folder / entry.path
            if place.is_symlink():  # what it leads to is somebody else's
                place.unlink()
            with files.atomic(place) as temporary:
                shutil.copyfile(part, temporary)
            return
        target = self.folder / unpacked_path(entry.path)
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        members = unpack(part, target, entry.path)
        files.write_json(_members(self.folder, entry.sha256), members)

    def _check_disk(self, wanted: Sequence[Entry]) -> None:
        in_hand = sum(sorted((entry.bytes for entry in wanted), reverse=True)[:PARALLEL])
        need, free = sum(entry.bytes for entry in wanted) + in_hand, shutil.disk_usage(self.folder).free
        if need > free:
            raise RegistryError(
                f"{self.folder}: {need / 1e6:,.1f} MB to write, {free / 1e6:,.1f} MB free; make room or fetch elsewhere"
            )

    def _part(self, entry: Entry) -> Path:
        return self.folder / RECEIPTS / f"{entry.sha256}.part"

    def _have(self, entry: Entry) -> int:
        part = self._part(entry)
        return min(part.stat().st_size, entry.bytes) if part.exists() else 0

    def _tell(self, count: int, path: str) -> None:
        with self._lock:
            self.moved += count
            if self.on_progress:
                self.on_progress(self.moved, self._total, path)
