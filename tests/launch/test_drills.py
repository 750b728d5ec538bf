"""A rented machine fails a job in every way that was heard of: each is told as what it is, and the run goes on.

Every drill ends with the whole curve, each step once and in order, and weights that an undisturbed run ends with too.
"""

import hashlib
import os
import random
import time

import pytest
import torch

from stepladder.core import files
from stepladder.launch import launching, overview
from tests.launch.drills import Launched, Person, agents, checkpoint_there, left, value_of, work
from tests.launch.world import World
from tests.machine.drills import wait_for
from tests.training.conftest import flat

pytestmark = pytest.mark.drill
# Beyond one drill of each kind: what takes long is left to `make bench`.
long = pytest.mark.skipif("STEPLADDER_LONG" not in os.environ, reason="half a minute or more: `make bench` runs it")
ALL = list(range(1, 61))
SLOW = {"model": {"sleep": 0.25}, "training": {"checkpoint_every": 10}}


def is_whole(job: Launched) -> bool:
    """Whether the run is done as if nothing had happened."""
    assert job.state.state == "done", job.told()
    assert job.steps == ALL, job.told()
    value = ""
    for step in ALL:
        value = hashlib.sha256(f"{value} {step}".encode()).hexdigest()
    assert value_of(job) == value, job.told()
    return True


@pytest.mark.parametrize("person", [False], indirect=True, ids=["real training"])
def test_a_machine_that_dies_costs_at_most_an_interval_and_changes_no_bit(person: Person, world: World) -> None:
    job = Launched(person.run("killed", SLOW))
    undisturbed = person.trains_here("undisturbed", SLOW)
    repeated = job.killed_at(random.Random(12).randrange(21, 40), world)
    assert job.state.state == "done" and job.state.attempt == 2 and job.steps == ALL, job.told()
    assert repeated <= job.interval, job.told()
    one, other = (flat(person.weights(run)) for run in (undisturbed(), job.run))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert [use.state for use in job.uses()] == ["lost", "released"]


def test_a_closed_laptop_changes_nothing_and_the_same_launch_comes_back(person: Person, world: World) -> None:
    job = Launched(person.run("closed"))
    job.reaches(3)
    job.kill_supervisor()
    seen, host = max(job.steps), job.machine(world)
    (metrics,) = (path for path in host.files() if path.name == "metrics.jsonl")
    wait_for(lambda: metrics.read_text().count("\n") > seen + 5, 30)
    assert max(job.steps) == seen and work(host), "the box goes on, and nobody follows it"
    assert job.begin().job == job.job.id
    job.ends()
    assert is_whole(job) and len(job.noted("taken")) == len(job.noted("started")) == 1


def test_a_supervisor_may_die_at_any_moment_and_two_may_launch_at_once(person: Person, world: World) -> None:
    run, moments = person.run("twice"), random.Random(5)
    both = [person.launches(run) for _ in range(2)]
    told = {process.communicate(timeout=60)[0] for process in both}
    assert len(told) == 1, "one job"
    job = Launched(run)
    assert {job.job.id} == {line.strip() for line in told}
    for _ in range(4):
        time.sleep(moments.uniform(0.1, 1.5))
        assert len(person.supervisors()) == 1
        job.kill_supervisor()
        job.begin()
    job.reaches(1)
    assert len(person.supervisors()) == 1 and sum(len(agents(host)) for host in world) == 1
    job.ends()
    assert is_whole(job) and len(job.noted("started")) == 1
    assert [use.state for use in job.uses()][-1] == "released" and all(use.until for use in job.uses())


def test_a_cut_link_is_waited_for_and_nothing_comes_twice(person: Person, world: World) -> None:
    person.targets(lost_minutes=2)
    job = Launched(person.run("cut", {"model": {"sleep": 0.25}}))
    job.reaches(4)
    host = job.machine(world)
    host.cut()
    seen = max(job.steps)
    time.sleep(person.cut_seconds)
    assert job.state.state == "running" and max(job.steps) <= seen + 4, "the records stand still, and it is not lost"
    host.mend()
    job.reaches(seen + 5)
    job.ends()
    assert is_whole(job) and len(job.noted("taken")) == 1 and not job.noted("lost")


