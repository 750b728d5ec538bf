"""Makes an environment on the box: `python3 -m stepladder.launch.making`, of the standard library alone.

    <folder>/env/<hash>/            the environment
                <hash>.json         written last: it is whole, and which packages it has
                <hash>.log          what the installer printed
                <hash>.lock         held while it is made

Decisions:
- It runs with the Python that is there before any package is: nothing but the standard library may be imported.
- Of two who want one environment, the second waits and finds it whole. A half-made one is thrown away and made anew.
- It goes on when nobody listens any more, so that a cut link costs no installation; but an installer that neither
  loads nor writes a byte for `STILL` seconds is ended.
- torch comes first and is then fixed by its whole version: no other package can replace it.
- The packages of the machine are seen by a path file, because an environment that is made from within an environment
  would see those of the Python below that. What fits our requirements there is neither asked for nor shadowed.
- An index may have a password in its address: it is given to the installer as a variable, never on its command line.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

STILL = 600.0  # seconds without a byte after which an installer is ended
PAUSE = 2.0  # seconds between two looks at how far it is
LAST_LINES = 15
QUERY = ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"]
CUDA = re.compile(r"CUDA(?: \w+)? Version\s*: *(\d+)\.(\d+)")


class Failed(Exception):
    """The environment could not be made; the text says why."""


def facts() -> dict[str, Any]:
    """What decides which packages fit this machine; `driver` and `cuda` are None where there is no card."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "driver": None, "cuda": None}
    cards = _output(QUERY).strip().splitlines()
    if cards:
        fields = [line.split(", ") for line in cards]
        version = CUDA.search(_output(["nvidia-smi"]))
        found |= {
            "driver": fields[0][0],
            "cuda": [int(version[1]), int(version[2])] if version else None,
            "capability": min(float(field[1]) for field in fields),
            "newest": max(float(field[1]) for field in fields),
        }
    return found


