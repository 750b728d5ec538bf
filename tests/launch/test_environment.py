"""Environments are made for real, of wheels that are written here: no network, no registry."""

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.core.config import ParameterError
from stepladder.launch import environment, making
from stepladder.launch.environment import Needs
from stepladder.launch.hosts import HostError, LocalHost
from stepladder.launch.targets import Target

ROOT = Path(__file__).parents[2]
TREE = str(ROOT)
INDEX = "LAUNCH_TEST_INDEX"


def wheel(folder: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = (), tag: str = "py3") -> Path:
    """A wheel with one module, as pip takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {line}\n" for line in requires)
    contents = {
        f"{name}/__init__.py": f"__version__ = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}-none-any\n",
    }
    record = [f"{info}/RECORD,,"]
    for place, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{place},sha256={digest},{len(text)}")
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in {**contents, f"{info}/RECORD": "\n".join(record)}.items():
            archive.writestr(place, text)
    return path


def shelf(folder: Path, *wheels: Path) -> str:
    """The address of a package index that holds these wheels."""
    for path in wheels:
        place = folder / path.name.split("-")[0]
        place.mkdir(parents=True, exist_ok=True)
        (place / path.name).write_bytes(path.read_bytes())
        links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in sorted(place.glob("*.whl")))
        (place / "index.html").write_text(links)
    return folder.as_uri()


def sees(python: str, *modules: str) -> str:
    """What a Python says of modules; the error where it has one not."""
    asked = ["-c", f"import {', '.join(modules)}; print({', '.join(m + '.__version__' for m in modules)})"]
    done = subprocess.run([python, *asked], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.fixture(autouse=True)
def no_settings_of_pip(monkeypatch):
    """What this machine tells pip is not of these tests."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def host(tmp_path):
    return LocalHost("here/one", tmp_path / "box")


@pytest.fixture
def wheels(tmp_path) -> Needs:
    folder = tmp_path / "wheels"
    return Needs(("tiny_one>=1",), {"tiny-one": "1.0"}, (wheel(folder, "tiny_one"), wheel(folder, "tiny_two", "2.0")))


def target(**fields) -> Target:
    return Target.model_validate({"hosts": ["one"], **fields})


# What is needed ------------------------------------------------------------------------------------------------------


def test_needed_are_the_base_packages_the_study_and_the_extras_of_the_target():
    plain = environment.needs(ROOT, target(), "pde")
    study = environment.needs(ROOT, target(extras=["s3"]), "plateau")
    assert plain.constraints["torch"].startswith("2.") and any(line.startswith("torch") for line in plain.requirements)
    more = set(study.requirements) - set(plain.requirements)
    assert {"numba", "s3fs"} <= {making.name_of(line) for line in more}


def test_what_cannot_be_had_is_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="did you mean 's3'"):
        environment.needs(ROOT, target(extras=["s33"]), "pde")
    with pytest.raises(ParameterError, match="no study 'pda'"):
        environment.needs(ROOT, target(), "pda")
    with pytest.raises(ParameterError, match="no wheel in"):
        environment.needs(ROOT, target(wheels=str(tmp_path)), "pde")
    monkeypatch.delenv(INDEX, raising=False)
    with pytest.raises(ParameterError, match=f"{INDEX} is not set"):
        environment.index(target(index=INDEX))


@pytest.mark.parametrize(
    ("driver", "cuda", "capability", "expected"),
    [
        (None, None, 0.0, "cpu"),
        ("580.95.05", [13, 0], 8.9, "cu130"),
        ("595.10", [13, 2], 12.0, "cu130"),
        ("560.35.03", [12, 6], 8.9, "cu126"),
        ("535.104", [12, 2], 9.0, "cu126"),
        ("580.95.05", [13, 0], 7.0, "cu126"),  # a V100: CUDA 13 left it out
        ("570.86", None, 8.0, "cu126"),  # the tool does not tell
        ("590.1", None, 8.0, "cu130"),
    ],
)
def test_the_build_of_torch_follows_driver_and_card(driver, cuda, capability, expected):
    found = {"driver": driver, "cuda": cuda, "capability": capability, "newest": capability}
    assert environment.build(found) == expected


@pytest.mark.parametrize(("driver", "cuda", "capability", "least"), [
    ("470.82", [11, 4], 8.0, "525"),
    ("570.86", [12, 8], 12.0, "580"),  # a card that only CUDA 13 builds know
])  # fmt: skip
def test_a_driver_that_no_build_fits_makes_a_bad_box(driver, cuda, capability, least):
    with pytest.raises(ParameterError, match=f"{driver} is too old.*{least} or later"):
        environment.build({"driver": driver, "cuda": cuda, "capability": capability, "newest": capability})


