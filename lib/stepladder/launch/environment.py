"""The Python that a job runs with on its machine: one that is there, or an environment made for it; then tried out.

    <folder>/env/<hash>/     an environment that was made (see `making`, which runs there)
    <folder>/wheels/<hash>/  wheels that were sent along

Decisions:
- An environment is known by what it is made of: requirements, constraints, wheels, Python and build of torch. So one
  that is there is used again, and whatever changes is another one.
- The build of torch follows the driver, never the other way round: a rented machine's driver cannot be changed. CUDA 12
  builds want a driver of 525 or later, CUDA 13 builds of 580 or later and a card of compute capability 7.5 or more;
  cards of 10.0 and more are not in the CUDA 12 build. Without an index of ours, pip brings the CUDA 13 build.
- Wheels that are sent along are installed as they are, without a resolver and a network; what is missing among them,
  the smoke test names.
- What a job records is a hash of the packages that are really there, whoever put them there.
- Smoke-tested before data moves: torch, stepladder and the study are imported, and one step is trained.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepladder.core import files, study
from stepladder.core.config import ParameterError, nearest
from stepladder.core.files import Json
from stepladder.core.units import readable
from stepladder.launch import code, making
from stepladder.launch.hosts import CommandFailed, Host, HostError
from stepladder.launch.targets import Target

LEAST = (3, 11)  # Python
DRIVERS = {12: 525, 13: 580}  # CUDA's major version -> the first driver that speaks it
OLD_CARD, NEW_CARD = 7.5, 10.0  # compute capability: below, no CUDA 13 build; from there on, no CUDA 12 build
USUAL = ("cpu", "cu130")  # builds that work with what pip brings where it is not told of an index
SMOKE_SECONDS = 300.0
Report = Callable[[str], None]  # takes a sentence that tells how far it is


@dataclass(frozen=True)
class Environment:
    """A Python on a machine that can run a job.

    Attributes:
        python: its path there.
        hash: of its version and of all packages it sees.
        torch: version of torch.
        seconds: that making it took, when it was made.
    """

    python: str
    hash: str
    torch: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What an environment is made of, as the project says.

    Attributes:
        requirements: as pip reads them.
        constraints: package -> the version that was tested.
        wheels: wheels that are sent along; their place is looked at by content.
    """

    requirements: tuple[str, ...]
    constraints: dict[str, str]
    wheels: tuple[Path, ...] = ()

    @property
    def names(self) -> list[str]:
        """Packages that the wheels bring."""
        return sorted({making.canonical(path.name.split("-")[0]) for path in self.wheels})

    @property
    def wheels_hash(self) -> str:
        """Of names and content of the wheels."""
        return files.fingerprint([[path.name, files.file_sha256(path)] for path in self.wheels])


def needs(root: Path, target: Target, name: str, tree: Path | None = None) -> Needs:
    """What the study called `name` needs on a target; `ParameterError` for what cannot be had.

    Args:
        root: the project.
        target: whose extras and wheels; a relative folder of wheels is one of the project.
        name: the study.
        tree: the code that is sent, where it is another than the project's (see `Code.keep`).
    """
    tree = tree or root
    try:
        project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError) as error:
        raise ParameterError(f"pyproject.toml does not say what is needed ({error!r})") from None
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    if unknown := [extra for extra in target.extras if extra not in extras]:
        raise ParameterError(f"extras: no extra {unknown[0]!r} in pyproject.toml{nearest(unknown[0], extras)}")
    if name not in study.names():
        raise ParameterError(f"no study {name!r}{nearest(name, study.names())}")
    asked = [*project["dependencies"], *extras.get(name, []), *(line for e in target.extras for line in extras[e])]
    return Needs(tuple(dict.fromkeys(asked)), _constraints(tree / "constraints.txt"), _wheels(root, target))


def index(target: Target) -> str | None:
    """The address of the package index for torch, `{build}` still in it; None where the target names none.

    Raises:
        ParameterError: the variable is not set.
    """
    if target.index is None or target.wheels or target.python:
        return None
    if not os.environ.get(target.index):
        raise ParameterError(f"index: the environment variable {target.index} is not set, or empty")
    return os.environ[target.index]


def build(found: Json) -> str:
    """The build of torch that fits a machine (see `making.facts`): `cpu`, `cu126` or `cu130`; else `ParameterError`."""
    if found.get("driver") is None:
        return "cpu"
    number = int(re.split(r"\D", found["driver"])[0] or 0)
    speaks = found["cuda"][0] if found.get("cuda") else max((v for v, d in DRIVERS.items() if number >= d), default=0)
    if speaks >= 13 and found["capability"] >= OLD_CARD:
        return "cu130"
    if speaks >= 12 and found["newest"] < NEW_CARD:
        return "cu126"
    least = DRIVERS[13 if found["newest"] >= NEW_CARD else 12]
    raise ParameterError(f"its driver {found['driver']} is too old for torch: the card there wants {least} or later")