def _output(command: Sequence[str]) -> str:
    """What a command prints; nothing where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def make(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The environment that `spec` describes (see `environment.Spec`), made unless it is whole; its packages."""
    folder = Path(spec["folder"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    marker, log = folder.with_name(f"{folder.name}.json"), folder.with_name(f"{folder.name}.log")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            began = time.monotonic()
            with log.open("wb") as out:
                _fill(_Installer(folder, out, log, bool(spec["system_packages"])), spec)
            told = json.loads(_output([str(folder / "bin" / "python"), "-c", LISTING]) or "{}")
            if not told:
                raise Failed("the Python of the new environment does not run")
            part = marker.with_name(f"{marker.name}.part")
            part.write_text(json.dumps({**told, "seconds": round(time.monotonic() - began, 1)}))
            part.rename(marker)
        return json.loads(marker.read_text())


# What tells which packages a Python has; also asked of a Python that was there before.
LISTING = """
import json, platform, sys
from importlib import metadata
from pathlib import PurePath
found = {}
for one in metadata.distributions():
    if one.name:
        found.setdefault(one.name.lower().replace("_", "-").replace(".", "-"), one.version)
print(json.dumps({"python": platform.python_version(), "packages": dict(sorted(found.items()))}))
"""


class _Installer:
    """uv where it is there and can do what is asked, else venv and pip; both tell how far they are."""

    def __init__(self, folder: Path, out: Any, log: Path, system_packages: bool):
        self.folder, self.log, self.system_packages = folder, log, system_packages
        self._out, self._began = out, time.monotonic()
        self._uv = None if system_packages else shutil.which("uv")  # uv does not see a machine's packages
        self._spare = folder.with_name(f"{folder.name}.tmp")
        if self._uv:
            self._run([self._uv, "venv", "--python", sys.executable, str(folder)])
        else:
            self._run([sys.executable, "-m", "venv", str(folder)])
        if system_packages:
            self._see(_packages_of_the_machine())

    @property
    def _site(self) -> Path:
        return next((self.folder / "lib").glob("python*")) / "site-packages"

    def _see(self, folders: Iterable[str]) -> None:
        (self._site / "machine.pth").write_text("".join(f"{folder}\n" for folder in folders))

    def install(self, what: Sequence[str], constraints: Iterable[str], *options: str, index: str | None = None) -> None:
        """Install packages by name, under constraints; `index` is asked beside the machine's own."""
        if not what:
            return
        limits = self.folder / "constraints.txt"
        limits.write_text("".join(f"{line}\n" for line in constraints))
        python = str(self.folder / "bin" / "python")
        program = [self._uv, "pip", "install", "--python", python] if self._uv else [python, "-m", "pip", "install"]
        self._run([*program, "--constraint", str(limits), *options, *what], index)

    def _run(self, command: Sequence[str], index: str | None = None) -> None:
        """Run an installer to its end; `Failed` with the end of its log."""
        self._spare.mkdir(exist_ok=True)
        self._out.write(f"$ {' '.join(command)}\n".encode())
        self._out.flush()
        environment = _environment(self._spare, self.folder.parent / "cache", index)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._out, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            self._watch(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            shutil.rmtree(self._spare, ignore_errors=True)
        if process.returncode:
            raise Failed(f"{Path(command[0]).name} failed:\n{_tail(self.log)}")

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Tell how far an installer is until it ends; end it where it stands still."""
        size, moved = 0, time.monotonic()
        tell(bytes=size, seconds=round(moved - self._began, 1))
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PAUSE)
                return
            now = _size(self.folder, self._spare, self.folder.parent / "cache")
            if now != size:
                size, moved = now, time.monotonic()
                tell(bytes=size, seconds=round(time.monotonic() - self._began, 1))
            elif time.monotonic() - moved > STILL:
                raise Failed(f"the installer has moved no byte for {STILL / 60:.0f} minutes:\n{_tail(self.log)}")


def _fill(installer: _Installer, spec: Mapping[str, Any]) -> None:
    """Install everything."""
    requirements, constraints = list(spec["requirements"]), dict(spec["constraints"])
    names = list(spec["names"])
    if installer.system_packages:
        there = _fitting(requirements)
        requirements = [line for line in requirements if name_of(line) not in there]
        names = [name for name in names if name not in there]
        constraints |= there
    if spec["wheels"]:
        offline = ["--no-index", "--no-deps", "--find-links", spec["wheels"]]
        installer.install(names, _lines(constraints), *offline)
        return
    torch = [line for line in requirements if name_of(line) == "torch"]
    if torch:
        installer.install(torch, _lines(constraints), index=spec["index"])
        listed = json.loads(_output([str(installer.folder / "bin" / "python"), "-c", LISTING]))
        constraints["torch"] = came = listed["packages"]["torch"]
        if spec["build"] and came.partition("+")[2] != spec["build"]:  # the resolver fell back to another one
            raise Failed(f"torch {came} came instead of the build {spec['build']}:\n{_tail(installer.log)}")
    installer.install([line for line in requirements if line not in torch], _lines(constraints))


def _lines(constraints: Mapping[str, str]) -> list[str]:
    return [f"{name}=={version}" for name, version in constraints.items()]


def _packages_of_the_machine() -> list[str]:
    """Folders in which this Python finds packages."""
    own = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [folder for folder in [*own, *site.getsitepackages()] if Path(folder).is_dir()]


def _fitting(requirements: Iterable[str]) -> dict[str, str]:
    """Packages of the machine with their versions, but for those that do not meet our requirements.

    The machine's torch always counts: it belongs to the driver, and whether we can work with it, the smoke test says.
    """
    from pip._vendor.packaging.requirements import Requirement  # there with every pip

    found = {canonical(one.name): one.version for one in metadata.distributions() if one.name}
    for asked in map(Requirement, requirements):
        name = canonical(asked.name)
        if name != "torch" and name in found and not asked.specifier.contains(found[name], prereleases=True):
            del found[name]
    return found


def canonical(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement: str) -> str:
    """The package that a requirement asks for."""
    return canonical(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0])


def _environment(spare: Path, cache: Path, index: str | None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own |= {"TMPDIR": str(spare), "UV_CACHE_DIR": str(cache), "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if index:
        own |= {"PIP_EXTRA_INDEX_URL": index, "UV_INDEX": index, "UV_INDEX_STRATEGY": "unsafe-best-match"}
    return own


def _size(*folders: Path) -> int:
    """Bytes in some folders."""
    total, ahead = 0, [str(folder) for folder in folders]
    while ahead:
        with suppress(OSError):
            for entry in os.scandir(ahead.pop()):
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        ahead.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])


def tell(**said: Any) -> None:
    """A line of JSON to whoever listens, if anybody does."""
    with suppress(OSError, ValueError):
        print(json.dumps(said), flush=True)


def main() -> None:
    """Tell the facts of this machine, or make what standard input describes."""
    if sys.argv[1:] == ["facts"]:
        tell(**facts())
        return
    try:
        tell(made=make(json.loads(sys.stdin.readline())))
    except (Failed, OSError) as error:
        tell(failed=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
