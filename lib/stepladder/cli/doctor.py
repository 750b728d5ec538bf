"""`stepladder doctor`: is this machine ready, and what is it?

Each line is a `Check`: what was looked at, what was found, and what to do where it is not well. Limits are those of
this process (cgroup, affinity), not the host's, because those are what kills.
"""

import os
import platform
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from stepladder.core.paths import outputs_root
from stepladder.core.types import Check
from stepladder.machine import limits
from stepladder.view import render

LEAST_DISK_GB = 2.0
LEAST_MEMORY_GB = 4.0


def examine(root: Path) -> list[Check]:
    """Everything a run depends on, as checks; the first failing one is what to mend first."""
    return [_python(), _torch(root), _gpu(), _memory(), _disk(root), _writable(root), _graphics(), *_packages(root)]


def torch_replaced(constraints: Path) -> str | None:
    """Why the installed torch is not the one `constraints.txt` pins; None when it is.

    Another package may pull in a CUDA build of another version: several GB, and not what was tested.
    """
    pinned = re.search(r"^torch==([^\s;]+)", constraints.read_text(), re.MULTILINE)
    assert pinned, "constraints.txt pins no torch"
    found = version("torch").split("+")[0]
    return None if found == pinned[1] else f"torch {found} is installed, {pinned[1]} was tested"


def _python() -> Check:
    found = platform.python_version()
    return Check("python", tuple(map(int, found.split(".")[:2])) >= (3, 11), f"Python {found} on {platform.system()}")


def _torch(root: Path) -> Check:
    constraints = root / "constraints.txt"
    problem = torch_replaced(constraints) if constraints.exists() else None
    build = "CUDA " + torch.version.cuda if torch.version.cuda else "CPU build"
    advice = f": {problem}; reinstall with `pip install -c constraints.txt torch`" if problem else ""
    return Check(
        "torch", problem is None, f"torch {torch.__version__}, {build}, {torch.get_num_threads()} threads{advice}"
    )


def _gpu() -> Check:
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Check("gpu", True, f"{torch.cuda.get_device_name(0)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
        if done.returncode == 0 and "GPU" in done.stdout:
            return Check(
                "gpu", False, "a GPU is here, but torch is a CPU build: install the CUDA build of the same version"
            )
    return Check("gpu", True, "none; everything runs on the CPU")


def _memory() -> Check:
    limit = limits.memory_limit()
    return Check(
        "memory", limit >= LEAST_MEMORY_GB * 1e9, f"{limit / 1e9:.1f} GB for this process, {limits.cpus():.1f} CPUs"
    )


def _disk(root: Path) -> Check:
    place = next(p for p in (outputs_root(root), *outputs_root(root).parents) if p.exists())
    free = shutil.disk_usage(place).free
    return Check("disk", free > LEAST_DISK_GB * 1e9, f"{free / 1e9:.1f} GB free for outputs")


def _writable(root: Path) -> Check:
    place = outputs_root(root)
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Check(
            "outputs", False, f"cannot write to outputs ({error.strerror}): set STEPLADDER_OUTPUTS to a folder you own"
        )
    return Check("outputs", True, "writable")


def _graphics() -> Check:
    if render.renderer() == "vtk":
        return Check("graphics", True, f"VTK renders off screen ({os.environ['VTK_DEFAULT_OPENGL_WINDOW']})")
    return Check(
        "graphics", True, "VTK cannot render here (no EGL or OSMesa library): matplotlib draws the scenes instead"
    )


def _packages(root: Path) -> list[Check]:
    """Optional packages of every extra: what is missing and which extra brings it."""
    path = root / "pyproject.toml"
    extras = tomllib.loads(path.read_text())["project"]["optional-dependencies"] if path.exists() else {}
    checks = []
    for extra, wanted in extras.items():
        missing = [name for name in (re.split(r"[<>=\[; ]", line)[0] for line in wanted) if not _installed(name)]
        reason = (
            f"missing {', '.join(missing)}: pip install -c constraints.txt -e '.[{extra}]'" if missing else "installed"
        )
        checks.append(Check(f"extra {extra}", True, reason))
    return checks


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
