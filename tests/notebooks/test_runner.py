"""The engine tells the truth: drills that kill, stop and time out notebooks, and read what is left on disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest

from stepladder.core import jsonlines
from stepladder.core.config import ParameterError
from stepladder.machine import oom
from stepladder.notebooks import runner
from tests import pipeline
from tests.machine import drills

PROJECT = Path(__file__).resolve().parents[2]
NAP = "import os, time, pathlib\npathlib.Path('../kernel.pid').write_text(str(os.getpid()))\ntime.sleep(60)"
ONCE = "import pathlib\nflag = pathlib.Path('../flag')\nfirst = not flag.exists()\nflag.touch()\n"


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that is not installed, in a project of its own."""
    monkeypatch.setattr("stepladder.core.run.environment", pipeline.bare)
    monkeypatch.delenv("STEPLADDER_ROOT", raising=False)
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)


def go(root: Path, *stages: str, **options: object) -> runner.Outcome:
    """`run_pipeline` in this process."""
    return runner.run_pipeline(
        pipeline.open_run(root), stages or [pipeline.FIRST], pipeline.PARAMETERS, root, **options
    )


def states(root: Path, stage: str = pipeline.FIRST) -> list[str]:
    """States of the code cells of an executed notebook: parameters, injected, open, work, finish."""
    nb = json.loads((root / "outputs/toy/walk" / stage / "notebook.ipynb").read_text())
    return [cell["metadata"]["papermill"]["status"] for cell in nb["cells"] if cell["cell_type"] == "code"]


def record(root: Path) -> dict:
    """`run.json` as it is on disk."""
    return json.loads((root / "outputs/toy/walk/run.json").read_text())


