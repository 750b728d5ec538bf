"""A laptop that is no Linux (a Mac) launches, follows and reports: seen here by hiding what Linux alone has.

What this cannot show: that `sysctl` names the start of a Mac, that psutil's hash of a process stands when its clock is
set, how it sleeps, and its ssh and rsync. For that somebody has to run these tests on one.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What a process did that stands for a Mac's (see `elsewhere`)."""
    home = tmp_path_factory.mktemp("mac")
    sysctl = home / "sysctl"
    sysctl.write_text('#!/bin/sh\n[ "$*" = "-n kern.bootsessionuuid" ] && echo 5E5510\n')
    sysctl.chmod(0o755)
    environment = {**os.environ, "STEPLADDER_ROOT": str(ROOT), "STEPLADDER_OUTPUTS": str(home / "outputs")}
    environment |= {"PATH": f"{home}:{os.environ['PATH']}", "COLUMNS": "200"}
    command = [sys.executable, "-m", "tests.machine.elsewhere", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_linux_is_hidden_and_psutil_is_there(found):
    assert found["what_is_hidden"] == ["darwin", False, False, True]


def test_what_a_laptop_needs_is_imported(found):
    assert {"stepladder.cli.main", "stepladder.notebooks.lab", "stepladder.launch.job"} <= set(found["imports"])


def test_a_lock_keeps_others_out_until_it_is_given_back(found):
    held, own, refused = found["a_lock_is_taken_and_given_back"]
    assert held and own and "is being walked by process" in refused
    assert found["nobody_holds_it_any_more"] is True


def test_a_dead_process_and_another_of_its_pid_are_told_from_a_living_one(found):
    told = {"living": True, "another": False, "born": True, "zombie": False, "dead": False, "unborn": False}
    assert found["the_dead_and_the_living"] == told


def test_a_mac_knows_itself_in_another_network_and_not_after_it_was_started_again(found):
    assert found["another_network"] == [True, "5E5510", False]


def test_memory_and_cpus_are_the_machines_and_what_nobody_counts_is_not_claimed(found):
    assert found["what_it_may_use"] == [True] * 8
    assert found["nothing_that_cannot_be_known_is_claimed"] == [0, 0, [], 0]
    assert found["a_parent_may_be_asked_for"] is None and found["where_it_was_made"] >= 1


def test_a_launched_run_is_followed(found):
    followed, left = found["a_launched_run_is_told"]
    assert followed == "on box1/hostA: starting" and "its supervisor is gone" in left
    assert "plateau/away" in found["commands"]["jobs"] and "local/here" in found["commands"]["machines"]


def test_status_and_pages_are_made(found):
    said = found["commands"]
    assert "plateau/quick" in said["status"] and "begun" in said["status plateau/quick"]
    assert "report.html" in said["report plateau/quick"]
    assert found["a_training_here_is_told"].startswith("step 0")
