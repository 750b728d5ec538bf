"""Rolling back: what is chosen, what is kept, and that history in the parameters gives the same weights."""

import pytest
import torch
import typer
from typer.testing import CliRunner

from stepladder.cli.rollback import rollback as rollback_command
from stepladder.core import claim, config, files, lock
from stepladder.core.config import ParameterError, merge
from stepladder.core.run import Run
from stepladder.machine.signals import Preempted
from stepladder.training import rollback
from tests.training.conftest import QUICK, flat, train_here, untimed, weights
from tests.training.test_loop import steps, stop_after

KEEP = {"training": {"keep": 99}}


@pytest.fixture
def begun(make_run, tmp_path):
    """`begun(name, values, until)`: a run of a project with a profile, trained up to a step."""
    files.write_text(tmp_path / "params" / "toy" / "quick.yaml", config.dump(merge(QUICK, KEEP)))

    def make(name="run", values=None, until=None):
        run = Run(make_run(name, merge(KEEP, values or {})).folder, tmp_path)
        if until:
            with pytest.raises(Preempted):
                train_here(run, stop_after(until))
        else:
            train_here(run)
        return run

    return make


def same(one, two):
    left, right = flat(weights(one)), flat(weights(two))
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


CHANGES = [
    {"training.learning_rate": 1e-4},
    {"training.clip_norm": 0.01},
    {"training.weight_decay": 0.9, "training.learning_rate": 5e-3},
]


@pytest.mark.parametrize("settings", CHANGES)
def test_rolled_back_and_gone_on_equals_the_same_history_from_scratch(begun, settings):
    run = begun(until=23)
    done = rollback.rollback(run, settings, step=10)
    assert steps(run) == [5, 7, 10] and (done.step, done.reached) == (10, 23)
    train_here(run)
    assert run.events("resumed")[-1]["step"] == 10
    scratch = begun("scratch", {"training": {"changes": done.assignments["training.changes"]}})
    plain = begun("plain")
    assert untimed(run) == untimed(scratch) and same(run, scratch)
    assert not same(run, plain), "the change has an effect"
    assert untimed(run)[:11] == untimed(plain)[:11], "and none before its step"


def test_nothing_is_lost_and_an_event_tells(begun):
    run = begun()
    before = (run.folder / "metrics.jsonl").read_bytes()
    rollback.rollback(run, {"training.learning_rate": "1e-4"}, step=14)
    told = run.events("rolled_back")[0]
    aside = run.folder / told["folder"]
    assert (told["step"], told["reached"]) == (14, 30)
    assert told["assignments"] == {"training.changes": [{"after": 14, "learning_rate": 1e-4}]}
    assert (aside / "metrics.jsonl").read_bytes() == before
    assert sorted(place.name for place in (aside / "checkpoints").iterdir())[-1] == "step_00000030"
    assert run.overrides("quick") == {"training": {"changes": [{"after": 14, "learning_rate": 1e-4}]}}


def test_only_training_and_what_follows_is_stale_afterwards(begun, monkeypatch):
    run = begun(until=12)
    before = {name: run.key(name).hash for name in ("03_smoke_test", "04_scaling", "05_training")}
    rollback.rollback(run, {"training.learning_rate": 1e-4})
    after = {name: run.key(name).hash for name in before}
    assert [name for name in before if before[name] != after[name]] == ["05_training"]


def test_the_last_good_checkpoint_is_chosen(begun):
    run = begun(values={"model": {"worsens": True}})
    done = rollback.plan(run, {})
    assert done.step == 10, "the last that validation does not call worse than the best, of step 7"
    assert "step 30: it is the end of training" in done.why and "validation loss" in done.why
    sound = begun("sound", until=13)
    assert (rollback.plan(sound, {}).step, rollback.plan(sound, {}).why) == (13, "the newest")


def test_a_damaged_checkpoint_is_not_gone_back_to(begun):
    run = begun(until=13)
    (run.checkpoints / "step_00000013" / "state.pt").write_bytes(b"half")
    done = rollback.plan(run, {})
    assert done.step == 10 and "not step 13: state.pt has 4 bytes" in done.why
    with pytest.raises(ParameterError, match=r"step 13: state\.pt has 4 bytes"):
        rollback.plan(run, {}, step=13)


