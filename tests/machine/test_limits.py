"""Limits come from the cgroup, not the host; memory and waiting of a process tree are counted once."""

import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from stepladder.machine import limits


def test_limits_are_sane():
    assert 0 < limits.memory_free() <= limits.memory_limit() <= psutil.virtual_memory().total
    assert 0 < limits.cpus() <= os.cpu_count()
    assert list(limits.table().columns) == ["limit", "value"]


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """A made-up cgroup tree: version 2 limits on an ancestor, `max` on the own folder."""
    own = tmp_path / "slice" / "job"
    own.mkdir(parents=True)
    (tmp_path / "slice" / "memory.max").write_text("2000000000\n")
    (tmp_path / "slice" / "memory.current").write_text("500000000\n")
    (tmp_path / "slice" / "memory.stat").write_text("anon 1\ninactive_file 100000000\n")
    (own / "memory.max").write_text("max\n")
    (own / "cpu.max").write_text("50000 100000\n")
    (own / "memory.events").write_text("oom 3\noom_kill 2\n")
    monkeypatch.setattr(limits, "folders", lambda: [own, own.parent])
    return own


def test_the_limit_of_an_ancestor_counts(cgroup: Path):
    assert limits.memory_limit() == 2_000_000_000
    assert limits.memory_free() == 1_600_000_000
    assert limits.cpus() == 0.5
    assert limits.oom_kills() == 2


def test_version_1_limits_count_and_huge_numbers_mean_none(cgroup: Path):
    for name in ("memory.max", "memory.current"):
        (cgroup.parent / name).unlink()
    (cgroup / "memory.limit_in_bytes").write_text(str(1 << 62))
    (cgroup.parent / "memory.limit_in_bytes").write_text("3000000000")
    (cgroup.parent / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    assert limits.memory_limit() == 3_000_000_000
    assert limits.oom_kills() == 5


def test_a_child_shares_its_parents_pages():
    held = np.ones(8_000_000)  # 64 MB, on the pages of both
    pid = os.fork()
    if pid == 0:
        os.read(os.pipe()[0], 1)  # for ever
    try:
        family = limits.family(os.getpid())
        assert pid in family
        proportional, resident = limits.proportional_memory(os.getpid()), limits.resident_memory(family)
        assert held.nbytes < proportional < resident - 0.5 * held.nbytes
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_processes_that_are_gone_weigh_nothing():
    gone = 1 << 22  # above the largest process id
    assert limits.family(gone) == []
    assert limits.proportional_memory_of(gone) == limits.resident_memory([gone]) == 0
    assert limits.cpu_and_queue([gone]) == (0.0, 0.0)


def test_cpu_time_is_counted():
    before, _ = limits.cpu_and_queue([os.getpid()])
    while os.times().user - before < 0.05 and limits.cpu_and_queue([os.getpid()])[0] - before < 0.05:
        sum(range(1000))
    after, waited = limits.cpu_and_queue([os.getpid()])
    assert after - before >= 0.04
    assert waited >= 0