def kernel_pid(root: Path) -> int:
    """Wait for the napping cell; the pid of its kernel."""
    path = root / "kernel.pid"
    pipeline.wait_for(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be reaped."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def mend(root: Path) -> None:
    """Replace the first notebook by one that ends well, then walk again: the road must go on."""
    pipeline.project(root, first="print('mended')")
    assert go(root).state == "done"
    assert record(root)["state"] == "done" and record(root)["attempts"] == 2
    assert set(states(root)) == {"completed"}


# Walking well -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_walks_skips_and_notices_changes(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="print(seed)", second="print('second')")
    told: list[tuple[str, str]] = []

    def listen(kind: str, stage: str, **fields: object) -> None:
        told.append((kind, stage))

    stages = (pipeline.FIRST, pipeline.SECOND)
    assert go(root, *stages, on_event=listen) == runner.Outcome(
        "done",
        0,
        "2 stages asked for, 2 run, 0 unchanged",
        root / "outputs/toy/walk" / pipeline.SECOND / "notebook.ipynb",
    )
    assert told.count(("cell_start", pipeline.FIRST)) == told.count(("cell_end", pipeline.FIRST)) == 5
    told.clear()
    assert go(root, *stages, on_event=listen).state == "done"
    assert told == [("stage_skipped", pipeline.FIRST), ("stage_skipped", pipeline.SECOND)]

    told.clear()
    changed = pipeline.PARAMETERS.model_copy(
        update={"splits": pipeline.PARAMETERS.splits.model_copy(update={"by": "asset"})}
    )
    run = pipeline.open_run(root)
    runner.run_pipeline(run, stages, changed, root, on_event=listen)
    assert ("stage_skipped", pipeline.FIRST) in told and ("stage_start", pipeline.SECOND) in told


def test_cells_and_their_sections_are_logged(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="print('work')")
    go(root)
    ended = pipeline.open_run(root).events("cell_end")
    assert [(e["cell"], e["of"], e["status"]) for e in ended] == [(i, 5, "completed") for i in range(1, 6)]
    assert ended[3]["title"] == "Work" and ended[0]["title"] == pipeline.FIRST


@pytest.mark.slow
def test_a_good_run_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="1 + 1")
    done = subprocess.run([sys.executable, pipeline.__file__, str(root)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # no port, TCP or debugger warnings


def test_streams_are_joined_in_their_place(tmp_path: Path) -> None:
    body = (
        "for i in range(300):\n    print(i, flush=True)\n"
        "from IPython.display import display\ndisplay({'text/plain': 'figure'}, raw=True)\n"
        "import time\nfor i in range(5):\n    print(i, end='\\r', flush=True); time.sleep(0.3)\nprint('end')"
    )
    root = pipeline.project(tmp_path, first=body)
    outputs = nbformat.read(go(root).notebook, 4).cells[6].outputs
    assert [o.output_type for o in outputs] == ["stream", "display_data", "stream"]
    assert outputs[0].text == "".join(f"{i}\n" for i in range(300))
    assert outputs[2].text == "end\n"  # what a terminal would show in the end


def test_executed_notebook_holds_no_local_path(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="print('x')")
    assert str(tmp_path) not in go(root).notebook.read_text()


# A full disk ---------------------------------------------------------------------------------------------------------


@pytest.mark.drill
@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("raise ValueError('no roof')", ("failed", 1, "01_inventory: ValueError in cell 4 of 5: no roof")),
        ("import os\nos.kill(os.getpid(), 9)", ("failed", 137, "01_inventory: the kernel was killed (signal 9)")),
        ("1", ("failed", 1, "01_inventory: OSError: [Errno 28] No space left on device")),
    ],
)
def test_a_full_disk_hides_no_reason(tmp_path, monkeypatch, capsys, body, outcome) -> None:
    root = pipeline.project(tmp_path, first=body)

    def no_space(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fills_up(kind: str, stage: str, **fields: object) -> None:
        if kind == "cell_start" and fields["cell"] == 4:
            monkeypatch.setattr(os, "fsync", no_space)
            monkeypatch.setattr(jsonlines.Writer, "_mending", no_space)

    ended = go(root, on_event=fills_up)
    assert (ended.state, ended.exit_code) == outcome[:2] and ended.reason.startswith(outcome[2])
    said = capsys.readouterr().err.splitlines()
    assert [words for words in said if "run.json" in words] and [words for words in said if "events.jsonl" in words]
    assert len(said) == len(set(said)), "said once"
    monkeypatch.undo()
    monkeypatch.setattr("stepladder.core.run.environment", pipeline.bare)
    assert pipeline.open_run(root).status()["state"] == "stale"
    mend(root)


# Python's side: errors, missing results, bad use --------------------------------------------------------------------


def test_python_error(tmp_path: Path) -> None:
    body = (
        "from stepladder.core import files\ntry:\n    files.read_json(3)\n"
        "except TypeError as error:\n    raise ValueError('no roof\\nsecond line') from error"
    )
    root = pipeline.project(tmp_path, first=body, second="1")
    outcome = go(root, pipeline.FIRST, pipeline.SECOND)
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert outcome.reason == "01_inventory: ValueError in cell 4 of 5: no roof"
    assert states(root) == ["completed"] * 3 + ["failed", "pending"]
    assert nbformat.read(outcome.notebook, 4).metadata.papermill.exception is True
    text = outcome.notebook.read_text()
    assert sys.prefix not in text and str(PROJECT) not in text  # tracebacks are cut free of this machine's paths
    assert record(root)["state"] == "failed" and not (root / "outputs/toy/walk" / pipeline.SECOND).exists()
    mend(root)


def test_memory_error_is_oom(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="import numpy; numpy.zeros(1 << 50)")
    outcome = go(root)
    assert (outcome.state, outcome.exit_code) == ("oom", 137)
    assert "Unable to allocate" in outcome.reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("opened.finish_stage = lambda *a, **k: None", "recorded no result"),
        ("checked = checked.model_copy(update={'seed': 9})", "changed while it ran"),
    ],
)
def test_not_done_without_the_right_result(tmp_path: Path, body: str, words: str) -> None:
    root = pipeline.project(tmp_path, first="1")
    go(root)  # an older, good result is there and must not pose as this run's
    pipeline.project(root, first=body)
    outcome = go(root, force=True)
    assert (outcome.state, outcome.exit_code) == ("failed", 1) and words in outcome.reason
    assert len(pipeline.open_run(root).events("stage_end")) == 2
    assert pipeline.open_run(root).states()[pipeline.FIRST].state != "done"