def test_what_is_wrong_by_a_step_is_told():
    def lines(losses, name="loss"):
        return [{"step": step, "stage": "all", name: loss} for step, loss in enumerate(losses, 1)]

    assert rollback.fault(lines([5.0] * 10 + [1.0] * 20), 30) is None
    assert rollback.fault(lines([1.0] * 20 + [1.4] * 20), 40) is None
    assert "far above" in (rollback.fault(lines([1.0] * 20 + [1.6] * 20), 40) or "")
    assert rollback.fault(lines([1.0] * 20 + [1.6] * 20), 20) is None, "what came later is not its fault"
    assert "far above" in (rollback.fault(lines([-2.0] * 20 + [-0.5] * 20), 40) or "")
    assert "validation" in (rollback.fault(lines([1.0, 1.2], "validation_loss"), 2) or "")
    assert rollback.fault([], 5) is None


def test_later_changes_are_dropped_and_one_at_the_same_step_is_joined(begun):
    run = begun(until=23)
    rollback.rollback(run, {"training.learning_rate": 1e-4}, step=15)
    train_here(run)
    first = rollback.rollback(run, {"training.clip_norm": 0.5}, step=15)
    joined = {"after": 15, "learning_rate": 1e-4, "clip_norm": 0.5}
    assert first.assignments["training.changes"] == [joined]
    second = rollback.rollback(run, {"training.learning_rate": 3e-4}, step=10)
    assert second.assignments["training.changes"] == [{"after": 10, "learning_rate": 3e-4}]


def test_a_change_set_by_hand_goes_on_from_the_last_checkpoint_before_it(begun, make_run):
    run = begun(until=23)
    make_run(values=merge(KEEP, {"training": {"changes": [{"after": 12, "learning_rate": 1e-4}]}}))
    train_here(run)
    assert run.events("resumed")[-1]["step"] == 10
    event = run.events("checkpoints_set_aside")[-1]
    assert (event["changed"], event["after"]) == (["training.changes"], 10)
    assert (run.folder / event["folder"] / "checkpoints" / "step_00000023" / "COMMITTED").exists()


def test_the_best_of_an_older_checkpoint_is_still_there_to_go_back_to(begun):
    values = {"training": {"keep": 4}, "model": {"keep_if_better": True}}
    run = begun(values=values, until=23)
    kept = steps(run)
    for step in kept[-4:]:
        best = files.read_json(run.checkpoints / f"step_{step:08d}" / "COMMITTED")["best"]
        assert best is None or best["step"] in kept


@pytest.mark.parametrize(
    ("settings", "step", "said"),
    [
        ({"training.batch": 8}, None, "'training.batch' cannot change on the way"),
        ({"training.learnin_rate": 8}, None, "did you mean 'training.learning_rate'"),
        ({"training.learning_rate": -1}, None, "learning_rate"),
        ({}, 11, r"no checkpoint of step 11 \(kept: 5, 7, 10, 12\)"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_touched(begun, settings, step, said):
    run = begun(until=12)
    with pytest.raises(ParameterError, match=said):
        rollback.rollback(run, settings, step)
    assert steps(run) == [5, 7, 10, 12] and not run.events("rolled_back") and run.overrides("quick") == {}


def test_a_run_at_work_is_refused(begun):
    run = begun(until=12)
    with (
        lock.hold(run.stage_folder("05_training"), "training"),
        pytest.raises(ParameterError, match="is training: stop"),
    ):
        rollback.rollback(run, {})
    files.write_json(run.folder / claim.PATH, {"state": "running", "job": "j", "machine": "box/host"})
    with pytest.raises(ParameterError, match=r"launched from here.*stop it first"):
        rollback.rollback(run, {})


def test_the_command_rolls_back_and_says_how_to_go_on(begun, tmp_path, monkeypatch):
    run = begun(until=12)
    monkeypatch.setenv("STEPLADDER_ROOT", str(tmp_path))
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path))
    app = typer.Typer()
    app.command()(rollback_command)
    said = CliRunner().invoke(app, ["toy/run", "--set", "training.learning_rate=1e-4", "--step", "10"])
    assert said.exit_code == 0, said.output
    assert "toy/run: back to step 10 of 12 (as asked)" in said.output
    assert "run toy" in said.output and run.overrides("quick")["training"]["changes"][0]["after"] == 10
