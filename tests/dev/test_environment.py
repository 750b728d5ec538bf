import os
from pathlib import Path

import pytest
import yaml

from stepladder.cli.doctor import examine, torch_replaced
from stepladder.dev import environment

ROOT = Path(__file__).parents[2]


def test_the_conda_file_is_in_step_with_pyproject():
    assert (ROOT / "environment.yml").read_text() == environment.conda_file(ROOT), "run `make environment`"


def test_the_conda_file_is_one_conda_can_read():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = content["dependencies"]
    assert all(isinstance(line, str) for line in conda)
    assert any(line.startswith("torch") for line in pip["pip"]) and "--editable ." in pip["pip"]


def test_no_other_package_has_replaced_torch():
    assert torch_replaced(ROOT / "constraints.txt") is None


def test_a_replaced_torch_is_noticed(tmp_path):
    (tmp_path / "constraints.txt").write_text("numpy==2\ntorch==1.0.0\n")
    assert "1.0.0 was tested" in torch_replaced(tmp_path / "constraints.txt")


def test_constraints_name_no_place_to_download_from():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text and " @ " not in text
    assert all("==" in line for line in text.splitlines() if line and not line.startswith("#"))


def test_the_doctor_looks_at_everything_and_names_what_is_bad(outputs):
    names = [check.name for check in examine(ROOT)]
    assert names[:7] == ["python", "torch", "gpu", "memory", "disk", "outputs", "graphics"]
    outputs.rmdir()
    outputs.write_text("in the way")
    bad = [check for check in examine(ROOT) if not check.ok]
    assert [check.name for check in bad] == ["outputs"] and "STEPLADDER_OUTPUTS" in bad[0].reason


@pytest.mark.parametrize("name", ["torchvision", "timm", "litdata", "mosaicml-streaming"])
def test_packages_that_replace_torch_are_not_in_the_base_set(name):
    assert name not in (ROOT / "constraints.txt").read_text()


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_tests_of_a_group_stay_in_one_process(request):
    """pytest-xdist tells its scheduler the group in the test's id; with a pytest it does not know it tells nothing."""
    assert request.node.nodeid.rpartition("@")[2] == "tests/dev/test_environment.py"