def prepare(host: Host, target: Target, wanted: Needs, place: str, report: Report = lambda said: None) -> Environment:
    """The Python for a job on a machine, made if need be; it is not tried out yet.

    Args:
        host: the machine, which has the code.
        target: says which Python.
        wanted: what is needed (see `needs`).
        place: the code there (see `Code.send`).
        report: told how far it is.

    Raises:
        HostError: it cannot be had there; the end of the installer's log is in the text.
        ParameterError: the target or the project asks for what there is not.
    """
    python = _expanded(host, target.python or target.base_python)
    version = _version(host, python, "python" if target.python else "base_python")
    if target.python:
        listed = json.loads(host.call([python, "-c", making.LISTING]))
        return _environment(python, listed)
    spec = _spec(host, target, wanted, json.loads(_there(host, python, place, "facts")), version)
    if wanted.wheels:
        report(f"sending {len(wanted.wheels)} wheels, {readable(sum(p.stat().st_size for p in wanted.wheels))}")
        host.push(wanted.wheels[0].parent, [path.name for path in wanted.wheels], spec["wheels"])
    return _environment(f"{spec['folder']}/bin/python", _make(host, python, place, spec, report))


def try_out(host: Host, environment: Environment, place: str, name: str) -> Json:
    """Import torch, stepladder and the study there and train one small step; what was seen: torch, device, seconds.

    Raises:
        HostError: it does not work; says what failed.
    """
    try:
        told = host.call(
            code.command(environment.python, place, "stepladder.launch.smoke", name), timeout=SMOKE_SECONDS
        )
    except CommandFailed as error:
        last = "\n".join(error.stderr.splitlines()[-5:])
        raise HostError(f"{host.name}: the smoke test of {environment.python} failed:\n{last}") from None
    return json.loads(told.splitlines()[-1])


def _spec(host: Host, target: Target, wanted: Needs, found: Json, version: str) -> Json:
    """What `making.make` is told."""
    try:
        fitting = build(found)
    except ParameterError as error:
        raise HostError(f"{host.name}: {error}") from None
    address = index(target)
    if not (address or wanted.wheels or target.system_packages or fitting in USUAL):
        raise ParameterError(
            f"{host.name}: its driver {found['driver']} wants the build {fitting} of torch, and pip brings another: "
            "name an environment variable with the address of an index as `index` of the target"
        )
    made_of = {
        "requirements": list(wanted.requirements),
        "constraints": wanted.constraints,
        "names": wanted.names,
        "system_packages": target.system_packages,
    }
    wheels = f"{host.folder}/wheels/{wanted.wheels_hash}" if wanted.wheels else None
    key = [made_of, wheels, fitting, bool(address), version, found["machine"]]
    return {
        **made_of,
        "wheels": wheels,
        "index": address and address.replace("{build}", fitting),
        "build": fitting if address and "{build}" in address else None,
        "folder": f"{host.folder}/env/{files.fingerprint(key)}",
    }


def _make(host: Host, python: str, place: str, spec: Json, report: Report) -> Json:
    """Have an environment made there; what it then has."""
    process = host.open(code.command(python, place, "stepladder.launch.making"))
    assert process.stdin and process.stdout
    with process, process.stdout as lines:
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.close()
        for line in lines:
            said = json.loads(line)
            if "made" in said:
                return said["made"]
            if "failed" in said:
                log = f"{spec['folder']}.log"
                raise HostError(f"{host.name}: no environment could be made ({log} there): {said['failed']}")
            report(f"installing packages: {readable(said['bytes'])} after {said['seconds']:.0f} s")
    raise HostError(f"{host.name}: the installer ended without a word (exit code {process.returncode})")


def _environment(python: str, listed: Json) -> Environment:
    versions = [listed["python"], listed["packages"]]
    torch = listed["packages"].get("torch", "none")
    return Environment(python, files.fingerprint(versions), torch, listed.get("seconds", 0.0))


def _there(host: Host, python: str, place: str, *arguments: str) -> str:
    return host.call(code.command(python, place, "stepladder.launch.making", *arguments))


def _version(host: Host, python: str, field: str) -> str:
    """The version of a Python there, which must be new enough."""
    try:
        told = host.call(["env", python, "-c", "import sys; print(*sys.version_info[:3])"])
    except CommandFailed as error:
        raise HostError(
            f"{host.name}: {python} does not run ({error.stderr}): set `{field}` of the target, or install it there"
        ) from None
    version = tuple(map(int, told.split()))
    shown = ".".join(map(str, version))
    if version < LEAST:
        least = ".".join(map(str, LEAST))
        raise HostError(f"{host.name}: {python} is Python {shown}, not {least} or later: set `{field}` of the target")
    return shown


def _expanded(host: Host, path: str) -> str:
    """A path there whose `~/` is what it is there."""
    if not path.startswith("~/"):
        return path
    return host.call(["sh", "-c", 'printf %s "$HOME"']) + path[1:]


def _constraints(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {making.canonical(name): version for name, _, version in _pairs(lines)}


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return (line.split(";")[0].strip().partition("==") for line in lines if "==" in line and line[0] != "#")


def _wheels(root: Path, target: Target) -> tuple[Path, ...]:
    """The wheels of a target's folder, which is one of the project where it is relative."""
    if target.wheels is None:
        return ()
    found = tuple(sorted((root / Path(target.wheels).expanduser()).glob("*.whl")))
    if not found:
        raise ParameterError(f"wheels: there is no wheel in {target.wheels}")
    return found
