"""The loop: what it writes, what it refuses, what it keeps."""

import json
import math
import shutil

import pytest
import torch

from stepladder.core import files, jsonlines
from stepladder.core.config import merge
from stepladder.machine.signals import Preempted
from stepladder.training.checkpoint import load_model
from stepladder.training.loop import TrainingError
from stepladder.training.worker import in_force, read_parameters
from tests.training.conftest import flat, train_here, untimed, weights

COMPILES = (
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler on the CPU"),
)


def steps(run):
    return [int(place.parent.name[5:]) for place in sorted(run.checkpoints.glob("step_*/COMMITTED"))]


def stop_after(count):
    """A signal that comes during step `count`."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= count


def test_loss_falls_and_every_step_is_told(make_run):
    run = make_run()
    job = train_here(run)
    lines = [m for m in run.metrics() if "loss" in m]
    assert [m["step"] for m in lines] == list(range(1, 31))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert {"stage", "loss_absolute", "lr", "norm", "samples_per_s", "time"} <= lines[0].keys()
    assert [m["step"] for m in run.metrics() if "validation_loss" in m] == [7, 14, 21, 28, 30]
    assert job.progress.step == 30 and math.isfinite(job.progress.best["loss"])


def test_the_newest_and_the_best_checkpoint_are_kept(make_run):
    run = make_run(values={"training": {"keep": 2}, "model": {"worsens": True}})
    assert train_here(run).progress.best["step"] == 7
    assert steps(run) == [7, 25, 30]
    assert load_model(*read_parameters(run), run.checkpoints)[1]["step"] == 7


def test_stopped_anywhere_and_continued_equals_uninterrupted(make_run):
    whole = make_run("whole")
    train_here(whole)
    parts = make_run("parts")
    for count in (1, 6, 8):
        with pytest.raises(Preempted, match="the checkpoint is saved"):
            train_here(parts, stop_after(count))
    train_here(parts)
    assert [e["step"] for e in parts.events("resumed")] == [1, 7, 15]
    assert untimed(parts) == untimed(whole)
    one, two = flat(weights(whole)), flat(weights(parts))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_training_does_nothing_when_started_again(make_run):
    run = make_run()
    train_here(run)
    before = run.metrics()
    assert train_here(run).progress.step == 30
    assert run.metrics() == before


def test_accumulation_changes_nothing_with_dropout_on(make_run):
    whole, parts = make_run("whole"), make_run("parts", {"training": {"accumulate": 3}})
    train_here(whole), train_here(parts)
    for one, two in zip(whole.metrics(), parts.metrics(), strict=True):
        key = "loss" if "loss" in one else "validation_loss"
        assert one[key] == pytest.approx(two[key], rel=1e-4)


def test_stages_follow_each_other_and_freeze_the_rest(make_run):
    run = make_run(values={"model": {"stages": ["first", "second"]}, "training": {"ema": 0.0, "keep": 99}})
    train_here(run)
    assert [m["stage"] for m in run.metrics() if "loss" in m] == ["first"] * 30 + ["second"] * 30
    rates = [m["lr"] for m in run.metrics() if "lr" in m]
    assert rates[30:] == rates[:30], "each stage has its own schedule"
    middle, end = (torch.load(run.checkpoints / f"step_{s:08d}/state.pt", weights_only=True)["model"] for s in (30, 60))
    same = {name: torch.equal(middle[name], end[name]) for name in end}
    assert all(same[name] == name.startswith("first") for name in same)
    assert read_best(run, 60)["step"] > 30, "the best of a stage is one of its own"


def test_a_judged_stage_ends_with_its_best_weights_and_a_verdict(make_run):
    values = {"model": {"worsens": True, "keep_if_better": True}, "training": {"keep": 99}}
    run = make_run(values=values)
    job = train_here(run)
    best, end = (torch.load(run.checkpoints / f"step_{s:08d}/state.pt", weights_only=True) for s in (7, 30))
    concluded = job.study.concluded
    assert all(torch.equal(end["model"][name], value) for name, value in concluded.items())
    assert all(torch.equal(best["average"][name], value) for name, value in concluded.items())
    verdict = run.events("gate")[-1]
    assert (verdict["check"], verdict["ok"], verdict["reason"]) == ("kept", True, "all is kept")
    assert read_best(run, 30)["step"] == 30, "what was judged is what is evaluated"
    loaded, facts = load_model(*read_parameters(run), run.checkpoints)
    assert facts["step"] == 30 and all(torch.equal(loaded.state_dict()[k], v) for k, v in concluded.items())


@pytest.mark.parametrize("keep_if_better", [False, True])
def test_two_stages_stopped_and_continued_equal_uninterrupted(make_run, keep_if_better):
    values = {"model": {"stages": ["first", "second"], "keep_if_better": keep_if_better}, "training": {"steps": 5}}
    whole, parts = make_run("whole", values), make_run("parts", values)
    train_here(whole)
    for count in (5, 2):
        with pytest.raises(Preempted):
            train_here(parts, stop_after(count))
    train_here(parts)
    one, two = flat(weights(whole)), flat(weights(parts))
    assert untimed(parts) == untimed(whole) and all(torch.equal(one[name], two[name]) for name in one)


def read_best(run, step):
    return files.read_json(run.checkpoints / f"step_{step:08d}/COMMITTED")["best"]


def test_a_refused_stage_stops_with_its_reason(make_run):
    run = make_run(values={"model": {"can_start": False}})
    with pytest.raises(TrainingError, match="stage 'all' may not start: the toy was told to refuse"):
        train_here(run)
    assert run.events("gate")[-1]["ok"] is False and steps(run) == []


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(make_run):
    run = make_run(values={"model": {"nan_at": 5}})
    with pytest.raises(TrainingError, match=r"is not finite \(loss = nan"):
        train_here(run)
    reached = run.events("not_finite")[0]["step"]
    assert all(step < reached for step in steps(run))
    assert all(math.isfinite(m["loss"]) for m in run.metrics() if "loss" in m)


def test_other_parameters_begin_anew_and_lose_nothing(make_run):
    run = make_run()
    train_here(run)
    make_run(values={"training": {"learning_rate": 2e-3, "checkpoint_every": 6}})
    train_here(run)
    event = run.events("checkpoints_set_aside")[0]
    assert event["changed"] == ["training.learning_rate"]
    aside = run.folder / event["folder"]
    assert len(jsonlines.read(aside / "metrics.jsonl")) == len(run.metrics())
    assert (aside / "checkpoints/step_00000030/COMMITTED").exists() and run.metrics()[0]["step"] == 1


def test_what_only_changes_speed_may_change_on_the_way(make_run):
    run = make_run()
    with pytest.raises(Preempted):
        train_here(run, stop_after(9))
    make_run(values={"training": {"keep": 5, "log_every": 1, "prefetch": 4, "precision": "bfloat16"}})
    train_here(run)
    assert run.events("resumed")[0]["step"] == 9 and not run.events("checkpoints_set_aside")


def test_the_ladders_choice_is_obeyed_unless_told_otherwise(make_run):
    run = make_run()
    files.write_json(
        run.stage_folder("04_scaling") / "ladder.json", {"chosen": {"workers": 1, "batch": 2, "accumulate": 2}}
    )
    _, params = read_parameters(run)
    obeyed = in_force(run, params)
    assert (obeyed.workers, obeyed.batch, obeyed.accumulate) == (1, 4, 2)
    stubborn = params.model_copy(update={"training": params.training.model_copy(update={"use_ladder": False})})
    assert in_force(run, stubborn) == stubborn.training


def test_evaluation_gets_the_averaged_weights_of_the_best_step(make_run):
    run = make_run()
    job = train_here(run)
    study, params = read_parameters(run)
    model, facts = load_model(study, params, run.checkpoints)
    assert facts["step"] == job.progress.best["step"] and facts["average"] and not model.training
    data, total = job.validation, 0.0
    for index in range(len(data)):
        sample = data.sample(index, None)
        with torch.no_grad():
            y = model(torch.from_numpy(sample["x_C"])[None])
        total += float((y - sample["y"]) ** 2)
    told = [m["validation_loss"] for m in run.metrics() if m["step"] == facts["step"] and "validation_loss" in m]
    fixed = {index for batch in job.fixed for _, index in batch}
    assert told == [pytest.approx(job.progress.best["loss"])] and len(fixed) == 4 and total > 0
    last, facts = load_model(study, params, run.checkpoints, "last")
    assert facts["step"] == 30 and last is not model


@pytest.mark.parametrize(
    "switches",
    [
        ["activation_checkpointing"],
        ["activation_offload"],
        ["activation_offload", "activation_checkpointing"],
        pytest.param(["compile"], marks=COMPILES),
        pytest.param(["compile", "activation_checkpointing"], marks=COMPILES),
        pytest.param(["compile", "activation_offload"], marks=COMPILES),
    ],
)
def test_what_is_applied_from_outside_changes_nothing_with_dropout_on(make_run, switches):
    values, on = {"training": {"steps": 5}}, {"training": dict.fromkeys(switches, True)}
    plain, other = make_run("plain", values), make_run("other", merge(values, on))
    train_here(plain), train_here(other)
    for one, two in zip(plain.metrics(), other.metrics(), strict=True):
        key = "loss" if "loss" in one else "validation_loss"
        assert one[key] == pytest.approx(two[key], rel=1e-5)
    assert weights(plain)["model"].keys() == weights(other)["model"].keys()


def test_metrics_are_plain_json(make_run):
    run = make_run()
    train_here(run)
    for line in (run.folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
