"""The manifest of an artifact, and the index: which artifacts a store holds, in which versions, under which aliases.

Decisions:
- A version is the hash of its manifest, and the manifest holds the hash of every file. So `name@version` always means
  the same bytes, publishing the same again is no new version, and publishers at once cannot overwrite each other.
- The index is the folder of manifests, one YAML file per version: there is no common file to lock or to lose.
- An alias (`latest`, `paper`) is a pointer that moves; the last publisher wins. `latest` moves at every publication.
- What is read from a store is judged before it is used: a manifest that does not hash to its version, whose paths must
  not be written below a folder (see `core.names`), that is too long or too deep, or that holds what JSON cannot, is
  refused in one sentence. YAML's aliases are refused too: a few lines of them stand for more than any memory holds.
"""

import json
import re
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from stepladder.core import files, names
from stepladder.core.config import nearest
from stepladder.core.schema import Section
from stepladder.registry.store import RegistryError, Store
from stepladder.registry.unpack import ENDINGS, unpacked_path

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
LABEL = r"^[\w.-]{0,128}$"  # of a run: it is shown in a command
LONGEST = 240  # bytes of a name; a file on its way has a longer one
LARGEST = 64 << 20  # bytes of a manifest: more than 200,000 files
DEEPEST = 50  # levels of a manifest
VERSION = re.compile(r"[0-9a-f]{16}")
PREFIX = 4  # least digits of a shortened version
RECEIPTS = ".artifacts"  # folder of what is kept beside fetched files
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C ones are ten times faster
Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
NO_IDENTITY = {"created", "code"}  # fields that tell about the publication, not about what is published


class Entry(Section):
    """One file of an artifact."""

    path: str = Field(description="place below the folder it is fetched into, with forward slashes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its bytes; names the blob")
    bytes: int = Field(ge=0, lt=2**63, description="size")
    asset: str = Field("", description="of a shard: the asset it was made from, as in splits")
    group: str = Field("", description="of a shard: its group")
    recipe: str = Field("", description="of a shard: hash of code, parameters and raw files it was made by")
    sources: list[dict[str, Any]] = Field([], description="of a shard: name, bytes and SHA-256 of its raw files")
    unpack: bool = Field(False, description="an archive: fetched as the folder of its members")


class Manifest(Section):
    """Everything there is to know about one version of an artifact."""

    format: Literal[1] = 1
    name: str = Field(pattern=NAME, description="name of the artifact")
    kind: Literal["shards", "checkpoints", "files"] = Field(description="what it is")
    licence: str = Field(min_length=2, description="what others may do with it")
    source: str = Field("", description="who or what made it: generator or origin, in words")
    study: str = Field("", pattern=LABEL, description="study of the run it comes from")
    run: str = Field("", pattern=LABEL, description="that run")
    profile: str = Field("", pattern=LABEL, description="its profile")
    parameters: dict[str, Any] = Field({}, description="those that decide the content")
    splits: dict[str, list[str]] = Field({}, description="split -> ids of its assets")
    split_by: str = Field("", description="unit that is never divided between splits")
    held_out: list[str] = Field([], description="groups or coefficients that only the test split may hold")
    normaliser: dict[str, dict[str, Any]] = Field({}, description="array -> mean and std over the training split")
    code: dict[str, Any] = Field({}, description="commit and versions it was published with")
    created: str = Field("", description="when, in UTC")
    files: list[Entry] = Field(min_length=1, description="its files")

    @model_validator(mode="after")
    def _paths_are_sound(self) -> "Manifest":
        places: list[str] = []
        for entry in self.files:
            places.append(unpacked_path(entry.path) if entry.unpack else entry.path)
            flaw = _flaw(entry.path)
            if not flaw and not places[-1]:
                flaw = f"an archive that is unpacked ends in {', '.join(ENDINGS)}"
            if flaw:
                raise ValueError(f"path {names.shown(entry.path)}: {flaw}")
        for path, flaw in names.clashes(places).items():
            raise ValueError(f"path {names.shown(path)}: {flaw}")
        return self

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files)


def _flaw(path: str) -> str:
    """Why a file of an artifact must not be called so; empty when it is sound."""
    if flaw := names.flaw(path, LONGEST):
        return flaw
    if str(PurePosixPath(path)) != path:
        return f"write it as {str(PurePosixPath(path))!r}"
    return "kept for receipts" if PurePosixPath(path).parts[0].casefold() == RECEIPTS else ""


def version_of(manifest: Manifest) -> str:
    """The version of a manifest: hash of everything in it but when and by which code it was published."""
    return files.fingerprint(manifest.model_dump(mode="json", exclude=NO_IDENTITY))


def dump(manifest: Manifest) -> str:
    """A manifest as YAML."""
    return yaml.dump(manifest.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def load(text: bytes | str, shown: str) -> Manifest:
    """A manifest from YAML; `RegistryError` naming `shown` and what is wrong."""
    try:
        _refuse_monsters(text)
        values = yaml.load(text, Loader=Loader)
        json.dumps(values, ensure_ascii=False).encode()  # what later stages write: no dates, bytes or half characters
    except Exception as error:  # PyYAML's constructors throw whatever a hostile value makes them
        problem = " ".join(str(error).split())[:300] or type(error).__name__
        raise RegistryError(f"{shown}: no manifest that can be used ({problem}); publish it again") from None
    return checked(values, shown)


def _refuse_monsters(text: bytes | str) -> None:
    """`ValueError` for YAML that is too long, too deep (libyaml's composer would end the process) or has aliases."""
    if len(text) > LARGEST:
        raise ValueError(f"{len(text) / 1e6:,.0f} MB, at most {LARGEST / 1e6:,.0f}: pack the files as an archive")
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels deep")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds an alias of YAML")


