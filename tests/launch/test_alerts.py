"""Alerts: what is told, once; where it goes; and that nothing that fails there is felt by the job."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stepladder.core import jsonlines
from stepladder.core.config import check
from stepladder.core.run import Run
from stepladder.core.schema import ALERTS, LaunchParams
from stepladder.launch import alerts
from stepladder.launch import job as jobs
from stepladder.launch.alerts import Alerts, Seen, occurrences
from stepladder.launch.job import Job, State

RUNNING = State("j", "running", machine="box1/a", attempt=1)


def params(*rules, **values):
    return check(LaunchParams, {"alerts": list(rules), **values})


@pytest.fixture
def launched(tmp_path):
    """A run with a job."""
    run = Run(tmp_path / "pde" / "r")
    job = Job("pde", "r", "quick", "box1", budget=10.0, id="j")
    jobs.write(job, run.folder / "launch" / "job.json")
    return run, job


@pytest.fixture
def hook(monkeypatch):
    """A server that keeps what it gets and answers with `server.code`; its address is in HOOK_URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.got.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(self.server.code)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.code = [], 200
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{server.server_port}/hidden-path")
    yield server
    server.shutdown()
    server.server_close()


def kinds(seen, given=None):
    return [alert.kind for alert in occurrences(seen, given or params()).values()]


def test_every_kind_of_alert_follows_from_the_records():
    job = Job("pde", "r", "quick", "box1", budget=10.0)
    stopped = {"kind": "finished", "state": "preempted", "reason": "a person"}
    told = {
        "nan": Seen(job, RUNNING, not_finite=[{"time": "t", "step": 9, "values": "loss = nan"}]),
        "stalled": Seen(job, RUNNING, still=601.0),
        "preempted": Seen(job, RUNNING, [{"kind": "ended", "ending": "preempted", "machine": "box1/a"}]),
        "lost": Seen(job, RUNNING, [{"kind": "lost", "machine": "box1/a", "why": "silent"}]),
        "over_budget": Seen(job, State("j", "running", spent=10.5)),
        "finished": Seen(job, State("j", "done"), [{"kind": "finished", "state": "done"}]),
        "failed": Seen(job, State("j", "oom"), [{"kind": "finished", "state": "oom", "reason": "memory"}]),
    }
    assert set(told) == set(ALERTS)
    assert all(kinds(seen) == [kind] for kind, seen in told.items())
    assert kinds(Seen(job, RUNNING, [{"kind": "taken"}, {"kind": "ended", "ending": "done"}], still=599.0)) == []
    assert kinds(Seen(job, State("j", "queued"), still=1e6)) == [], "what waits for a machine does not stall"
    assert kinds(Seen(job, State("j", "preempted"), [stopped])) == [], "who stops a job knows"
    twice = Seen(job, RUNNING, not_finite=[{"time": "t", "step": step, "values": "loss = nan"} for step in (1, 7)])
    assert kinds(twice) == ["nan", "nan"], "two of one millisecond are two"
    over = [{"kind": "ended", "ending": "budget"}]
    assert kinds(Seen(job, State("j", "timeout", spent=11.0), over)) == ["over_budget"], "one occurrence, told once"


def test_a_metric_passes_a_level():
    rules = params({"when": ["validation_loss > 2.5", "lr < 1e-6"]})
    job = Job("pde", "r", "quick", "box1")
    assert kinds(Seen(job, RUNNING, metrics={"step": 5, "validation_loss": 2.6, "lr": 1e-3}), rules) == [
        "validation_loss > 2.5"
    ]
    assert kinds(Seen(job, RUNNING, metrics={"step": 5, "validation_loss": 2.5, "lr": 1e-7}), rules) == ["lr < 1e-6"]
    assert kinds(Seen(job, RUNNING), rules) == []


def test_each_occurrence_is_told_once_also_by_the_next_supervisor(launched):
    run, job = launched
    rules = params({"when": ["loss > 3"]})
    run.event("not_finite", step=1, values="of an earlier job")
    watch = Alerts(run, job, rules)
    assert watch.look(RUNNING) == [], "what happened before the job began is none of its"
    run.event("not_finite", step=7, values="loss = nan")
    jobs.note(run, "lost", machine="box1/a", why="silent")
    jsonlines.append(run.folder / "metrics.jsonl", {"step": 8, "loss": 4.0})
    assert [alert.kind for alert in watch.look(RUNNING)] == ["nan", "lost", "loss > 3"]
    assert watch.look(RUNNING) == [] and Alerts(run, job, rules).look(RUNNING) == []
    for step, loss in ((9, 2.0), (10, 5.0)):
        jsonlines.append(run.folder / "metrics.jsonl", {"step": step, "loss": loss})
        told = [alert.text for alert in watch.look(RUNNING)]
    assert told == ["loss = 5 at step 10 (loss > 3)"], "passed again, told again"
    jobs.note(run, "lost", machine="box1/b", why="silent")
    assert [alert.text for alert in watch.look(RUNNING)] == ["box1/b is lost: silent"]
    assert [event["alert"] for event in run.events("alert")] == ["nan", "lost", "loss > 3", "loss > 3", "lost"]


