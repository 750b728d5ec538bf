"""The ledger of machines: none is forgotten, and nothing that makes no sense is taken for good news."""

import json
import multiprocessing
import time

import pytest

from stepladder.core import jsonlines
from stepladder.core.config import ParameterError
from stepladder.launch import ledger

DAY = 86400.0


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with an empty ledger."""
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path


def take(root, machine="box1/a", job="j1", **fields):
    ledger.note(root, "taken", machine, job, **{"run": "pde/full", "price": 2.0, "hours": 12.0, **fields})


def listed(*ids, state="running"):
    return ledger.well_formed(
        json.dumps([{"id": i, "name": "pde/full", "state": state, "since": "2026-11-30T10:00:00Z"} for i in ids])
    )


def test_a_machine_lives_until_it_is_given_back_with_nothing_left(root):
    take(root)
    assert [use.state for use in ledger.living(root)] == ["taken"]
    ledger.note(root, "released", "box1/a", "j1", verified=False, why="3.1 GB of GPU memory are held")
    (use,) = ledger.living(root)
    assert use.state == "not verified" and "3.1 GB" in use.words()
    ledger.note(root, "released", "box1/a", "j1", verified=True)
    assert ledger.living(root) == []
    assert ledger.uses(root)[0].state == "released"


def test_powered_off_is_the_end_and_lost_is_not(root):
    take(root)
    take(root, "box1/b")
    ledger.note(root, "powered_off", "box1/a", "j1")
    ledger.note(root, "lost", "box1/b", "j1", why="no answer for 3 min")
    assert [use.machine for use in ledger.living(root)] == ["box1/b"]


def test_a_machine_taken_twice_by_a_job_is_paid_for_once_at_a_time(root):
    take(root)
    ledger.note(root, "lost", "box1/a", "j1", why="no answer")
    take(root)
    first, second = ledger.uses(root)
    assert ledger.living(root) == [second]
    assert first.until == second.since and first.lost is not None


def test_a_lost_machine_costs_until_its_own_limit_and_says_so(root):
    take(root)
    ledger.note(root, "lost", "box1/a", "j1", why="no answer for 3 min")
    (use,) = ledger.living(root)
    assert use.cost(use.since + 5 * 3600) == pytest.approx(10.0)
    assert use.cost(use.since + 5 * DAY) == pytest.approx(24.0)  # 12 h, not 120
    assert "counted until its own limit of 12 h" in use.words()
    take(root, "box1/b", hours=None)
    ledger.note(root, "lost", "box1/b", "j1")
    assert "it has no limit" in ledger.living(root)[1].words()


def test_a_bad_machine_is_left_out_for_days_and_not_for_ever(root):
    take(root)
    ledger.note(root, "bad", "box1/a", "j1", why="matmul reaches 3 % of the data sheet")
    ledger.note(root, "bad", "box2/z", "j1", why="no disk")
    known = ledger.known_bad(root, "box1")
    assert list(known) == ["box1/a"] and "3 %" in known["box1/a"]
    assert ledger.known_bad(root, "box1", at=time.time() + 4 * DAY) == {}
    ledger.note(root, "checked", "box1/a", "j2", facts={"gpu": "RTX 4090"})
    assert ledger.known_bad(root, "box1") == {}


def test_hazards_are_learnt_from_what_was_lost(root):
    for _ in range(2):
        take(root)
        ledger.note(root, "lost", "box1/a", "j1")
    take(root, "box1/b")
    known = ledger.hazards(root, {"box1": 6.0})
    assert known["box1/a"].losses == 2 and known["box1/a"].between == pytest.approx(2.0, rel=0.01)
    assert known["box1/b"].between == pytest.approx(6.0, rel=0.01)


NO_LISTS = ["", "null", "{}", "[1]", "[{}]", "[", '"[]"', '{"error": "deprecated"}', "<html>"]
NO_LISTS += ['[{"id": "a", "name": "n", "state": "running"}]']
NO_LISTS += ['[{"id": 1, "name": "n", "state": "running", "since": "now"}]']


@pytest.mark.parametrize("text", NO_LISTS)
def test_anything_but_a_list_of_jobs_is_an_error_and_never_none(text):
    with pytest.raises(ParameterError, match="list of its jobs"):
        ledger.well_formed(text)


def test_an_empty_list_is_an_empty_list():
    assert ledger.well_formed("[]") == []


def test_the_ledger_beside_what_the_machines_say(root):
    take(root)
    take(root, "box1/b", "j2")
    take(root, "box1/c", "j3")
    told = {"box1/a": listed("j1", "j9"), "box1/b": [], "box1/c": None, "box1/d": "it printed <html>"}
    found = ledger.compare(root, told)
    assert [(machine, job.id) for machine, job in found.unknown] == [("box1/a", "j9")]
    assert [use.machine for use in found.forgotten] == ["box1/b"]
    assert [use.machine for use in found.silent] == ["box1/c"]
    assert list(found.wrong) == ["box1/d"]


def test_nothing_is_taken_while_something_unknown_lives(root):
    take(root)
    ledger.refuse_unknown(root, {"box1/a": listed("j1"), "box1/b": listed("j7", state="done"), "box1/c": None})
    with pytest.raises(ParameterError, match=r"j9.*not launched from here"):
        ledger.refuse_unknown(root, {"box1/a": listed("j1", "j9")})
    with pytest.raises(ParameterError, match="does not say what runs there"):
        ledger.refuse_unknown(root, {"box1/b": "it is no list but {}"})


def test_a_state_that_is_not_known_to_be_an_end_counts_as_alive(root):
    with pytest.raises(ParameterError, match="not launched from here"):
        ledger.refuse_unknown(root, {"box1/a": listed("j9", state="hibernating")})


def _many(root, job, count):
    for number in range(count):
        take(root, f"box1/{number}", job)
        ledger.note(root, "released", f"box1/{number}", job, verified=number % 2 == 0)


def test_two_supervisors_write_at_once_and_nothing_is_lost(root):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_many, args=(root, job, 100)) for job in ("j1", "j2")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(ledger.uses(root)) == 200
    assert len(ledger.living(root)) == 100
    assert jsonlines.read(ledger.path(root)).damaged == 0


def test_a_damaged_line_hides_no_machine(root):
    take(root)
    with ledger.path(root).open("ab") as file:
        file.write(b'{"time": "2026-11-30T10:00:00Z", "kind": "released", "mach')
    take(root, "box1/b")
    assert [use.machine for use in ledger.living(root)] == ["box1/a", "box1/b"]


def test_what_is_given_back_twice_costs_until_the_first_time(root, monkeypatch):
    for at, kind, fields in ((0, "taken", {"price": 2.0}), (1, "released", {"verified": True})):
        monkeypatch.setattr(ledger, "now", lambda at=at: f"2026-11-30T1{at}:00:00Z")
        ledger.note(root, kind, "box1/a", "j1", **fields)
    monkeypatch.setattr(ledger, "now", lambda: "2026-12-02T10:00:00Z")
    ledger.note(root, "released", "box1/a", "j1", verified=True)
    assert ledger.uses(root)[0].counted() == pytest.approx(1.0)


def test_a_clock_that_was_set_back_makes_nothing_cheaper(root, monkeypatch):
    ledger.note(root, "taken", "box1/a", "job", run="pde/one", price=2.0)
    monkeypatch.setattr(ledger, "now", lambda: "2020-01-01T00:00:00.000Z")
    ledger.note(root, "released", "box1/a", "job", verified=True, seconds=1800.0)
    (use,) = ledger.uses(root)
    assert use.cost() == pytest.approx(1.0)
