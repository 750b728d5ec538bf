"""Results made aside: a stage under way writes to a folder of its own, which takes the old result's place at its end.

So looking destroys nothing, and neither does a death: what was half made is cleared by the next who begins the stage.
"""

import shutil
from pathlib import Path

from stepladder.core import files
from stepladder.core.errors import Damaged
from stepladder.machine import processes

PREFIX = ".aside"
OWNER = "owner.json"


def make(folder: Path) -> Path:
    """An empty folder in `folder` for what this process makes; those of processes that died here are removed."""
    for old in folder.glob(f"{PREFIX}-*"):
        if _is_left(old / OWNER):
            shutil.rmtree(old, ignore_errors=True)
    me = processes.identity()
    own = folder / f"{PREFIX}-{me['pid']}-{me['started']}"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    files.write_json(own / OWNER, me)
    return own


def take_place(made: Path, folder: Path, old: list[str]) -> list[str]:
    """Move what was made to `folder`, in place of the entries `old` that the last result left there; its names."""
    names = sorted(path.name for path in made.iterdir() if path.name != OWNER)
    for name in {*names, *old}:
        place = folder / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    for name in names:
        (made / name).rename(folder / name)
    shutil.rmtree(made)
    return names


def _is_left(owner: Path) -> bool:
    """Whether a folder's owner is dead or was never written whole."""
    try:
        process = files.read_object(owner)
    except Damaged:
        return True
    return process is None or (processes.is_here(process) and not processes.is_alive(process))
