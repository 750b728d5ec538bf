"""Every way a trial can die is told apart, and nothing is left running."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.measure.runner import classify
from stepladder.training.setting import Setting
from tests.ladder import faults

# The shapes of the peers' tables; a killed loader process is one too, where the cgroup's counter has moved (below).
OUT_OF_MEMORY = {
    "torch on the CPU": "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 34359738368 bytes. Error code 12 (Cannot allocate memory)",
    "the same in a loader process": "RuntimeError: Caught RuntimeError in DataLoader worker process 0.\n"
    "Original Traceback (most recent call last):\nRuntimeError: [enforce fail at alloc_cpu.cpp:121] "
    "DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.",
    "CUDA": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...",
    "CUDA error": "torch.AcceleratorError: CUDA error: out of memory",
    "HIP": "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 20.00 MiB",
    "numpy": "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 64.0 GiB for an array with shape (1,)",
    "Python": "Traceback (most recent call last):\n  File x\nMemoryError",
    "numpy in a loader process": "RuntimeError: Caught _ArrayMemoryError in DataLoader worker process 0.\n"
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 64.0 GiB for an array with shape (1,)",
    "full shared memory": "RuntimeError: unable to write to file </torch_4711_2_0>: No space left on device (28)",
    "full shared memory, bus error": "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is "
    "possible that dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
    "cuDNN": "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuBLAS": "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "C++": "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc",
}
HANDING_OVER = """  File "torch/multiprocessing/reductions.py", line 541, in rebuild_storage_fd
    fd = df.detach()
  File "multiprocessing/connection.py", line 395, in _recv
    chunk = read(handle, remaining)
ConnectionResetError: [Errno 104] Connection reset by peer"""
KILLED_LOADER = "RuntimeError: DataLoader worker (pid(s) 4711) exited unexpectedly"


@pytest.mark.parametrize("text", OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY.keys())
def test_every_allocator_is_understood(text):
    ending, reason = classify(1, f"step 3: loss 0.5\n{text}\n", kills=0)
    assert ending == "oom"
    assert reason in text


@pytest.mark.parametrize(
    ("code", "text", "kills", "ending"),
    [
        (0, "MemoryError was caught and handled", 0, "ok"),
        (-signal.SIGKILL, "", 1, "oom"),
        (1, KILLED_LOADER, 1, "oom"),
        (1, KILLED_LOADER, 0, "killed"),
        (1, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. ", 0, "killed"),
        (1, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Segmentation fault. ", 0, "crashed"),
        (1, HANDING_OVER, 0, "killed"),
        (1, HANDING_OVER, 1, "oom"),
        (1, "Traceback:\nConnectionResetError: [Errno 104] Connection reset by peer", 0, "failed"),  # a server's
        (-signal.SIGKILL, "", 0, "killed"),
        (-signal.SIGABRT, "", 0, "crashed"),
        (1, "ValueError: batch of 3", 1, "failed"),  # somebody else's process was killed for memory
        (1, "OSError: [Errno 28] No space left on device: 'checkpoint.pt'", 0, "failed"),
        (1, "", 0, "failed"),
    ],
)
def test_other_deaths_are_told_apart(code, text, kills, ending):
    assert classify(code, text, kills)[0] == ending


@pytest.fixture
def trial(warm_runner, tmp_path):
    """`trial(fault)`: a full trial of a faulty job."""

    def run(fault, workers=0, memory=3e9, seconds=60.0):
        measurer = ProcessMeasurer(
            "tests.ladder.faults:open", {"fault": fault}, tmp_path, seconds, memory, runner=warm_runner
        )
        return measurer.full(Setting(workers=workers), 6)

    return run


def test_a_good_trial_is_ok_and_measured(trial):
    good = trial("none")
    assert good.ending == "ok", good.reason
    assert good.probe.rate > 0
    assert good.peak_bytes > 5e7


@pytest.mark.drill
@pytest.mark.parametrize(
    ("fault", "ending", "reason"),
    [
        ("torch_allocator_in_main", "oom", "allocate"),
        ("segfault", "crashed", "SIGSEGV"),
        ("main_killed", "killed", "SIGKILL"),
        ("worker_killed", "killed", "a loader process died (Killed)"),
        ("numpy_memory_in_worker", "oom", "Unable to allocate"),
    ],
)
def test_deaths_in_a_trial_are_told_apart(trial, fault, ending, reason):
    dead = trial(fault, workers=int("worker" in fault))
    assert dead.ending == ending
    assert reason in dead.reason
    assert dead.probe is None


@pytest.mark.drill
def test_a_hanging_loader_is_stopped_in_time(trial):
    dead = trial("worker_hangs", workers=1, seconds=1.5)
    assert dead.ending == "timeout"
    assert dead.reason == "stopped after 2 s"


@pytest.mark.drill
def test_a_leak_is_stopped_before_the_machine_suffers(trial):
    dead = trial("worker_leaks", workers=1, memory=8e8)
    assert dead.ending == "oom"
    assert "the limit is 0.80 GB" in dead.reason
    assert dead.peak_bytes < 1.2e9


@pytest.mark.drill
def test_a_child_that_left_its_session_is_gone_too(trial):
    assert trial("runaway").ending == "killed"
    assert not [p for p in psutil.process_iter(["cmdline"]) if faults.SLEEP in (p.info["cmdline"] or [])]


@pytest.mark.drill
def test_deaths_in_a_row_leave_nothing_behind(trial):
    """Four here; fifty, in three kinds of hosts, in `bench_survival.py`."""
    trial("none")
    before = len(psutil.Process().children(recursive=True))
    endings = [trial(fault).ending for _ in range(2) for fault in ("main_killed", "segfault")]
    assert endings == ["killed", "crashed"] * 2
    assert len(psutil.Process().children(recursive=True)) == before
    assert trial("none").ending == "ok"


@pytest.mark.drill
def test_the_next_trial_runs_though_the_warm_process_died(trial):
    trial("none")
    psutil.Process().children()[0].kill()
    assert trial("none").ending == "ok"


@pytest.mark.drill
def test_an_interrupted_notebook_leaves_nothing_running(trial):
    trial("none")
    before = psutil.Process().children(recursive=True)  # the warm process, and what other tests left behind
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        trial("worker_hangs", workers=1)
    assert set(psutil.Process().children(recursive=True)) <= set(before)
    assert trial("none").ending == "ok"


@pytest.mark.drill
def test_nothing_outlives_a_notebook_that_was_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from stepladder.ladder.measure.runner import Runner; "
        "runner = Runner(); runner._begin(Path(sys.argv[1]), Path(sys.argv[1])); "
        "print(runner.warm_pid, flush=True); sys.stdin.read()"
    )
    notebook = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    warm = psutil.Process(int(notebook.stdout.readline()))
    notebook.kill()
    notebook.wait()
    for _ in range(200):
        if not warm.is_running() or warm.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the warm process still runs")