def test_result_of_a_notebook_that_failed_later_is_removed(tmp_path: Path) -> None:
    body = pipeline.FINISH.format(name=pipeline.FIRST) + "\nraise KeyError('late')"
    root = pipeline.project(tmp_path, first=body)
    assert go(root).state == "failed"
    assert pipeline.open_run(root).result(pipeline.FIRST) is None


def test_missing_notebook_is_named(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="1")
    with pytest.raises(ParameterError, match="no notebook notebooks/02_conversion"):
        go(root, pipeline.FIRST, pipeline.SECOND)
    assert record(root)["state"] == "failed"


@pytest.mark.slow
def test_second_walker_is_refused(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first=NAP)
    process = pipeline.runner(root, grace=5)
    kernel_pid(root)
    with pytest.raises(ParameterError, match=f"process {process.pid}"):
        go(root)
    process.terminate()
    assert process.wait(pipeline.PATIENCE) == 75
    assert record(root)["state"] == "preempted"


def test_kernel_that_never_starts(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="1")
    path = root / "notebooks" / f"{pipeline.FIRST}.ipynb"
    path.write_text(path.read_text().replace('"name": "python3"', '"name": "no_such_kernel"'))
    outcome = go(root)
    assert (outcome.state, outcome.exit_code) == ("failed", 1) and "no_such_kernel" in outcome.reason
    assert set(states(root)) == {"pending"}


# Kills and stops ----------------------------------------------------------------------------------------------------


@pytest.mark.drill
@pytest.mark.slow
def test_kernel_killed_by_hand(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="import subprocess\nchild = subprocess.Popen(['sleep', '300'])\n" + NAP)
    process = pipeline.runner(root)
    kernel = psutil.Process(kernel_pid(root))
    (child,) = kernel.children()
    kernel.kill()
    assert process.wait(pipeline.PATIENCE) == 137
    assert states(root) == ["completed"] * 3 + ["failed", "pending"]
    assert record(root)["state"] == "failed" and record(root)["exit_code"] == 137
    assert "signal 9" in record(root)["reason"] and "no out-of-memory event" in record(root)["reason"]
    nb = nbformat.read(root / "outputs/toy/walk" / pipeline.FIRST / "notebook.ipynb", 4)
    assert nb.metadata.papermill.exception is True
    assert "signal 9" in nb.cells[6].outputs[-1].evalue  # the cell itself says what happened
    pipeline.wait_for(lambda: gone(child.pid), 5)
    mend(root)


@pytest.mark.drill
def test_kernel_that_crashes(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="import ctypes, faulthandler; faulthandler.enable(); ctypes.string_at(0)")
    outcome = go(root)
    assert (outcome.state, outcome.exit_code) == ("failed", 1)
    assert "signal 11" in outcome.reason and "kernel.log" in outcome.reason
    assert "Segmentation fault" in (outcome.notebook.parent / "kernel.log").read_text(errors="replace")


@pytest.mark.drill
def test_kernel_killed_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = tmp_path / "oom_kill"
    counter.write_text("3")
    monkeypatch.setattr(oom.limits, "oom_kills", lambda: int(counter.read_text()))
    body = f"import os, signal, pathlib\npathlib.Path({str(counter)!r}).write_text('4')\nos.kill(os.getpid(), 9)"
    root = pipeline.project(tmp_path, first=body)
    outcome = go(root)
    assert (outcome.state, outcome.exit_code) == ("oom", 137)
    assert "Linux killed 1 process here for lack of memory" in outcome.reason
    assert record(root)["state"] == "oom"
    mend(root)


