"""Published files, one by one: `python -m stepladder.studies.pde.data.download 'burgers Nu=0.01' <folder>`.

A file is gathered beside its place, so a cut or a kill loses nothing that came and the next call goes on from there;
it takes its name only when its MD5 is the published one. Faults of the network are met by the road's downloader.
"""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from stepladder.data.fetch import FetchError, Patience
from stepladder.data.fetch.remote import open_bytes
from stepladder.studies.pde.data import catalogue

BLOCK = 1 << 20


def download(
    url: str,
    path: Path,
    size: int,
    md5: str,
    patience: Patience = Patience(),  # noqa: B008
) -> Path:
    """Bring one file to `path`, which it returns; does nothing where it is there with the right size.

    Raises:
        FetchError: the disk is too small, the server has a file of another size, or the MD5 is another one (what came
            is then deleted).
        Unreachable: the server gave no new byte; call again to go on.
    """
    if path.exists() and path.stat().st_size == size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(path.parent).free
    if size - have > free:
        raise FetchError(f"{path.name}: {(size - have) / 1e9:,.1f} GB to come, {free / 1e9:,.1f} GB free; make room")
    file = open_bytes(url, patience)
    if file.identity.size is not None and file.identity.size != size:
        raise FetchError(
            f"{path.name}: the server has {file.identity.size} bytes, {size} were published; look at {url}"
        )
    with part.open("ab") as gathered:
        for chunk in file.stream(have, size):
            gathered.write(chunk)
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise FetchError(f"{path.name}: MD5 is {found}, published is {md5}; what came was deleted, fetch it again")
    return part.rename(path)


def download_group(group: str, folder: Path, say: Callable[[str], None] = print) -> list[Path]:
    """Bring all files of a catalogue group to `folder`; the errors of `download` and `catalogue.addresses`."""
    paths = []
    for row in catalogue.addresses(group).itertuples():
        say(f"{row.path}: {row.bytes / 1e9:,.2f} GB")
        paths.append(download(row.url, Path(folder) / Path(row.path).name, row.bytes, row.md5))
    return paths


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    download_group(sys.argv[1], Path(sys.argv[2]))