def checked(values: Any, shown: str) -> Manifest:
    """A manifest from its fields; `RegistryError` naming `shown` and the first thing that is wrong."""
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        problem = f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}".strip()[:300]
        problem += _entry_of(values, first["loc"])
        raise RegistryError(f"{shown}: no manifest that can be used ({problem}); mend that and publish again") from None


def _entry_of(values: Any, place: tuple[int | str, ...]) -> str:
    """`, of the file 'a.h5'` where an error lies in an entry that tells its path."""
    if place[:1] != ("files",) or len(place) < 2 or not isinstance(number := place[1], int):
        return ""
    entry = values["files"][number]
    path = entry.get("path") if isinstance(entry, dict) else getattr(entry, "path", None)
    return f", of the file {names.shown(path)}" if isinstance(path, str) else ""


def parse(reference: str) -> tuple[str, str]:
    """`name@what` as name and version or alias; `latest` where nothing is asked."""
    name, _, asked = reference.partition("@")
    if not re.fullmatch(NAME, name) or not re.fullmatch(NAME, asked or "latest") or reference != reference.strip():
        raise RegistryError(f"{names.shown(reference)} names no artifact: write NAME, NAME@VERSION or NAME@ALIAS")
    return name, asked or "latest"


class Registry:
    """The artifacts of one store."""

    def __init__(self, store: Store | str):
        self.store = Store(store) if isinstance(store, str) else store

    def names(self) -> list[str]:
        """Names of all artifacts."""
        return self.store.names("artifacts")

    def versions(self, name: str) -> list[str]:
        """Versions of an artifact, in no meaningful order."""
        return [file.removesuffix(".yaml") for file in self.store.names(f"artifacts/{name}") if file.endswith(".yaml")]

    def aliases(self, name: str) -> dict[str, str]:
        """Alias -> version."""
        found = self.store.names(f"artifacts/{name}/aliases")
        return {alias: version for alias in found if (version := self._alias(name, alias))}

    def resolve(self, reference: str) -> tuple[str, str]:
        """Name and version of `NAME`, `NAME@ALIAS`, `NAME@VERSION` or the beginning of a version.

        Raises:
            RegistryError: there is none, or several begin so; with the nearest known.
        """
        name, asked = parse(reference)
        if VERSION.fullmatch(asked):
            return name, asked
        if version := self._alias(name, asked):
            return name, version
        known = self.versions(name)
        if not known:
            names = self.names()
            hint = nearest(name, names) if names else "; the store is empty: is its address right?"
            raise RegistryError(f"{self.store.url}: no artifact {name!r}{hint}")
        begins = [version for version in known if len(asked) >= PREFIX and version.startswith(asked)]
        if len(begins) == 1:
            return name, begins[0]
        problem = "is ambiguous" if begins else "is neither version nor alias"
        raise RegistryError(
            f"{self.store.url}: {asked!r} {problem} of {name}{nearest(asked, [*self.aliases(name), *known])}"
        )

    def read(self, reference: str) -> tuple[str, Manifest]:
        """Version and manifest of a reference (see `resolve`).

        Raises:
            RegistryError: there is none, or it is not what its version says.
        """
        name, version = self.resolve(reference)
        place = f"artifacts/{name}/{version}.yaml"
        if (size := self.store.size(place) or 0) > LARGEST:
            raise RegistryError(f"{self.store.url}/{place}: {size / 1e6:,.0f} MB is no manifest; delete it")
        text = self.store.read(place)
        if text is None:
            raise RegistryError(
                f"{self.store.url}: no version {version} of {name}{nearest(version, self.versions(name))}"
            )
        manifest = load(text, f"{self.store.url}/{place}")
        if (manifest.name, version_of(manifest)) != (name, version):
            raise RegistryError(
                f"{self.store.url}/{place}: it was changed after it was published (its content is {manifest.name}"
                f"@{version_of(manifest)}); delete it and publish again"
            )
        return version, manifest

    def add(self, manifest: Manifest, aliases: tuple[str, ...] = ("latest",)) -> str:
        """Write a manifest whose blobs are all stored, move the aliases to it, and return its version."""
        version = version_of(manifest)
        place = f"artifacts/{manifest.name}/{version}.yaml"
        if self.store.size(place) is None:
            self.store.write(place, dump(manifest).encode())
        self.read(f"{manifest.name}@{version}")  # what others will read
        for alias in aliases:
            self.point(manifest.name, alias, version)
        return version

    def point(self, name: str, alias: str, version: str) -> None:
        """Let an alias mean a version from now on."""
        if not re.fullmatch(NAME, alias) or alias != alias.strip() or VERSION.fullmatch(alias):
            raise RegistryError(
                f"alias {alias!r}: use letters, digits, '.', '_' and '-', and not what a version looks like"
            )
        self.store.write(f"artifacts/{name}/aliases/{alias}", version.encode())

    def _alias(self, name: str, alias: str) -> str | None:
        """The version an alias means; None where there is no such alias."""
        text = self.store.read(f"artifacts/{name}/aliases/{alias}")
        version = text.decode(errors="replace").strip() if text else ""
        return version if VERSION.fullmatch(version) else None