def test_a_webhook_gets_json_and_a_rule_only_its_own_alerts(launched, hook):
    run, job = launched
    watch = Alerts(run, job, params({"when": ["lost"], "webhook": "HOOK_URL"}))
    watch.look(RUNNING)
    run.event("not_finite", step=7, values="loss = nan")
    jobs.note(run, "lost", machine="box1/a", why="silent")
    assert len(watch.look(RUNNING)) == 2
    watch.close()
    [(kind, body)] = hook.got
    assert kind == "application/json" and body["text"] == "pde/r: box1/a is lost: silent"
    assert (body["alert"], body["study"], body["run"], body["job"], body["machine"]) == (
        *("lost", "pde", "r", "j"),
        "box1/a",
    )
    assert not run.events("alert_failed")


@pytest.mark.parametrize("fault", ["answers 500", "nobody listens", "not set", "no address"])
def test_a_webhook_that_fails_is_an_event_without_its_address(launched, hook, monkeypatch, fault):
    run, job = launched
    hook.code = 500
    if fault == "nobody listens":
        monkeypatch.setenv("HOOK_URL", "http://127.0.0.1:9/hidden-path")
    elif fault == "not set":
        monkeypatch.delenv("HOOK_URL")
    elif fault == "no address":
        monkeypatch.setenv("HOOK_URL", "file:///hidden-path")
    watch = Alerts(run, job, params({"when": ["lost"], "webhook": "HOOK_URL"}))
    jobs.note(run, "lost", machine="box1/a", why="silent")
    assert len(watch.look(RUNNING)) == 1
    watch.close()
    [event] = run.events("alert_failed")
    assert (event["alert"], event["way"]) == ("lost", "webhook HOOK_URL")
    assert "hidden-path" not in (run.folder / "events.jsonl").read_text()
    said = {"answers 500": "500", "nobody listens": "refused", "not set": "not set", "no address": "no address"}
    assert said[fault] in event["reason"]


def test_a_command_gets_the_alert_on_stdin_and_may_hang_or_fail(launched, tmp_path, monkeypatch):
    run, job = launched
    keeps = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(tmp_path / "got")]
    fails, hangs = ["sh", "-c", "echo broken >&2; exit 3"], ["sleep", "60"]
    rules = [{"when": ["lost"], "command": command} for command in (fails, hangs, ["no-such-program"])]
    watch = Alerts(run, job, params({"when": ["lost"], "command": keeps}))
    jobs.note(run, "lost", machine="box1/a", why="silent")
    watch.look(RUNNING)
    watch.close()
    assert json.loads((tmp_path / "got").read_text())["alert"] == "lost"
    monkeypatch.setattr(alerts, "COMMAND_SECONDS", 0.5)
    watch = Alerts(run, job, params(*rules))
    jobs.note(run, "lost", machine="box1/b", why="silent")
    watch.look(RUNNING)
    watch.close()
    said = {event["way"]: event["reason"] for event in run.events("alert_failed")}
    assert "code 3: broken" in said["command sh"] and "timed out" in said["command sleep"]
    assert "No such file" in said["command no-such-program"]


@pytest.mark.slow
def test_an_alert_of_wandb_is_kept_offline(launched, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    run, job = launched
    watch = Alerts(run, job, params({"when": ["lost"], "wandb": True}))
    jobs.note(run, "lost", machine="box1/a", why="silent")
    watch.look(RUNNING)
    watch.close(120)
    assert not run.events("alert_failed")
    [log] = (run.folder / "launch" / "wandb").glob("offline-run-*/run-*.wandb")
    patience = time.monotonic() + 30  # its own process writes the file, a moment after it has said so
    while b"box1/a is lost: silent" not in log.read_bytes():
        assert time.monotonic() < patience, log.read_bytes()
        time.sleep(0.05)


def test_stalled_is_told_until_there_is_progress(launched, monkeypatch):
    run, job = launched
    clock = [1000.0]
    monkeypatch.setattr(alerts.time, "monotonic", lambda: clock[0])
    watch = Alerts(run, job, params(stalled_minutes=5.0))
    told = []
    for minute in range(20):
        clock[0] += 60
        run.event("heartbeat", stage="05_training")  # of a process that lives
        if minute == 9:
            run.event("progress", text="converted 3 of 9")
        told += [(minute, alert.kind) for alert in watch.look(RUNNING)]
    assert told == [(6, "stalled"), (15, "stalled")]
