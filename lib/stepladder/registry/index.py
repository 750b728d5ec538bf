"""The manifest of an artifact, and the index: which artifacts a store holds, in which versions, under which aliases.

Decisions:
- A version is the hash of its manifest, and the manifest holds the hash of every file. So `name@version` always means
  the same bytes, publishing the same again is no new version, and publishers at once cannot overwrite each other.
- The index is the folder of manifests, one YAML file per version: there is no common file to lock or to lose.
- An alias (`latest`, `paper`) is a pointer that moves; the last publisher wins. `latest` moves at every publication.
- What is read from a store is judged before it is used: a manifest that does not hash to its version, or whose paths
  would leave the folder it is fetched into, is refused.
"""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from stepladder.core import files
from stepladder.core.config import nearest
from stepladder.core.schema import Section
from stepladder.registry.store import RegistryError, Store
from stepladder.registry.unpack import ENDINGS, path_flaw, unpacked_path

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
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
    bytes: int = Field(ge=0, description="size")
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
    study: str = Field("", description="study of the run it comes from")
    run: str = Field("", description="that run")
    profile: str = Field("", description="its profile")
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
        unknown = [entry.path for entry in self.files if entry.unpack and not unpacked_path(entry.path)]
        if unknown:
            raise ValueError(f"path {unknown[0]!r}: an archive that is unpacked ends in {', '.join(ENDINGS)}")
        paths = [unpacked_path(entry.path) if entry.unpack else entry.path for entry in self.files]
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
        for path, count in Counter(paths).items():
            flaw = path_flaw(path) or ("stands twice" if count > 1 else "")
            flaw = flaw or ("also the folder of another file" if path in folders else "")
            flaw = flaw or ("kept for receipts" if PurePosixPath(path).parts[0] == RECEIPTS else "")
            if flaw:
                raise ValueError(f"path {path!r}: {flaw}")
        return self

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files)


def version_of(manifest: Manifest) -> str:
    """The version of a manifest: hash of everything in it but when and by which code it was published."""
    return files.fingerprint(manifest.model_dump(mode="json", exclude=NO_IDENTITY))


def dump(manifest: Manifest) -> str:
    """A manifest as YAML."""
    return yaml.dump(manifest.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def load(text: bytes | str, shown: str) -> Manifest:
    """A manifest from YAML; `RegistryError` naming `shown` and what is wrong."""
    try:
        values = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        problem = str(error).replace("\n", " ")
        raise RegistryError(f"{shown}: no manifest that can be used ({problem}); publish it again") from None
    return checked(values, shown)


def checked(values: Any, shown: str) -> Manifest:
    """A manifest from its fields; `RegistryError` naming `shown` and the first thing that is wrong."""
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}".strip()
        raise RegistryError(f"{shown}: no manifest that can be used ({problem}); mend that and publish again") from None


def parse(reference: str) -> tuple[str, str]:
    """`name@what` as name and version or alias; `latest` where nothing is asked."""
    name, _, asked = reference.partition("@")
    if not re.match(NAME, name) or not re.match(NAME, asked or "latest"):
        raise RegistryError(f"{reference!r} names no artifact: write NAME, NAME@VERSION or NAME@ALIAS")
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
        if not re.match(NAME, alias) or VERSION.fullmatch(alias):
            raise RegistryError(
                f"alias {alias!r}: use letters, digits, '.', '_' and '-', and not what a version looks like"
            )
        self.store.write(f"artifacts/{name}/aliases/{alias}", version.encode())

    def _alias(self, name: str, alias: str) -> str | None:
        """The version an alias means; None where there is no such alias."""
        text = self.store.read(f"artifacts/{name}/aliases/{alias}")
        version = text.decode(errors="replace").strip() if text else ""
        return version if VERSION.fullmatch(version) else None