@pytest.mark.drill
def test_kernel_that_grew_to_the_limit_is_oom_without_a_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oom.limits, "oom_kills", lambda: 0)
    limit = oom.Memory.read().peak_child + 200_000_000
    monkeypatch.setattr(oom.limits, "memory_limit", lambda: limit)
    body = f"import os\nballast = bytearray({limit})\nos.kill(os.getpid(), 9)"
    outcome = go(pipeline.project(tmp_path, first=body))
    assert outcome.state == "oom" and "it had grown to" in outcome.reason


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "words"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C"), (signal.SIGHUP, "terminal")]
)
def test_runner_asked_to_stop(tmp_path: Path, signum: int, words: str) -> None:
    body = NAP.replace("time.sleep(60)", "try:\n    time.sleep(60)\nfinally:\n    open('../saved', 'w').write('ok')")
    root = pipeline.project(tmp_path, first=body)
    process = pipeline.runner(root)
    kernel = kernel_pid(root)
    process.send_signal(signum)
    assert process.wait(pipeline.PATIENCE) == 75
    assert (root / "saved").exists()  # the cell could save
    assert states(root) == ["completed"] * 3 + ["failed", "pending"]
    assert record(root)["state"] == "preempted" and words in record(root)["reason"]
    assert gone(kernel)
    nb = nbformat.read(root / "outputs/toy/walk" / pipeline.FIRST / "notebook.ipynb", 4)
    assert nb.metadata.papermill.exception is True and nb.cells[6].outputs[-1].ename == "Preempted"
    mend(root)


@pytest.mark.drill
@pytest.mark.slow
def test_cell_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + NAP)
    process = pipeline.runner(root, grace=0.5)
    kernel = kernel_pid(root)
    process.terminate()
    assert process.wait(pipeline.PATIENCE) == 75
    assert "did not end within 0.5 s and was killed" in record(root)["reason"]
    assert states(root)[3:] == ["failed", "pending"] and gone(kernel)
    mend(root)


@pytest.mark.drill
@pytest.mark.slow
def test_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + NAP)
    process = pipeline.runner(root, grace=300)
    kernel_pid(root)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(pipeline.PATIENCE) == 75
    assert record(root)["state"] == "preempted"


@pytest.mark.drill
def test_stop_between_cells_leaves_the_rest_pending(tmp_path: Path) -> None:
    swallow = (
        "import os, time\ntry:\n    os.kill(os.getppid(), 15)\n    time.sleep(30)\nexcept BaseException:\n    pass"
    )
    outcome = go(pipeline.project(tmp_path, first=swallow))
    assert (outcome.state, outcome.exit_code) == ("preempted", 75) and "between two cells" in outcome.reason
    assert states(tmp_path) == ["completed"] * 4 + ["pending"]
    assert nbformat.read(outcome.notebook, 4).metadata.papermill.exception is True


@pytest.mark.drill
def test_cell_timeout(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first=NAP)
    outcome = go(root, cell_timeout=1.5)
    assert (outcome.state, outcome.exit_code) == ("timeout", 124)
    assert "cell 4 ran longer than 1.5 s" in outcome.reason
    assert states(root) == ["completed"] * 3 + ["failed", "pending"]
    assert record(root)["state"] == "timeout" and gone(kernel_pid(root))
    mend(root)


@pytest.mark.drill
@pytest.mark.slow
def test_runner_killed(tmp_path: Path) -> None:
    root = pipeline.project(tmp_path, first="print('a')", second=NAP)
    process = pipeline.runner(root)
    kernel = kernel_pid(root)
    process.kill()
    process.wait()
    pipeline.wait_for(lambda: gone(kernel), 5)
    run = pipeline.open_run(root)
    assert record(root)["state"] == "running" and run.status()["state"] == "stale"
    assert states(root, pipeline.SECOND) == ["completed"] * 3 + ["running", "pending"]  # the file is whole
    pipeline.project(root, second="print('mended')")
    assert go(root, pipeline.FIRST, pipeline.SECOND).reason == "2 stages asked for, 1 run, 1 unchanged"
    assert run.status()["state"] == "done"


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_of_a_cell_that_works_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int
) -> None:
    body = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n"
        "from functools import partial; from pathlib import Path\n"
        "from stepladder.machine.workers import Workers; from tests.machine import drills\n"
        f"list(Workers(2, print).map(partial(drills.fail, Path({str(tmp_path / 'made')!r})), ['slow', 'slow too']))"
    )
    (tmp_path / "made").mkdir()
    root = pipeline.project(tmp_path, first=body)
    mark, environment = drills.marked()
    monkeypatch.setenv(drills.MARK, environment[drills.MARK])
    process = pipeline.runner(root)
    drills.wait_for(lambda: len(list((tmp_path / "made").iterdir())) == 2)
    process.send_signal(signum)
    assert process.wait(pipeline.PATIENCE) == (75 if signum != signal.SIGKILL else -signum)
    drills.wait_for(lambda: not drills.alive(mark))
    cleared = len(list((tmp_path / "made").glob("*cleared away")))
    assert cleared == (2 if signum != signal.SIGKILL else 0)


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.3, 1.0])
def test_a_kernel_goes_when_its_runner_is_killed_while_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    root = pipeline.project(tmp_path, first="import time; time.sleep(600)")
    mark, environment = drills.marked()
    monkeypatch.setenv(drills.MARK, environment[drills.MARK])
    process = pipeline.runner(root)
    drills.wait_for(lambda: len(drills.alive(mark)) > 1)
    time.sleep(after)
    process.kill()
    process.wait()
    drills.wait_for(lambda: not drills.alive(mark))