def smi(folder: Path, monkeypatch, version: str) -> None:
    """A stand-in for the driver's tool, first on the path."""
    folder.mkdir()
    script = f'#!/bin/sh\ncase "$1" in --query*) echo "550.54, 8.9";; *) echo "| {version} |";; esac\n'
    (folder / "nvidia-smi").write_text(script)
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("version", ["Driver Version: 550.54   CUDA Version: 12.4", "CUDA UMD Version: 12.4"])
def test_driver_and_card_are_asked_of_the_machine(tmp_path, monkeypatch, version):
    smi(tmp_path / "bin", monkeypatch, version)
    found = making.facts()
    assert (found["driver"], found["cuda"], found["capability"]) == ("550.54", [12, 4], 8.9)


def test_a_driver_for_which_pip_brings_the_wrong_torch_is_refused(tmp_path, monkeypatch, host):
    smi(tmp_path / "bin", monkeypatch, "CUDA Version: 12.4")
    with pytest.raises(ParameterError, match=r"550.54 wants the build cu126.*`index`"):
        environment.prepare(host, target(base_python=sys.executable), Needs((), {}), TREE)


# A Python that is there ----------------------------------------------------------------------------------------------


def test_a_python_that_is_there_is_taken_as_it_is_and_tried_out(host):
    made = environment.prepare(host, target(python=sys.executable), Needs((), {}), TREE)
    assert made.python == sys.executable and made.torch.startswith("2.") and len(made.hash) == 16
    found = environment.try_out(host, made, TREE, "pde")
    assert found["device"] in ("cpu", "cuda") and found["loss"] > 0


def test_a_python_that_is_missing_too_old_or_bare_is_refused_with_the_field_to_set(host, tmp_path):
    with pytest.raises(HostError, match=r"nowhere/python.*`python`"):
        environment.prepare(host, target(python="/nowhere/python"), Needs((), {}), TREE)
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3 8 10\n")
    old.chmod(0o755)
    with pytest.raises(HostError, match=r"Python 3.8.10, not 3.11 or later.*`base_python`"):
        environment.prepare(host, target(base_python=str(old)), Needs((), {}), TREE)
    bare = environment.Environment("/usr/bin/python3", "", "none")
    with pytest.raises(HostError, match=r"(?s)smoke test.*No module"):
        environment.try_out(host, bare, TREE, "pde")


