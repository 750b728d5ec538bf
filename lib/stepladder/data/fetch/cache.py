"""What a fetch leaves on disk: the files, and beside them `.fetch/`, which lets the next call go on.

    <root>/<path of a member>              whole and checked, or absent
    <root>/.fetch/directory.json           identity of the archive and its listing, so that it is read once
    <root>/.fetch/done.jsonl               path, size and CRC-32 of every member that was checked
    <root>/.fetch/<identity>/              bytes of members in hand; the name keeps two versions of an archive apart

Losing `.fetch/` costs only time: a file without a record is believed when its CRC-32 is the one the directory promises.
"""

import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple
from pathlib import Path

from stepladder.core import files, jsonlines
from stepladder.data.fetch.bytesource import Identity
from stepladder.data.fetch.remotezip import STATE, Directory, Member, crc_of, unpack


class Shelf:
    """The destination of one source."""

    def __init__(self, root: Path):
        self.root, self._state = root, root / STATE
        record = files.read_json(self._state / "directory.json")
        self.identity = Identity(**record["identity"]) if record else None
        self.directory = _directory(record) if record else None
        whole = [r for r in jsonlines.read(self._state / "done.jsonl") if {"path", "size", "crc"} <= r.keys()]
        self._done = {r["path"]: (r["size"], r["crc"]) for r in whole}

    def remember(self, identity: Identity, directory: Directory) -> None:
        """Keep the listing of the archive; what was in hand of another version is thrown away."""
        if self._state.exists():
            for folder in self._state.iterdir():
                if folder.is_dir() and folder.name != files.fingerprint(asdict(identity)):
                    shutil.rmtree(folder)
        self.identity, self.directory = identity, directory
        members = [astuple(member) for member in directory.members]
        record = {"identity": asdict(identity), "bytes": directory.bytes, "members": members}
        files.write_json(self._state / "directory.json", record)

    def has(self, member: Member) -> bool:
        """Whether the member lies in its place: by the record, or else by its CRC-32."""
        path = self.root / member.path
        if not path.is_file() or path.stat().st_size != member.size:
            return False
        if self._done.get(member.path) != (member.size, member.crc):
            if crc_of(path) != member.crc:
                return False
            self._record(member)
        return True

    def part(self, member: Member) -> Path:
        """Where the bytes of a member in hand are gathered."""
        return self.scratch() / f"{member.offset}.part"

    def scratch(self, identity: Identity | None = None) -> Path:
        """Folder of what is in hand of one version of the archive; of the one that is remembered where None."""
        identity = identity or self.identity
        assert identity is not None, f"{self.root}: no archive is remembered"
        folder = self._state / files.fingerprint(asdict(identity))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def store(self, member: Member) -> None:
        """Unpack a gathered member, check it (`BadMember`) and put it in its place."""
        part = self.part(member)
        unpacked, target = part.with_suffix(".unpacked"), self.root / member.path
        try:
            unpack(member, part, unpacked)
            with unpacked.open("rb") as file:
                os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            unpacked.replace(target)
        finally:
            unpacked.unlink(missing_ok=True)
        self._record(member)
        part.unlink()

    def tidy(self) -> None:
        """Drop everything in hand; only the files and the records stay."""
        shutil.rmtree(self.scratch())

    def locked(self) -> AbstractContextManager[bool]:
        """Let one process at a time fetch into this folder; the others wait."""
        return files.locked(self._state)

    def disk_free(self) -> int:
        """Bytes free where the folder lies or will lie."""
        existing = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        return shutil.disk_usage(existing).free

    def _record(self, member: Member) -> None:
        self._done[member.path] = (member.size, member.crc)
        self._state.mkdir(parents=True, exist_ok=True)
        record = {"path": member.path, "size": member.size, "crc": member.crc}
        jsonlines.append(self._state / "done.jsonl", record)


def _directory(record: dict) -> Directory:
    return Directory(tuple(Member(*fields) for fields in record["members"]), record["bytes"])
