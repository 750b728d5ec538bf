"""Whether what is held out stays out: by name, by file, by group, and by the trajectories themselves.

Decisions:
- The manifest alone shows whether an asset, or the same file under two names, stands in two splits, and whether a
  held-out group is trained on. So everybody who fetches an artifact asks again, for nothing.
- Two shards can hold the same trajectory and differ in their attributes. So the publisher also compares the largest
  array of every shard: row by row where its first axis counts samples (`u_NTXC`), else as a whole.
- Rows without content (all values alike) or of fewer than `LEAST` values prove nothing and are left out.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np

from stepladder.registry.index import Manifest
from stepladder.registry.store import RegistryError

LEAST = 64
SHOWN = 3  # examples in an error


class Leak(RegistryError):
    """Something held out that is trained on."""


def check(manifest: Manifest) -> None:
    """Judge a manifest.

    Raises:
        Leak: an asset or a file stands in two splits, or something held out is not only in the test split.
        RegistryError: a split names an asset without file, or `held_out` names what is not in the data.
    """
    by_asset = {entry.asset: entry for entry in manifest.files if entry.asset}
    lost = [asset for ids in manifest.splits.values() for asset in ids if asset not in by_asset]
    if lost:
        raise RegistryError(f"{manifest.name}: the splits name {lost[0]!r}, which has no file; convert again")
    content = {name: {by_asset[asset].sha256: asset for asset in ids} for name, ids in manifest.splits.items()}
    for (one, first), (two, second) in combinations(content.items(), 2):
        both = set(manifest.splits[one]) & set(manifest.splits[two])
        _refuse(manifest.name, one, two, sorted(both))
        same = sorted(f"{first[sha]} = {second[sha]}" for sha in first.keys() & second.keys())
        _refuse(manifest.name, one, two, same)
    if manifest.split_by == "group":
        _check_groups(manifest, {asset: entry.group for asset, entry in by_asset.items()})
    for term in manifest.held_out:
        _check_held_out(manifest, term)


def check_rows(shards: Mapping[str, Sequence[Path]], name: str) -> None:
    """Compare the content of shards between splits.

    Args:
        shards: split -> its shards.
        name: the artifact's, for the error.

    Raises:
        Leak: a trajectory (or a whole array) stands in two splits.
    """
    seen: dict[bytes, tuple[str, str]] = {}
    for split, paths in shards.items():
        for path in paths:
            for place, digest in _digests(path):
                where, what = seen.setdefault(digest, (split, f"{path.stem}/{place}"))
                if where != split:
                    _refuse(name, where, split, [f"{what} = {path.stem}/{place}"])


def holds(group: str, term: str) -> bool:
    """Whether a group is meant by a term: all its words are words of the group, as `eps=0.03` of `burgers eps=0.03`."""
    return set(term.split()) <= set(group.split())


def _check_groups(manifest: Manifest, groups: Mapping[str, str]) -> None:
    """Groups are never divided where the split is by group."""
    per_split = {name: {groups[asset] for asset in ids} for name, ids in manifest.splits.items()}
    for one, two in combinations(per_split, 2):
        _refuse(manifest.name, one, two, sorted(f"group {group}" for group in per_split[one] & per_split[two]))


def _check_held_out(manifest: Manifest, term: str) -> None:
    """What is held out is in the test split, and there alone."""
    meant = {entry.asset for entry in manifest.files if entry.asset and holds(entry.group, term)}
    if not meant:
        known = ", ".join(sorted({entry.group for entry in manifest.files if entry.group}))
        raise RegistryError(f"{manifest.name}: held out is {term!r}, which is no group of the data (known: {known})")
    for name, ids in manifest.splits.items():
        found = sorted(meant & set(ids))
        if found and name != "test":
            raise Leak(
                f"{manifest.name}: {term!r} is held out and stands in the split {name} ({', '.join(found[:SHOWN])}); "
                "name it in splits.test of the profile and convert again"
            )


def _refuse(name: str, one: str, two: str, shared: Sequence[str]) -> None:
    if shared:
        more = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
        raise Leak(
            f"{name}: {', '.join(shared[:SHOWN])}{more} in both {one} and {two}; "
            "mend splits (or take the double file away) and run 02_conversion again"
        )


def _digests(path: Path) -> Iterator[tuple[str, bytes]]:
    """Place and digest of everything in a shard that may not stand in two splits."""
    with h5py.File(path, "r", locking=False) as file:
        name = max(file, key=lambda key: (file[key].size * file[key].dtype.itemsize, key))
        array = file[name]
        by_row = name.rpartition("_")[2].startswith("N") and array.size >= LEAST * len(array)
        whole, alike = hashlib.blake2b(str(array.shape).encode(), digest_size=16), True
        for number in range(len(array)):
            row = np.ascontiguousarray(array[number])
            constant = bool((row == row.flat[0]).all()) if row.size else True
            alike = alike and constant
            if by_row and not constant:
                yield str(number), hashlib.blake2b(row.data, digest_size=16).digest()
            whole.update(row.data)
        if not by_row and not alike and array.size >= LEAST:
            yield name, whole.digest()
