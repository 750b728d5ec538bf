"""The Lab of a rented machine, opened here as a person opens it: through a real ssh, with its link cut and mended."""

import json
import shutil
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepladder.cli import main
from stepladder.core.config import ParameterError
from stepladder.launch import tunnel
from tests.conftest import ROOT

TARGETS = f"targets:\n  box1:\n    hosts: [hostA, hostB]\n    python: {sys.executable}\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own with targets, in git."""
    home = tmp_path / "project"
    names = subprocess.check_output(["git", "ls-files", "lib", "notebooks", "params"], cwd=ROOT, text=True).splitlines()
    for name in (*names, "pyproject.toml", "constraints.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    (home / "params/targets.yaml").write_text(TARGETS)
    subprocess.run(["git", "init", "-q", str(home)], check=True)
    monkeypatch.setenv("STEPLADDER_ROOT", str(home))
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "outputs"))
    return home


class Opened:
    """`stepladder lab --on box1`, running: what it says, and the Lab through it."""

    def __init__(self, port):
        command = [sys.executable, "-m", "stepladder.cli", "lab", "--on", "box1", "--no-browser", f"--port={port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port, self.said = port, ""
        self.page = Path(self.until("open ").split()[1])
        self.token = self.page.read_text().partition("token=")[2].partition('"')[0]

    def until(self, words):
        """The next line that begins so."""
        for line in self.process.stdout:
            self.said += line
            if words in line:
                return line
        raise AssertionError(self.said)

    def ask(self, path, token=None):
        """What the Lab answers: JSON, or the code of an error."""
        headers = {"Authorization": f"token {token}"} if token else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers), timeout=30
            ) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code

    def interrupt(self):
        """Ctrl-C; all that it said."""
        self.process.send_signal(signal.SIGINT)
        self.said += self.process.stdout.read()
        assert self.process.wait(60) == 0, self.said
        return self.said


@pytest.fixture
def opened():
    """Open it; whatever is left open is closed at the end."""
    found = []

    def open_it(port):
        found.append(Opened(port))
        return found[-1]

    yield open_it
    for one in found:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        one.process.stdout.close()


def command_lines():
    return [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]


@pytest.mark.slow
@pytest.mark.drill
def test_the_lab_of_a_machine_is_opened_left_found_again_and_ended(world, project, opened):
    host, port = world["hostA"], tunnel.free_port()
    first = opened(port)
    assert "kernels" in first.ask("/api/status", first.token) and first.ask("/api/status") == 403
    assert any(item["name"] == "notebooks" for item in first.ask("/api/contents", first.token)["content"])

    # The token: nowhere but in the server's environment, Jupyter's own closed folder, and the page of this person.
    assert all("/lab/runtime/" in trace for trace in host.traces(first.token))
    assert stat.S_IMODE(host.there(f"{host.home}/.stepladder/lab").stat().st_mode) == 0o700
    assert stat.S_IMODE(first.page.stat().st_mode) == 0o600 and stat.S_IMODE(first.page.parent.stat().st_mode) == 0o700
    assert not any(first.token.encode() in line for line in command_lines())

    # The link is cut for longer than ssh waits: the same port leads there again, the server is the same one.
    begun = first.ask("/api/status", first.token)["started"]
    host.cut()
    first.until("trying again")
    host.mend()
    first.until("the link is there again")
    assert first.ask("/api/status", first.token)["started"] == begun

    # Ctrl-C closes the tunnel alone; the next one finds the Lab, and sends nothing.
    said = first.interrupt()
    assert "goes on" in said and "--stop" in said and first.token not in said and not first.page.parent.exists()
    second = opened(tunnel.free_port())
    assert second.token == first.token and second.ask("/api/status", second.token)["started"] == begun
    assert "sending the code" in first.said and "sending" not in second.said

    # A restart of the machine ends the Lab; the open tunnel begins it again, with the same token.
    host.kill()
    second.until("trying again")
    host.start()
    second.until("the link is there again")
    assert second.ask("/api/status", second.token)["started"] > begun
    second.interrupt()

    told = CliRunner().invoke(main.app, ["lab", "--on", "box1", "--stop"]).output
    assert "has ended" in told and not any("jupyterlab" in process.argv for process in host.processes())
    assert "no Lab runs" in CliRunner().invoke(main.app, ["lab", "--on", "box1", "--stop"]).output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--on", "local"], "is this machine"),
        (["--on", "box2"], "did you mean 'box1'"),
        (["--on", "box1/hostC"], "known: box1/hostA, box1/hostB"),
        (["--on", "box1", "--debug"], "--no-browser and --port"),
        (["--stop"], "--stop needs --on"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_way_out(project, arguments, words):
    result = CliRunner().invoke(main.app, ["lab", *arguments])
    assert isinstance(result.exception, ParameterError) and words in str(result.exception)


def test_a_machine_that_does_not_answer_is_named(project, monkeypatch, tmp_path):
    config = tmp_path / "ssh_config"
    config.write_text("Host hostA\n  HostName 127.0.0.1\n  Port 9\n")
    monkeypatch.setenv("STEPLADDER_SSH_CONFIG", str(config))
    result = CliRunner().invoke(main.app, ["lab", "--on", "box1"])
    assert "box1/hostA cannot be reached" in str(result.exception)
