"""Every way a trial can die is told apart, and nothing is left running."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from stepladder.ladder import limits, runner


def watch(tmp_path, code, seconds=20.0, memory=4e9):
    return runner.watch([sys.executable, "-c", code], tmp_path / "log", seconds, memory)


def test_a_good_child_is_ok(tmp_path):
    assert watch(tmp_path, "print('fine')").outcome == "ok"


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("raise MemoryError('no')", "oom", "MemoryError"),
        ("raise RuntimeError('CUDA error: out of memory')", "oom", "out of memory"),
        ("raise RuntimeError('CUBLAS_STATUS_ALLOC_FAILED')", "oom", "ALLOC_FAILED"),
        ('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', "oom", "allocate"),
        ("raise ValueError('batch of 3')", "failed", "ValueError: batch of 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
    ],
)
def test_deaths_are_told_apart(tmp_path, code, outcome, reason):
    death = watch(tmp_path, code)
    assert death.outcome == outcome
    assert reason in death.reason


@pytest.mark.drill
def test_a_hungry_child_is_stopped_before_the_machine_suffers(tmp_path):
    death = watch(
        tmp_path, "import time\nkept = []\nwhile True: kept.append(bytearray(20_000_000)); time.sleep(0.02)", memory=4e8
    )
    assert death.outcome == "oom"
    assert death.peak_bytes < 1.2e9
    assert "limit is 0.40 GB" in death.reason


@pytest.mark.drill
def test_a_hanging_child_and_its_children_are_gone_afterwards(tmp_path):
    sleep = "import time; time.sleep(61.25)"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', '{sleep}'])\n{sleep}"
    death = watch(tmp_path, code, seconds=2.0)
    assert death.outcome == "timeout"
    time.sleep(0.3)
    assert not [p for p in psutil.process_iter(["cmdline"]) if "time.sleep(61.25)" in " ".join(p.info["cmdline"] or [])]


def test_a_dead_child_is_reaped(tmp_path):
    watch(tmp_path, "import os; os._exit(3)")
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


def test_limits_are_sane():
    assert 0 < limits.memory_free() <= limits.memory_limit() <= psutil.virtual_memory().total
    assert 0 < limits.cpus() <= os.cpu_count()


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


def test_the_cgroup_counter_decides_that_a_kill_was_for_memory(tmp_path, monkeypatch):
    counts = iter([0, 1])
    monkeypatch.setattr(limits, "oom_kills", lambda: next(counts))
    death = watch(tmp_path, f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert death.outcome == "oom"
