"""What `make gpu` needs on a machine that has torch and no network: fetched here, installed there.

    python tests/gpu/wheels.py fetch .wheels 3.12      (where there is a network)
    python tests/gpu/wheels.py install .wheels FOLDER  (on the card's machine, with its own Python)

Decisions:
- What is needed is computed: the packages that the check imports, and what those require, in the versions of
  constraints.txt. `THERE` is left out: what machines with torch and CUDA usually have; pictures are not needed.
- A wheel whose package the machine has is not installed, so nothing there is shadowed by another version.
- Tree and wheels together stay below `MOST`, so that both can be handed over in one piece.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 64 << 20
# What the code imports on the way from 01 to 06, by the names of their packages.
NEEDED = """
fsspec h5py ipykernel ipywidgets jinja2 markupsafe matplotlib mistune nbclient nbformat nh3 numpy pandas papermill
psutil pyarrow pydantic pygments pyyaml requests rich scipy typer lxml mapbox_earcut numba pyproj scikit-image
connected-components-3d nibabel plotly pynrrd tifffile zarr
"""
# Beside torch on the machines that were looked at.
THERE = """
torch numpy scipy pandas matplotlib pillow h5py numba llvmlite pyarrow scikit-image lxml imageio tifffile fsspec
filelock networkx jinja2 markupsafe psutil pyyaml requests rich typer pygments tqdm packaging click certifi idna
urllib3 charset-normalizer python-dateutil six contourpy cycler fonttools kiwisolver pyparsing attrs aiohttp colorama
typing-extensions markdown-it-py mdurl shellingham annotated-doc lazy-loader multidict yarl frozenlist aiosignal
propcache aiohappyeyeballs sympy mpmath setuptools typing-inspection
"""
# Required by what is needed, for a person at a screen, and never imported here: debugger, completion, widgets' scripts.
NOT_USED = "debugpy jedi widgetsnbextension jupyterlab-widgets"
PLATFORMS = [f"manylinux_2_{number}_x86_64" for number in (28, 27, 24, 17, 12, 5)] + ["manylinux2014_x86_64"]


def canonical(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(names: Iterable[str], python: str) -> set[str]:
    """Packages and what they require, for that Python on Linux; read from what is installed here."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    there = {*THERE.split(), *NOT_USED.split()}
    ahead = [canonical(name) for name in names]
    facts = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": ""}
    while ahead:
        name = ahead.pop()
        if name in found or name in there:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(facts):
                ahead.append(canonical(requirement.name))
    return found


def pinned() -> dict[str, str]:
    """Package -> its version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {canonical(name): version for name, version in pairs}


def fetch(folder: Path, python: str) -> None:
    """Fill the folder with what is missing in it, and say how much tree and wheels are together."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = pinned()
    wanted = {f"{name}=={versions[name]}" for name in required(NEEDED.split(), python)}
    for old in folder.glob("*.whl"):
        if spec(old) not in wanted:
            old.unlink()
    missing = sorted(wanted - {spec(path) for path in folder.glob("*.whl")})
    if missing:
        words = [word for platform in PLATFORMS for word in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", python, "--implementation", "cp", *words, "--dest", str(folder), *missing]
        subprocess.run(command, check=True)
    told = weigh(folder)
    print(f"{len(wanted)} wheels for Python {python} in {folder.name}: {told['wheels'] / 2**20:.1f} MiB, ", end="")
    print(f"with the tree {sum(told.values()) / 2**20:.1f} of {MOST / 2**20:.0f} MiB")
    if sum(told.values()) > MOST:
        raise SystemExit("tree and wheels are too large to be handed over together")


def spec(wheel: Path) -> str:
    """`name==version` of a wheel's file name."""
    name, version = wheel.name.split("-")[:2]
    return f"{canonical(name)}=={version}"


def weigh(folder: Path) -> dict[str, int]:
    """Bytes of the wheels, and of all files that git knows or does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    tree = [ROOT / name for name in listed.stdout.splitlines()]
    return {
        "wheels": sum(path.stat().st_size for path in folder.glob("*.whl")),
        "tree": sum(path.stat().st_size for path in tree if path.is_file()),
    }


def install(folder: Path, target: Path) -> None:
    """Install those wheels whose package is not here into `target`, without a network."""
    here = {canonical(one.name) for one in metadata.distributions() if one.name}
    wheels = [path for path in sorted(folder.glob("*.whl")) if spec(path).partition("==")[0] not in here]
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        command += ["--disable-pip-version-check", "--no-warn-conflicts", "--target", str(target)]
        subprocess.run([*command, *map(str, wheels)], check=True)
    print(f"{len(wheels)} packages installed from {folder.name}", flush=True)


if __name__ == "__main__":
    action, place, last = sys.argv[1:4]
    fetch(Path(place), last) if action == "fetch" else install(Path(place), Path(last))