def test_a_full_disk_ends_the_job_with_its_reason_and_what_was_saved_is_home(person: Person, world: World) -> None:
    job = Launched(person.run("full", {"model": {"padding": 8}}))
    job.reaches(12)
    host = job.machine(world)
    host.leave(0)
    state = job.ends()
    assert state.state == "failed" and "No space left on device" in state.reason, job.told()
    assert job.saved and max(job.saved) >= 10 and job.run.metrics().damaged == 0
    assert person.is_whole_checkpoint(job.run, max(job.saved))
    assert not work(host) and not left(host) and job.uses()[-1].state == "released"
    assert not job.noted("lost") and len(job.noted("taken")) == 1, "another machine would do the same"


def test_of_checkpoints_the_newest_whole_one_wins(person: Person, world: World) -> None:
    job = Launched(person.run("damaged", {"model": {"sleep": 0.15}}))
    job.reaches(11)
    launching.fetch(job.run)
    good, host = max(job.saved), job.machine(world)
    job.reaches(good + 6)
    launching.fetch(job.run)
    bad = max(job.saved)
    assert bad > good
    with (job.run.checkpoints / f"step_{bad:08d}" / "state.pt").open("r+b") as file:
        file.write(b"damaged on its way home")
    half = checkpoint_there(host, job) / f"step_{bad + 1:08d}"
    half.mkdir()
    (half / "state.pt").write_bytes(b"half")  # no seal yet
    host.kill()
    job.ends()
    assert is_whole(job)
    assert [event["step"] for event in job.run.events("resumed")] == [good], job.told()


def test_a_clock_that_is_off_by_an_hour_misleads_nobody(person: Person, world: World) -> None:
    for host in world:
        host.clock(3600)
    job = Launched(person.run("clock"))
    job.reaches(12)
    said = overview.sentence(job.run, job.job, job.state)
    assert abs(job.state.clock - 3600) < 60 and job.state.state == "running"
    assert "of 60" in said and "silent" not in said and " h" not in said.partition("; step")[2], said
    job.ends()
    assert is_whole(job) and job.state.hours < 0.1 and job.state.spent < 0.4
    assert abs(job.uses()[0].counted() * 3600 - person.seconds(job)) < 5


def test_a_machine_that_answers_and_computes_nothing_is_left(person: Person, world: World) -> None:
    job = Launched(person.run("stuck", {"model": {"hang_at": 12}}), stuck_minutes=0.1)
    job.until(lambda: job.state.state == "running")
    hung = job.machine(world)
    for host in world:
        if host.name != hung.name:
            host.there(host.home / "sound").touch()
    job.ends()
    assert is_whole(job) and job.state.attempt == 2
    assert [line["ending"] for line in job.noted("ended")] == ["stuck", "done"]
    assert not work(hung) and not left(hung) and {use.state for use in job.uses()} == {"released"}


def test_a_pid_that_another_process_has_is_no_job(person: Person, world: World) -> None:
    job = Launched(person.run("stale", {"model": {"sleep": 0.1}}))
    job.reaches(12)
    host = job.machine(world)
    (record,) = (path for path in host.files() if path.name == "agent.json")
    host.kill()
    host.start()  # a reboot: the disk is as it was, and somebody else has the number
    files.write_json(host.there(record.relative_to(host.disk)), {**files.read_json(record), "pid": 1})
    job.ends()
    assert is_whole(job) and job.state.attempt == 2, job.told()
    assert [line["ending"] for line in job.noted("ended")] == ["lost", "done"]
    assert not left(host) and {use.state for use in job.uses()} == {"released"}, "what it had came home"


@long
def test_a_lost_machine_that_comes_back_harms_nothing(person: Person, world: World) -> None:
    job = Launched(person.run("back", {"model": {"sleep": 0.1, "hang_at": 12}}))
    for host in world:
        if host.name != "hostA":
            host.there(host.home / "sound").touch()
    job.reaches(12)
    first = job.machine(world)
    first.cut()
    job.reaches(14)
    assert work(first), "it lives on there, for nobody can tell it"
    assert [use.state for use in job.uses()] == ["lost", "taken"]
    first.there(first.home / "sound").touch()
    first.mend()
    job.machine(world).kill()
    job.ends()
    assert is_whole(job) and job.state.attempt == 3, job.told()
    assert not work(first) and not left(first), "its old work there ended when it was taken again"


@long
def test_a_laptop_that_slept_listens_again_before_it_gives_a_machine_up(person: Person, world: World) -> None:
    job = Launched(person.run("slept", {"model": {"sleep": 0.25}}))
    job.reaches(4)
    with job.asleep():
        time.sleep(60 * person.lost_minutes + 2)
    job.ends()
    assert is_whole(job) and not job.noted("lost") and len(job.noted("taken")) == 1
