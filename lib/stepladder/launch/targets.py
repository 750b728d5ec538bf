"""Where a job may run: `params/targets.yaml`, checked.

Decisions:
- A target is one kind of place with one or several machines that stand in for each other, best first.
- Secrets are never in the file: only names of environment variables are (`secrets`, `index`).
- What the file leaves out is a person's own machine: free, never interrupted, left as it is at the end.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field

from stepladder.core.config import ParameterError, check, nearest, read_yaml
from stepladder.core.schema import Section

LOCAL = "local"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # TARGET/HOST names a machine
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")  # what neither ssh nor rsync takes for something else


class Target(Section):
    """A place for jobs."""

    kind: Literal["local", "ssh"] = Field("ssh", description="local: this machine; ssh: hosts of ~/.ssh/config")
    hosts: list[str] = Field([], description="names of hosts as ssh knows them, best first (kind: ssh)")
    folder: str = Field(
        ".stepladder",
        pattern=r"^[\w./-]+$",
        description="folder on the machine, from the home folder where it is relative",
    )
    python: str | None = Field(
        None, description="a Python there that has the packages already; null: an environment is made"
    )
    base_python: str = Field("python3", description="Python (3.11 or later) that an environment is made with")
    system_packages: bool = Field(False, description="an environment that is made sees the packages of base_python")
    wheels: str | None = Field(None, description="folder of wheels here, sent along: installed without a network there")
    index: str | None = Field(
        None,
        description="name of the environment variable that holds the package index's address for torch; "
        "{build} in it becomes cu126, cu130 or cpu, as the driver there wants",
    )
    extras: list[str] = Field([], description="extras to install beside the study's own")
    gpu: str | None = Field(None, description="the card that was promised, as in params/gpu_prices.yaml; null: any")
    dollars_per_hour: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="price of one machine, in dollars per hour"
    )
    dollars_per_gb: float = Field(0.0, ge=0, description="price of traffic, in dollars per GB, either way")
    disk_dollars_per_hour: float = Field(0.0, ge=0, description="price of its disk, in dollars per hour, also stopped")
    interruption_hours: float | None = Field(None, gt=0, description="mean hours until it is taken away; null: never")
    hours: float | None = Field(None, gt=0, description="most hours of a job, where the command says nothing")
    budget: float | None = Field(None, gt=0, description="most dollars of a job, where the command says nothing")
    on_end: Literal["keep", "poweroff"] = Field("keep", description="what becomes of the machine when a job has ended")
    fetch_minutes: float = Field(
        30.0, gt=0, description="minutes that it waits to be fetched from before it powers off"
    )
    lost_minutes: float = Field(3.0, gt=0, description="minutes without an answer after which the machine is lost")
    secrets: list[str] = Field([], description="names of environment variables that a job gets")
    matmul_share: float = Field(
        0.3, ge=0, le=1, description="share of the data sheet's rate that a matrix product must reach there"
    )


class Targets(Section):
    """The file."""

    targets: dict[str, Target] = Field({}, description="name -> target")


def read_targets(root: Path) -> dict[str, Target]:
    """All targets by name, `local` among them; `ParameterError` naming what cannot be used."""
    path = root / "params" / "targets.yaml"
    found: dict[str, Target] = {LOCAL: check(Target, {"kind": LOCAL})}
    for name, values in _named(path) if path.exists() else ():
        try:
            if not NAME.fullmatch(str(name)) or name == LOCAL:
                raise ParameterError(f"letters, digits and `_.-` make a name, and `{LOCAL}` is this machine")
            found[str(name)] = _sound(check(Target, values or {}))
        except ParameterError as error:
            raise ParameterError(f"target {name!r} in params/targets.yaml: {error}") from None
    return found


def target(root: Path, name: str) -> Target:
    """The target called `name`; `ParameterError` with the nearest name."""
    known = read_targets(root)
    if name not in known:
        raise ParameterError(
            f"no target {name!r}{nearest(name, known)}: params/targets.yaml names them, and `{LOCAL}` is this machine"
        )
    return known[name]


def _named(path: Path) -> Iterable[tuple[Any, Any]]:
    """What stands under `targets`, by name."""
    read = read_yaml(path)
    for key in read.keys() - Targets.model_fields.keys():
        raise ParameterError(f"params/targets.yaml: unknown {key!r}{nearest(str(key), Targets.model_fields)}")
    named = read.get("targets") or {}
    if not isinstance(named, dict):
        raise ParameterError(f"targets in params/targets.yaml are no names with what belongs to them, but {named!r}")
    return cast(dict[Any, Any], named).items()


def _sound(target: Target) -> Target:
    if target.kind == "ssh" and not target.hosts:
        raise ParameterError("hosts is empty: name at least one host of ~/.ssh/config")
    for host in target.hosts:
        if not HOST.fullmatch(host):
            raise ParameterError(f"hosts: {host!r} is no name of a host")
    for name in (*target.secrets, *([target.index] if target.index else [])):
        if not VARIABLE.fullmatch(name):
            raise ParameterError(
                f"{name!r} is no name of an environment variable: secrets themselves are never written"
            )
    return target
