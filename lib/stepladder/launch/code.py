"""The exact code that a job runs: what git knows or would know of the project, by content; kept here, then sent.

    outputs/<study>/<run>/launch/code/<hash>/      the tree as it was when the job was launched
                                      code.json    its names, its hash
    on the box, <folder>/code/<hash>/              the same
                <folder>/code/<hash>.whole         written last: it is complete

Decisions:
- Shipped is what `git ls-files -co --exclude-standard` lists: uncommitted work goes along, ignored files do not. Links
  go as links. Outputs never go, whatever git is told of them.
- A tree is known by its content, so the same one is not sent twice, and a half one is gone on with.
- A job keeps a copy of its tree: on its next machine, days later, it runs the code that it was launched with.
- Refused before anything is paid: files that hold keys by their name, and texts with tokens or with the value of a
  secret variable. What only looks like a password beside its name is not refused, for tests and documents show such.
"""

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from stepladder.core import files, secrets
from stepladder.core.config import ParameterError
from stepladder.core.paths import outputs_root
from stepladder.core.secret_kinds import TOKENS
from stepladder.core.units import counted, readable
from stepladder.launch.hosts import CommandFailed, Host
from stepladder.registry.secrecy import HEAD, KEY_FILES

FOLDER = "code"
MANY = 10_000  # files from which a person is warned: most of them are hardly code
SHOWN = 5  # names in a sentence
LOOKED_AT = 1 << 20  # bytes of a text in which secrets are looked for
EXAMPLES = ("*.example", "*.sample", "*.template", "*.dist")  # a `.env.example` is there to be read
KEPT = "launch/code"  # of a run: the code that it was launched with
CERTAIN = {*(kind.name for kind in TOKENS), "private key"}