def test_a_path_may_begin_at_the_home_folder_there(host, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/usr/bin/python3")
    assert environment.prepare(host, target(python="~/bin/python"), Needs((), {}), TREE).python.startswith("/")


# Environments that are made ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wheels_that_are_sent_along_make_an_environment_once(host, wheels):
    said: list[str] = []
    made = environment.prepare(host, target(), wheels, TREE, said.append)
    assert sees(made.python, "tiny_one", "tiny_two") == "1.0 2.0"
    assert made.python.startswith(f"{host.folder}/env/") and made.seconds > 0
    assert any("sending 2 wheels" in line for line in said) and any("installing" in line for line in said)
    said.clear()
    assert environment.prepare(host, target(), wheels, TREE, said.append) == made
    assert not any("installing" in line for line in said)


@pytest.mark.slow
@pytest.mark.drill
def test_two_at_once_make_one_and_a_half_made_one_is_made_anew(host, wheels):
    def prepare(_) -> environment.Environment:
        return environment.prepare(host, target(), wheels, TREE)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(prepare, range(2))
    assert one == other
    folder = Path(one.python).parents[1]
    folder.with_name(f"{folder.name}.json").unlink()  # it died before it was whole
    (folder / "bin" / "python").unlink()
    again = environment.prepare(host, target(), wheels, TREE)
    assert again.python == one.python and again.hash == one.hash and sees(again.python, "tiny_one") == "1.0"


@pytest.mark.slow
def test_a_failed_installation_shows_the_end_of_its_log_and_leaves_none(host, tmp_path):
    bad = Needs((), {"tiny": "2.0"}, (wheel(tmp_path / "wheels", "tiny"),))
    with pytest.raises(HostError, match=r"(?s)no environment could be made.*tiny"):
        environment.prepare(host, target(), bad, TREE)
    assert not list((Path(host.folder) / "env").glob("*.json"))
    (log,) = (Path(host.folder) / "env").glob("*.log")
    assert "pip install" in log.read_text()


@pytest.mark.slow
def test_the_machines_own_torch_stays_and_nothing_of_it_is_shadowed(host, tmp_path, wheels):
    """The machine's packages are those of this test's own environment."""
    folder = tmp_path / "more"
    extra = (wheel(folder, "torch", "9.0"), wheel(folder, "numpy", "9.0"), *wheels.wheels)
    asked = Needs(("torch>=2.13", "numpy>=2", "tiny_one>=1"), {"torch": "9.0", "tiny-one": "1.0"}, extra)
    seen = replace(asked, wheels=tuple(path.rename(folder / path.name) for path in extra))
    own = target(base_python=sys.executable, system_packages=True)
    made = environment.prepare(host, own, seen, TREE)
    here = sees(sys.executable, "torch", "numpy")
    assert sees(made.python, "torch", "numpy", "tiny_one") == f"{here} 1.0"
    assert environment.try_out(host, made, TREE, "pde")["loss"] > 0


@pytest.mark.slow
def test_torch_comes_from_its_own_index_in_the_build_that_fits_and_no_package_replaces_it(host, tmp_path, monkeypatch):
    dist = tmp_path / "dist"
    usual = shelf(
        tmp_path / "usual",
        wheel(dist, "torch", "2.13.0"),
        wheel(dist, "torch", "2.99.0"),
        wheel(dist, "greedy", "1.0", ("torch>=2.13",)),
    )
    shelf(tmp_path / "builds" / "cpu", wheel(dist, "torch", "2.13.0+cpu"))
    monkeypatch.setenv("PIP_INDEX_URL", usual)
    monkeypatch.setenv(INDEX, (tmp_path / "builds").as_uri() + "/{build}")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no driver, no uv
    asked = Needs(("greedy>=1", "torch>=2.13"), {"torch": "2.13.0"})
    made = environment.prepare(host, target(index=INDEX), asked, TREE)
    assert made.torch == "2.13.0+cpu" and sees(made.python, "torch", "greedy") == "2.13.0+cpu 1.0"
    shelf(tmp_path / "builds" / "cpu", wheel(dist, "torch", "2.13.0+cpu", ("nowhere>=1",)))
    Path(f"{Path(made.python).parents[1]}.json").unlink()
    with pytest.raises(HostError, match=r"torch 2\.13\.0 came instead of the build cpu"):
        environment.prepare(host, target(index=INDEX), asked, TREE)


def test_another_constraint_wheel_or_python_is_another_environment(tmp_path, host, wheels, monkeypatch):
    def folder(needed: Needs, version: str = "3.11.2", **fields) -> str:
        found = {"driver": None, "machine": "x86_64"}
        return environment._spec(host, target(**fields), needed, found, version)["folder"]

    monkeypatch.setenv(INDEX, "https://someone:a-password@example.org/{build}")
    seen = {
        folder(wheels),
        folder(wheels, "3.12.1"),
        folder(wheels, system_packages=True),
        folder(replace(wheels, constraints={"tiny-one": "1.1"})),
        folder(replace(wheels, wheels=wheels.wheels[:1])),
        folder(replace(wheels, wheels=())),
        folder(replace(wheels, wheels=()), index=INDEX),
    }
    assert len(seen) == 7
    before = folder(wheels)
    (tmp_path / "wheels" / wheels.wheels[0].name).write_bytes(b"rebuilt under the same name")
    assert folder(wheels) != before


def test_an_installer_that_stands_still_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "PAUSE", 0.1)
    monkeypatch.setattr(making, "STILL", 0.5)
    installer = making._Installer.__new__(making._Installer)
    with (tmp_path / "log").open("wb") as out:
        installer.folder, installer._spare = tmp_path / "env", tmp_path / "tmp"
        installer._out, installer.log, installer._began = out, tmp_path / "log", 0.0
        with pytest.raises(making.Failed, match="moved no byte"):
            installer._run(["sh", "-c", "echo $$; sleep 600"])
    pid = (tmp_path / "log").read_text().splitlines()[1]
    assert not Path(f"/proc/{pid}").exists()


def test_the_address_of_an_index_is_on_no_command_line(tmp_path, monkeypatch):
    address = "https://someone:a-password@example.org/simple"
    asked: list[tuple[list[str], dict]] = []

    class Caught(Exception):
        pass

    def popen(command, **options):
        asked.append((command, options["env"]))
        raise Caught

    installer = making._Installer.__new__(making._Installer)
    (tmp_path / "env").mkdir()
    with (tmp_path / "log").open("wb") as out, pytest.raises(Caught):
        installer.folder, installer._spare, installer._uv = tmp_path / "env", tmp_path / "tmp", None
        installer._out, installer.log = out, tmp_path / "log"
        monkeypatch.setattr(making.subprocess, "Popen", popen)
        installer.install(["torch"], [], index=address)
    command, variables = asked[0]
    assert address in variables.values() and "a-password" not in json.dumps(command)
    assert "a-password" not in (tmp_path / "log").read_text()
