"""A supervisor is killed before and after each of its steps, once each: the job is done once, and paid for once."""

import os
from pathlib import Path

import pytest

from stepladder.launch import launching
from tests.launch.drills import STANDIN, Launched, Person, left, work
from tests.launch.test_drills import is_whole
from tests.launch.world import World

pytestmark = [
    pytest.mark.drill,
    pytest.mark.slow,
    pytest.mark.skipif("STEPLADDER_LONG" not in os.environ, reason="three minutes: `make bench` runs it"),
]
# Read by every Python that starts; only supervisors die of it.
KILLER = """
import os, runpy, signal, sys
runpy.run_path({usual!r})
if "stepladder.launch.supervisor" in sys.orig_argv:
    from stepladder.core import files
    from stepladder.launch import hosts, ledger
    from stepladder.launch import job as jobs

    seen = os.environ["DRILL_KILLED"]

    def die(step):
        open(seen, "a").close()
        if step not in open(seen).read().splitlines():
            with open(seen, "a") as file:
                file.write(step + "\\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def deadly(place, name, words):
        usual = getattr(place, name)
        def called(*given, **named):
            step = f"{name} {words(*given, **named)}".replace("\\n", " ")
            die(f"before {step}")
            result = usual(*given, **named)
            die(f"after {step}")
            return result
        setattr(place, name, called)

    def argv(host, argv, *rest, **named):
        return " ".join(argv[argv.index("-m") + 1:][:2]) if "-m" in argv else " ".join(argv)[:24]

    deadly(jobs, "write_state", lambda run, state: f"{state.state} {bool(state.machine)} {state.doing[:12]}")
    deadly(jobs, "note", lambda run, kind, **fields: f"{kind} {fields.get('what', '')}")
    deadly(ledger, "note", lambda root, kind, *rest, **fields: kind)
    deadly(hosts.Host, "call", argv)
    deadly(hosts.Host, "push", lambda host, *rest: "")
    deadly(hosts.Host, "pull", lambda host, *rest: "")
    deadly(files, "write_compact", lambda path, value: str(path).rpartition("/")[2])
"""


def test_killed_at_each_of_its_steps_a_supervisor_is_gone_on_from(
    person: Person, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer" / "sitecustomize.py").write_text(
        KILLER.replace("{usual!r}", repr(str(STANDIN / "sitecustomize.py")))
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'killer'}:{person.environment['PYTHONPATH']}")
    monkeypatch.setenv("DRILL_KILLED", str(tmp_path / "killed"))
    job = Launched(person.run("killed"))
    job.ends(300)
    killed = (tmp_path / "killed").read_text().splitlines()
    assert {"after note ended ", "after note released ", "before call stepladder.launch.box clean"} <= set(killed)
    assert is_whole(job) and [use.state for use in job.uses() if use.state != "released"] == [], job.told()
    assert len(job.noted("started")) <= 2 and job.state.attempt == 1, job.told()
    assert not any(work(host) or left(host) for host in world)
    assert not launching.watched(job.run).is_claim