@dataclass(frozen=True)
class Code:
    """A tree of code.

    Attributes:
        root: where it lies.
        names: of its files, relative to it, sorted.
        bytes: of all files together.
        hash: of names, content, links and executable bits.
        left_out: what git knows of and is not sent: submodules and other repositories inside.
        astray: links that lead out of the tree, and so to nowhere on another machine.
    """

    root: Path
    names: tuple[str, ...]
    bytes: int
    hash: str
    left_out: tuple[str, ...] = ()
    astray: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`728 files, 4.6 MB`."""
        return f"{counted(len(self.names), 'file')}, {readable(self.bytes)}"

    @property
    def warnings(self) -> list[str]:
        """What a person should know before it is sent, in sentences."""
        told = {
            f"{counted(len(self.names), 'file')} of code: is something missing in .gitignore?": len(self.names) > MANY,
            f"not sent, repositories of their own: {_some(self.left_out)}": self.left_out,
            f"links that lead out of the project lead nowhere there: {_some(self.astray)}": self.astray,
        }
        return [sentence for sentence, holds in told.items() if holds]

    def there(self, host: Host) -> str:
        """Where it lies on a machine once it was sent."""
        return f"{host.folder}/{FOLDER}/{self.hash}"

    def send(self, host: Host) -> str:
        """Bring it to a machine, unless it is there; its folder there."""
        place = self.there(host)
        try:
            host.call(["test", "-e", f"{place}.whole"])
        except CommandFailed:
            host.push(self.root, self.names, place)
            self._check_unchanged()
            host.call(["touch", f"{place}.whole"])
        return place

    def keep(self, folder: Path) -> "Code":
        """A copy below `folder` that nobody edits, which `kept` finds again; what was kept there before goes."""
        tree = folder / self.hash
        shutil.rmtree(folder, ignore_errors=True)
        for name in self.names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / name, tree / name, follow_symlinks=False)
        copy = Code(tree, self.names, self.bytes, self.hash, self.left_out, self.astray)
        copy._check_unchanged()
        names = [os.fsencode(name).hex() for name in self.names]  # a name may hold what no text can
        files.write_json(folder / "code.json", {"hash": self.hash, "names": names})
        return copy

    def _check_unchanged(self) -> None:
        if _hashed(self.root, self.names) != (self.hash, self.bytes):
            raise ParameterError("files of the project were changed while they were read: launch again")


def kept(folder: Path) -> Code | None:
    """The tree that `Code.keep` left in `folder`; None where none is, or no whole one."""
    found = files.read_object(folder / "code.json")
    if found is None:
        return None
    names = tuple(os.fsdecode(bytes.fromhex(name)) for name in found["names"])
    root = folder / found["hash"]
    try:
        digest, size = _hashed(root, names)
    except OSError:
        return None
    return Code(root, names, size, digest) if digest == found["hash"] else None


def look(root: Path) -> Code:
    """The project's code as it is now.

    Raises:
        ParameterError: there is no git, or the project is in no repository.
    """
    outputs = _inside(outputs_root(root), root)
    names: list[str] = []
    left_out: list[str] = []
    for name in sorted(set(_listed(root))):
        if name.startswith("outputs/") or (outputs and name.startswith(f"{outputs}/")):
            continue
        path = root / name
        if path.is_symlink() or path.is_file():
            names.append(name)
        elif path.is_dir():
            left_out.append(name.rstrip("/"))
    astray = [name for name in names if (root / name).is_symlink() and not _inside((root / name).resolve(), root)]
    digest, size = _hashed(root, names)
    return Code(root, tuple(names), size, digest, tuple(left_out), tuple(astray))


def secrets_in(code: Code) -> list[str]:
    """Files that must not go to a machine of somebody else, each with what it holds, never the secret itself."""
    found = [(name, _flaw(code.root / name)) for name in code.names]
    return [f"{name}: {flaw}" for name, flaw in found if flaw]


def command(python: str, place: str, module: str, *arguments: str) -> list[str]:
    """The command by which a machine runs a module of the code in the folder `place` there, with that Python."""
    variables = [f"PYTHONPATH={place}/lib", f"STEPLADDER_ROOT={place}"]
    return ["env", "-C", place, *variables, python, "-m", module, *arguments]


def _listed(root: Path) -> Iterator[str]:
    """What git lists; a folder's name ends in a slash, a submodule's does not."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    way_out = "the code that is sent is what git lists: `git init` in it, and name in .gitignore what is no code"
    try:
        done = subprocess.run(git, cwd=root, capture_output=True)
    except FileNotFoundError:
        raise ParameterError(f"git is not installed: {way_out.partition(':')[0]}") from None
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["it failed"])[0]
        raise ParameterError(f"git cannot list {root} ({said}): {way_out}")
    return (os.fsdecode(name) for name in done.stdout.split(b"\0") if name)


def _hashed(root: Path, names: Sequence[str]) -> tuple[str, int]:
    """Short hash of a tree, and its bytes."""
    whole, size = hashlib.sha256(), 0
    for name in names:
        path = root / name
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            kind, content = b"link", hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
        else:
            kind = b"program" if status.st_mode & stat.S_IXUSR else b"file"
            content = files.file_sha256(path)
        size += status.st_size
        whole.update(b"\0".join((os.fsencode(name), kind, content.encode(), b"")))
    return whole.hexdigest()[:16], size


def _flaw(path: Path) -> str:
    """What a file would give away; empty where nothing."""
    keys = any(fnmatch(path.name, pattern) for pattern in KEY_FILES)
    if keys and not any(fnmatch(path.name, pattern) for pattern in EXAMPLES):
        return "its name says that it holds keys"
    if path.is_symlink():
        return ""
    with path.open("rb") as file:
        data = file.read(LOOKED_AT)
    if b"\0" in data[:HEAD]:
        return ""
    kinds = secrets.find(data.decode("utf-8", errors="replace"), os.environ)
    certain = [kind for kind in kinds if kind in CERTAIN or kind.startswith("value of")]
    return f"it holds a secret ({', '.join(certain)})" if certain else ""


def _inside(path: Path, root: Path) -> str:
    """The path of a file relative to a folder that it is in; empty where it is not."""
    path, root = Path(os.path.abspath(path)), root.resolve()
    for base in (root, Path(os.path.abspath(root))):
        if path != base and path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
