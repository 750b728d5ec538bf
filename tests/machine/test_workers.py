"""Work side by side in real processes: killed, crashed, stopped and orphaned ones."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from stepladder.machine import oom, workers
from stepladder.machine.workers import Workers
from tests.machine import drills

pytestmark = [pytest.mark.drill, pytest.mark.slow]


def lost(item: str, reason: str) -> str:
    return f"{item} lost: {reason}"


def run(task, items: list[str], count: int = 2) -> list[str]:
    return sorted(Workers(count, lost).map(task, items))


def test_every_item_is_done_once() -> None:
    assert run(str.upper, list("abcdefg")) == list("ABCDEFG")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_what_kills_its_process_twice_is_lost_and_nothing_else(tmp_path: Path, signum: int) -> None:
    task = partial(drills.die, tmp_path, signum, 2)
    assert run(task, ["a", "b", "guilty", "c", "d"]) == [
        "a",
        "b",
        "c",
        "d",
        f"guilty lost: twice its process was killed ({signal.Signals(signum).name})",
    ]


def test_what_was_killed_once_is_done_in_the_end_alone(tmp_path: Path) -> None:
    task = partial(drills.die, tmp_path, signal.SIGKILL, 1)
    assert run(task, ["guilty", "a", "guilty too", "b"]) == ["a", "b", "guilty", "guilty too"]


def test_memory_is_blamed_where_linux_counted_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter(range(1000))  # one more at every look
    monkeypatch.setattr(oom.limits, "oom_kills", lambda: next(kills))
    killed = run(partial(drills.die, tmp_path, signal.SIGKILL, 2), ["guilty"])
    told = "twice its process was killed (SIGKILL); Linux killed 1 process here for lack of memory"
    assert killed == [f"guilty lost: {told}"]
    crashed = run(partial(drills.die, tmp_path, signal.SIGSEGV, 4), ["guilty"])
    assert "memory" not in crashed[0]


def test_a_process_that_ends_by_itself_is_told_by_its_code() -> None:
    assert run(os._exit, [7]) == ["7 lost: twice its process ended with code 7"]  # type: ignore[list-item]


def test_a_death_is_noticed_though_a_child_of_the_dead_holds_on_to_its_pipe(tmp_path: Path) -> None:
    (told,) = run(partial(drills.die_a_parent, tmp_path), ["guilty"])
    for path in tmp_path.iterdir():
        os.kill(int(path.name), signal.SIGKILL)
    assert told == "guilty lost: twice its process was killed (SIGKILL)"


def test_an_error_comes_out_with_where_it_was_raised_and_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="boom") as caught:
        run(partial(drills.fail, tmp_path), ["slow", "boom"])
    assert "in fail" in caught.value.__notes__[0]
    assert drills.gone(int((tmp_path / "slow").read_text()))


def test_an_error_that_cannot_be_sent_is_told_as_text() -> None:
    with pytest.raises(RuntimeError, match="Awkward: one and two"):
        run(drills.awkward, ["a"])


def test_no_more_processes_start_than_there_are_items(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Counted(workers._Worker):
        def __init__(self) -> None:
            started.append(1)
            super().__init__()

    monkeypatch.setattr(workers, "_Worker", Counted)
    assert run(str.upper, [], 8) == [] and not started
    assert run(str.upper, ["a", "b"], 8) == ["A", "B"] and len(started) == 2
    run(str.upper, list("abcdefgh"), 2)
    assert len(started) == 4


def test_processes_are_taken_before_a_notebook_when_memory_runs_out() -> None:
    assert run(drills.score, ["a"]) == [oom.FIRST_TO_GO]


def test_who_stops_reading_stops_the_processes(tmp_path: Path) -> None:
    results = Workers(2, lost).map(partial(drills.fail, tmp_path), ["slow", "quick"])
    assert next(results) == "quick"
    results.close()
    assert drills.gone(int((tmp_path / "slow").read_text())) and (tmp_path / "slow cleared away").exists()


def test_what_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SECONDS", 0.2)
    results = Workers(2, lost).map(partial(drills.fail, tmp_path), ["deaf", "quick"])
    assert next(results) == "quick"
    drills.wait_for((tmp_path / "deaf").exists)
    results.close()
    assert drills.gone(int((tmp_path / "deaf").read_text()))


def test_ctrl_c_is_for_the_parent(tmp_path: Path) -> None:
    assert run(drills.interrupt, ["a"]) == ["a"]


@pytest.mark.parametrize("after", [0.0, 0.1, 0.3, 1.0, None])
def test_no_process_outlives_a_killed_parent(tmp_path: Path, after: float | None) -> None:
    script = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from stepladder.machine.workers import Workers; from tests.machine import drills\n"
        "print(flush=True)\n"
        "list(Workers(2, print).map(partial(drills.fail, Path(sys.argv[1])), ['slow', 'slow too', 'slow also']))"
    )
    mark, environment = drills.marked()
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    if after is None:
        drills.wait_for(lambda: len(list(tmp_path.iterdir())) == 2)  # both are at work
    else:
        time.sleep(after)
    parent.kill()
    parent.wait()
    drills.wait_for(lambda: not drills.alive(mark))
