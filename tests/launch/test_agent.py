"""The agent ends a job when that is right, though nobody is there to see it, and says truly how it ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepladder.core import config, files, jsonlines
from stepladder.launch import box
from stepladder.launch import job as jobs
from stepladder.launch.agent import Agent, Terms
from stepladder.launch.job import JOB, Job
from tests.machine.drills import wait_for

pytestmark = pytest.mark.drill
# Instead of a walk: a process that does as the test says, with records where a run has them.
WORK = """
import json, os, signal, subprocess, sys, time
from stepladder.core.run import Run
from stepladder.launch.agent import Agent, Terms
from stepladder.launch import box
Agent.command = lambda self: [sys.executable, "-c", {work!r}]
box.main(["start", {folder!r}])
"""


def begin(folder: Path, work: str, terms: dict | None = None, secrets: dict | None = None) -> dict:
    """Start an agent as the launcher does, over a job that runs `work`; what `start` prints."""
    job = Job("pde", "one", "smoke", "box", stages=("05_training",), id="job1")
    if not (folder / "job.json").exists():
        jobs.write(job, folder / "job.json")
    (folder / "outputs" / "pde" / "one").mkdir(parents=True, exist_ok=True)
    asked = {"terms": {"root": str(folder), **(terms or {})}, "secrets": secrets or {}}
    code = WORK.format(work=work, folder=str(folder))
    told = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked) + "\n", capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout)


def ended(folder: Path, patience: float = 60.0) -> dict:
    """How the job ended, once it has."""
    limit = time.monotonic() + patience
    while time.monotonic() < limit:
        told = box.status(folder)
        if told["state"] != "running":
            return told
        time.sleep(0.05)
    raise AssertionError(f"still running: {told}")


@pytest.mark.parametrize(
    ("code", "state"), [(0, "done"), (1, "failed"), (75, "preempted"), (124, "timeout"), (137, "oom"), (-9, "failed")]
)
def test_how_it_ended_is_told_by_a_file(tmp_path, code, state):
    end = f"raise SystemExit({code})" if code >= 0 else "import os; os.kill(os.getpid(), 9)"
    begin(tmp_path, end)
    told = ended(tmp_path)
    assert told["state"] == "ended" and told["ended"]["state"] == state and not box.members("job1")


@pytest.mark.parametrize(
    ("terms", "cause"),
    [
        ({"price": 3600.0, "budget": 14.0, "save": 1.0}, "budget"),  # a dollar a second
        ({"hours": 6 / 3600, "save": 1.0}, "hours"),
        ({"stuck_minutes": 3 / 60}, "stuck"),
    ],
)
def test_it_is_ended_by_itself_and_asked_to_save_first(tmp_path, terms, cause):
    save = "import signal, sys, time\n"
    save += "signal.signal(15, lambda *_: (open('saved', 'w').close(), sys.exit(75)))\ntime.sleep(600)"
    began = time.monotonic()
    begin(tmp_path, save, terms)
    told = ended(tmp_path)["ended"]
    assert (told["cause"], told["state"]) == (cause, "timeout") and (tmp_path / "saved").exists()
    if cause == "budget":
        assert told["spent"] <= terms["budget"] + terms["price"] / 3600 * 1.0  # a heartbeat, at most
        assert told["spent"] == pytest.approx(time.monotonic() - began, abs=5)


def test_what_had_done_all_when_it_was_asked_to_end_is_done(tmp_path):
    begin(tmp_path, "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(0))\ntime.sleep(600)")
    time.sleep(1.0)
    files.write_json(tmp_path / "stop.json", {"reason": "stopped by a person"})
    told = ended(tmp_path)["ended"]
    assert (told["cause"], told["state"]) == ("done", "done") and "stopped by" not in told["reason"]


def test_progress_is_no_standstill(tmp_path):
    """Metrics that grow, or events, keep it alive; heartbeats do not."""
    work = (
        "import time\nfrom pathlib import Path\nplace = Path('outputs/pde/one')\n"
        "for n in range(40):\n    (place / 'metrics.jsonl').open('a').write('{}\\n'); time.sleep(0.1)\n"
    )
    begin(tmp_path, work, {"stuck_minutes": 2 / 60})
    assert ended(tmp_path)["ended"]["cause"] == "done"


def test_heartbeats_alone_are_a_standstill(tmp_path):
    line = '{"kind": "heartbeat", "time": "2026-01-01T00:00:00Z"}\\n'
    work = (
        "import time\nfrom pathlib import Path\nplace = Path('outputs/pde/one')\n"
        f"while True:\n    (place / 'events.jsonl').open('a').write('{line}'); time.sleep(0.1)\n"
    )
    begin(tmp_path, work, {"stuck_minutes": 2 / 60, "grace": 1.0})
    assert ended(tmp_path)["ended"]["cause"] == "stuck"


def test_who_does_not_hear_is_killed_with_all_it_started(tmp_path):
    deaf = (
        "import signal, subprocess, sys, time\nsignal.signal(15, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, 1); time.sleep(600)'],"
        " start_new_session=True)\ntime.sleep(600)"
    )
    begin(tmp_path, deaf, {"grace": 1.0})
    files.write_json(tmp_path / "stop.json", {"reason": "enough"})
    told = ended(tmp_path)["ended"]
    assert told["cause"] == "stopped" and told["reason"] == "enough" and not box.members("job1")


def test_a_killed_agent_takes_its_job_along_and_the_job_is_lost(tmp_path):
    begin(tmp_path, "import time; time.sleep(600)")
    os.kill(files.read_object(tmp_path / "agent.json")["pid"], signal.SIGKILL)
    assert ended(tmp_path)["state"] == "lost"
    limit = time.monotonic() + 20
    while box.members("job1") and time.monotonic() < limit:
        time.sleep(0.05)
    assert not box.members("job1")


def test_started_twice_it_runs_once(tmp_path):
    begin(tmp_path, "import time; time.sleep(600)")
    first = files.read_object(tmp_path / "agent.json")
    begin(tmp_path, "import time; time.sleep(600)")
    assert files.read_object(tmp_path / "agent.json") == first
    files.write_json(tmp_path / "stop.json", {})
    ended(tmp_path)


def test_secrets_are_in_the_environment_and_nowhere_else(tmp_path):
    secret = "s3cr" + "et" * 8
    work = "import os; from pathlib import Path; Path('seen').write_text(str(len(os.environ['MY_KEY'])))\n"
    begin(tmp_path, work + "import time; time.sleep(600)", secrets={"MY_KEY": secret})
    limit = time.monotonic() + 30
    while not (tmp_path / "seen").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert (tmp_path / "seen").read_text() == str(len(secret))
    pids = [files.read_object(tmp_path / "agent.json")["pid"], *box.members("job1")]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    assert len(commands) >= 2 and not any(secret.encode() in command for command in commands)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    files.write_json(tmp_path / "stop.json", {})
    ended(tmp_path)


def test_a_full_disk_does_not_hide_how_it_ended(tmp_path):
    """Room for the last record was kept from the beginning."""
    begin(tmp_path, "raise SystemExit(0)")
    ended(tmp_path)
    assert not (tmp_path / "reserve").exists()


def test_cleaning_leaves_nothing(tmp_path, capsys):
    place = tmp_path / "jobs" / "job1"
    place.mkdir(parents=True)
    begin(place, "import time; time.sleep(600)")
    box.clean(place)
    told = json.loads(capsys.readouterr().out)
    assert told["left"] == 0 and told["gone"] and told["ended"] >= 2 and not place.exists()


def test_a_checkpoint_is_asked_for_when_the_last_is_too_old(tmp_path):
    work = (
        "import json, time\nfrom pathlib import Path\nfrom stepladder.core import files\n"
        "from stepladder.machine import processes\nplace = Path('outputs/pde/one')\n"
        "record = {**processes.identity(), 'run': 'pde/one', 'key': {'parameters': {}, 'code': {}, 'inputs': {}}}\n"
        "files.write_json(place / '05_training' / 'job.json', record)\n"
        "for n in range(600):\n    (place / 'metrics.jsonl').open('a').write('{}\\n'); time.sleep(0.1)\n"
    )
    begin(tmp_path, work, {"between": 0.001, "save": 0.5, "restart": 0.0})  # every 2.4 seconds, by the formula
    asked = tmp_path / "outputs/pde/one/05_training/save-now"
    limit = time.monotonic() + 60
    while not asked.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert asked.exists()
    files.write_json(tmp_path / "stop.json", {})
    ended(tmp_path)


def test_the_job_s_environment_names_it(tmp_path):
    agent = Agent(tmp_path, Job("pde", "one", "smoke", "box", id="x"), box.Terms(root="/code"), {"KEY": "value"})
    own = agent.environment
    assert own[JOB] == "x" and own["KEY"] == "value" and own["STEPLADDER_OUTPUTS"] == str(tmp_path / "outputs")
    assert jsonlines.read(tmp_path / "none.jsonl") == []


def test_a_damaged_record_does_not_end_the_watch(tmp_path):
    begin(tmp_path, "import time; time.sleep(600)")
    (tmp_path / "stop.json").write_text("{half")
    limit = time.monotonic() + 30
    while "Damaged" not in (tmp_path / "agent.log").read_text() and time.monotonic() < limit:
        time.sleep(0.05)
    assert box.status(tmp_path)["state"] == "running"
    files.write_json(tmp_path / "stop.json", {"reason": "enough"})
    assert ended(tmp_path)["ended"]["reason"] == "enough"


def test_cleaning_twice_is_cleaning(tmp_path, capsys):
    box.clean(tmp_path / "jobs" / "job1")
    assert json.loads(capsys.readouterr().out)["gone"]


def test_it_powers_off_once_it_was_fetched_from_and_not_before(tmp_path, monkeypatch, capsys):
    place, tools, off = tmp_path / "jobs" / "job1", tmp_path / "bin", tmp_path / "off"
    place.mkdir(parents=True)
    for name in ("poweroff", "sudo"):
        files.write_text(tools / name, f"#!/bin/sh\ntouch {off}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    begin(place, "raise SystemExit(0)", {"on_end": "poweroff", "fetch_minutes": 5.0})
    ended(place)
    time.sleep(2.5)  # longer than between two looks
    assert not off.exists()
    box.clean(place)
    assert json.loads(capsys.readouterr().out)["gone"]
    wait_for(off.exists, 20)


def test_no_link_is_told_of(tmp_path, capsys):
    jobs.write(Job("pde", "one", "smoke", "box", stages=("05_training",), id="job1"), tmp_path / "job.json")
    run = tmp_path / "outputs" / "pde" / "one"
    files.write_text(run / "run.json", "{}")
    (run / "link.json").symlink_to("/etc/passwd")
    box.sums(tmp_path)
    assert list(json.loads(capsys.readouterr().out)) == ["pde/one/run.json"]


@pytest.mark.parametrize(
    "value",
    ["\U0001f600 \u2028 \x85", "a\nb\n", "-x: 'y' \"z\"", " ", "no", "", "1e-4", 5e-05, 1e300, None, [1, {"a": "b"}]],
)
def test_a_setting_arrives_as_it_was_given(tmp_path, value):
    asked = Job("pde", "one", "smoke", "box", stages=("05_training",), settings={"training.note": value})
    (given,) = [
        part for part in Agent(tmp_path, asked, Terms(str(tmp_path)), {}).command() if part.startswith("--set=")
    ]
    assert config.parse_assignment(given.removeprefix("--set=")) == {"training": {"note": value}}
