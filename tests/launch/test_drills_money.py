"""What a person pays for: nothing bad, nothing unknown, nothing after the end, and no secret left behind.

Every drill looks at what is left: processes and files there, the ledger here.
"""

import os
import subprocess

import pytest

from stepladder.launch import ledger
from tests.launch.drills import Launched, Person, left, work
from tests.launch.world import World
from tests.machine.drills import wait_for

pytestmark = pytest.mark.drill
ALL = list(range(1, 61))


def test_a_machine_that_is_not_what_was_promised_goes_back_before_data_moves(person: Person, world: World) -> None:
    world["hostA"].there(world["hostA"].home / "broken").touch()
    job = Launched(person.run("bad"))
    job.ends()
    assert job.state.state == "done" and job.steps == ALL, job.told()
    assert [(line["attempt"], line["machine"]) for line in job.noted("bad")] == [(1, "box/hostA")]
    assert [line["attempt"] for line in job.noted("sent")] == [2] and not left(world["hostA"])
    assert [use.state for use in job.uses()] == ["released", "released"]
    assert "it computes as it should" in ledger.known_bad(person.root, "box")["box/hostA"]


def test_stopped_it_saves_and_leaves_neither_work_nor_files_nor_secrets(
    person: Person, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = os.urandom(20).hex()
    monkeypatch.setenv("DRILL_TOKEN", token)
    person.targets(secrets=["DRILL_TOKEN"])
    job = Launched(person.run("stopped", {"model": {"sleep": 0.2}}), secrets=("DRILL_TOKEN",))
    job.reaches(5)
    host = job.machine(world)
    assert any(f"DRILL_TOKEN={token}" in process.environ for process in host.processes()), "it is where it is needed"
    assert host.traces(token) == [] == person.traces(token)
    state = person.stops(job)
    assert (state.state, max(job.saved)) == ("preempted", max(job.steps)), job.told()
    assert person.is_whole_checkpoint(job.run, max(job.saved)) and job.steps == list(range(1, max(job.steps) + 1))
    assert "40 characters of a token" in (job.run.folder / "launch" / "box.log").read_text()
    assert work(host) == [] == left(host) and host.traces(token) == [] == person.traces(token)
    assert [use.state for use in job.uses()] == ["released"]


def test_where_no_machine_is_left_the_way_out_leads_to_the_end(person: Person, world: World) -> None:
    job = Launched(person.run("alone", {"model": {"sleep": 0.1}}), restarts=0)
    job.reaches(12)
    for host in world:
        host.kill()
    state = job.ends()
    assert state.state == "lost" and "--on local" in state.reason and "drill/alone" in state.reason, job.told()
    job = Launched(job.run, target="local")
    job.ends()
    assert job.state.state == "done" and job.steps == ALL, job.told()


def test_nothing_is_taken_while_a_job_lives_there_that_nobody_knows(person: Person, world: World) -> None:
    folder = ".stepladder/jobs/0123456789ab"
    script = f"mkdir -p {folder}; cd {folder}; exec 0</dev/null 1>/dev/null 2>&1; setsid bash -c "
    script += f"'exec -a \"python -m stepladder.launch.box start {folder}\" sleep 600' & "
    script += "echo '{\n \"pid\": '$!'\n}' > agent.json; "
    script += 'echo \'{\n "study": "other",\n "run": "one",\n "created": "2026-11-30"\n}\' > job.json'
    subprocess.run(["ssh", *person.ssh, "hostB", script], check=True, timeout=30)
    job = Launched(person.run("unknown"))
    state = job.ends()
    assert state.state == "failed" and "0123456789ab (other/one, running" in state.reason, job.told()
    assert job.uses() == [] and not any(left(host) for host in world if host.name == "hostA")


def test_a_budget_is_not_passed_and_more_of_it_goes_on(person: Person, world: World) -> None:
    person.targets(dollars_per_hour=3600.0)  # a dollar a second
    run = person.run("budget", {"model": {"sleep": 1.0}})  # a minute, which it has not the dollars for
    run.event("checkpoint", step=0, seconds=2.0)  # what saving took before: twice that before the end it has to stop
    job = Launched(run, budget=28.0)
    state = job.ends()
    assert state.state == "timeout" and "budget" in state.reason, job.told()
    assert state.spent <= 28 and max(job.saved) == max(job.steps) and not any(work(host) for host in world)
    wait_for(lambda: not person.supervisors(), 60)  # the pages are drawn
    person.targets(dollars_per_hour=3.6)
    person.sets(run, "model.sleep", 0.01)
    job = Launched(run, budget=80.0)
    job.ends()
    assert job.state.state == "done" and job.steps == ALL, job.told()


def test_what_did_not_even_arrive_is_cleared_away(person: Person, world: World) -> None:
    world["hostA"].leave(8)  # enough for the code, not for the data
    job = Launched(person.run("large", kilobytes=12_000))
    job.ends()
    assert job.state.state == "done" and job.state.attempt == 2, job.told()
    assert left(world["hostA"]) == [] and [use.state for use in job.uses()] == ["released", "released"]