@pytest.mark.slow
def test_assets_that_failed_are_tried_again_and_what_follows_stays_done_unless_it_helps(tmp_path: Path) -> None:
    tried = (
        "import pathlib\n"
        "pathlib.Path('../tried').open('a').write('x')\n"
        "broken = {'a': 'broken'} if pathlib.Path('../broken').exists() else {}\n"
    )
    root = pipeline.project(tmp_path, first="print('first')")
    (root / "broken").touch()
    second = pipeline.notebook(pipeline.SECOND, tried)
    second.cells[-1].source = second.cells[-1].source.replace("checks=", "failed=broken, checks=")
    nbformat.write(second, root / "notebooks" / f"{pipeline.SECOND}.ipynb")
    stages = (pipeline.FIRST, pipeline.SECOND)
    assert go(root, *stages).reason == "2 stages asked for, 2 run, 0 unchanged"
    made = pipeline.open_run(root).key("03_smoke_test").inputs
    assert go(root, *stages).reason == "2 stages asked for, 1 run, 1 unchanged"
    assert pipeline.open_run(root).events("stage_start")[-1]["reason"] == (
        "1 assets failed the last time, and are tried again"
    )
    assert pipeline.open_run(root).key("03_smoke_test").inputs == made
    (root / "broken").unlink()
    assert go(root, *stages).reason == "2 stages asked for, 1 run, 1 unchanged"
    assert go(root, *stages).reason == "2 stages asked for, 0 run, 2 unchanged"
    assert (root / "tried").read_text() == "xxx"


@pytest.mark.drill
def test_preempted_child_process_speaks_through_the_cell(tmp_path: Path) -> None:
    """What `stepladder.training` does: a SIGTERM of somebody else's, seen by the cell as `Preempted`."""
    body = "from stepladder.machine.signals import Preempted\nraise Preempted('training saved step 40')"
    outcome = go(pipeline.project(tmp_path, first=body))
    assert (outcome.state, outcome.exit_code) == ("preempted", 75) and "saved step 40" in outcome.reason


# Under papermill ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("order", ["papermill, stepladder.notebooks.runner", "stepladder.notebooks.runner, papermill"])
def test_papermill_finds_the_engine_in_any_order_of_imports(order: str) -> None:
    code = f"import {order}\nfrom papermill.engines import papermill_engines as e\nprint(e.get_engine('stepladder'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "stepladder.notebooks.runner.Engine" in done.stdout, done.stderr


def test_under_papermill_an_error_is_papermills(tmp_path: Path) -> None:
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1/0")]), source)
    options = {"engine_name": "stepladder", "kernel_name": "python3", "progress_bar": False}
    with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError"):
        papermill.execute_notebook(source, target, **options)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(7)")]), source)
    assert papermill.execute_notebook(source, target, **options).cells[0].outputs[0].text == "7\n"


def test_importing_the_runner_is_cheap() -> None:
    code = "import sys, stepladder.notebooks.runner; print('papermill' in sys.modules, 'nbformat' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr


def test_no_sockets_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = tmp_path / "s"
    sockets.mkdir()
    monkeypatch.setattr("stepladder.notebooks.engine.SOCKETS", str(sockets))
    go(pipeline.project(tmp_path, first="import os; os._exit(3)"))
    assert list(sockets.iterdir()) == []
