"""One walker per run, whatever dies, however close two starts are, and whatever a machine's clock says."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from stepladder.core import files, lock
from stepladder.machine import processes

RACER = """
import sys, time, pathlib
from stepladder.core import lock
lock.os.nice(0)
while time.time() < float(sys.argv[2]): pass
try:
    held = lock.Lock(pathlib.Path(sys.argv[1]), "run a/b")
except lock.Held:
    print("refused"); sys.exit()
print("held"); time.sleep(2)
"""


def other_machine(folder, number, **facts):
    """A holder of another machine, as its file would be."""
    record = {**processes.identity(), "boot": "another", "token": "t", "released": False, **facts}
    path = folder / ".lock" / f"{number:08d}"
    files.write_json(path, record)
    return path


def test_a_second_holder_is_refused_until_the_first_gives_it_back(tmp_path):
    first = lock.Lock(tmp_path, "run a/b")
    with pytest.raises(lock.Held, match=f"run a/b is being walked by process {os.getpid()}"):
        lock.Lock(tmp_path, "run a/b")
    first.release()
    assert lock.holder(tmp_path) is None
    second = lock.Lock(tmp_path, "run a/b")
    assert not second.lost and lock.holder(tmp_path)["token"] == second.token


@pytest.mark.drill
def test_of_many_started_at_once_exactly_one_holds(tmp_path):
    for trial in range(3):
        begin = str(time.time() + 2.5)
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(tmp_path / str(trial)), begin], stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        said = sorted(racer.communicate()[0].strip() for racer in racers)
        assert said == ["held", "refused", "refused", "refused"]


@pytest.mark.drill
def test_a_dead_holder_is_followed_at_once(tmp_path):
    code = "import os, pathlib, sys; from stepladder.core import lock; "
    code += "lock.Lock(pathlib.Path(sys.argv[1]), 'x'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert files.read_json(tmp_path / ".lock" / "00000001")["released"] is False
    assert lock.Lock(tmp_path, "x").path.name == "00000002"


def test_a_reused_pid_is_not_taken_for_the_holder(tmp_path):
    other_machine(tmp_path, 1, **{**processes.identity(), "started": 1})
    assert lock.Lock(tmp_path, "x").path.name == "00000002"


def test_another_machines_lease_is_waited_for_and_then_taken(tmp_path):
    path = other_machine(tmp_path, 1)
    with pytest.raises(lock.Leased, match=r"another machine, whose last sign of life is \d+ s old: .* in \d+ s"):
        lock.Lock(tmp_path, "run a/b")
    old = time.time() - lock.LEASE - 1
    os.utime(path, (old, old))
    assert lock.Lock(tmp_path, "run a/b").path.name == "00000002"


def test_machines_of_one_name_and_containers_of_one_kernel_are_told_apart(tmp_path):
    for facts in ({"boot": "another"}, {"pids": "pid:[1]"}, {"host": "elsewhere"}):
        other_machine(tmp_path, 1, **{**processes.identity(), **facts})
        with pytest.raises(lock.Leased):
            lock.Lock(tmp_path, "x")


def test_the_age_of_a_lease_is_told_by_the_file_system_not_by_this_machines_clock(tmp_path, monkeypatch):
    other_machine(tmp_path, 1)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with pytest.raises(lock.Leased):
        lock.Lock(tmp_path, "x")


def test_who_lost_the_lock_knows_and_takes_nothing_back(tmp_path):
    mine = lock.Lock(tmp_path, "x")
    other_machine(tmp_path, 2)
    assert mine.lost
    mine.release()
    assert files.read_json(tmp_path / ".lock" / "00000002")["released"] is False


def test_it_works_where_links_are_unknown(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError("no links here")

    monkeypatch.setattr(lock.os, "link", refuse)
    held = lock.Lock(tmp_path, "x")
    with pytest.raises(lock.Held):
        lock.Lock(tmp_path, "x")
    held.release()
    assert lock.Lock(tmp_path, "x").path.name == "00000002"


def test_a_damaged_record_is_no_dead_end(tmp_path):
    path = tmp_path / ".lock" / "00000001"
    files.write_text(path, '{"pid"')
    with pytest.raises(lock.Leased, match="a machine unknown"):
        lock.Lock(tmp_path, "x")
    os.utime(path, (1, 1))
    assert lock.Lock(tmp_path, "x").path.name == "00000002"


def test_a_child_works_under_its_parents_lock(tmp_path, monkeypatch):
    with lock.hold(tmp_path, "x") as held:
        monkeypatch.setenv(lock.TOKEN, held.token)
        with lock.hold(tmp_path, "x") as inner:
            assert inner is None
        assert not held.lost
        monkeypatch.setenv(lock.TOKEN, "of an older walk")
        with pytest.raises(lock.Held), lock.hold(tmp_path, "x"):
            pass


def test_few_files_are_left(tmp_path):
    for _ in range(9):
        lock.Lock(tmp_path, "x").release()
    assert len(list((tmp_path / ".lock").iterdir())) <= lock.LAST


def test_a_holder_whose_folder_was_deleted_is_no_longer_one(tmp_path):
    mine = lock.Lock(tmp_path, "x")
    shutil.rmtree(tmp_path / ".lock")
    second = lock.Lock(tmp_path, "x")
    assert mine.lost and not second.lost
    mine.release()
    with pytest.raises(lock.Held):
        lock.Lock(tmp_path, "x")
