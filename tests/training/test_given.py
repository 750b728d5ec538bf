"""Weights that a model is given: no checkpoint holds them, none is loaded into a model that is given others."""

import pytest
import torch
from torch import nn

from stepladder.core import files
from stepladder.core.study import find
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, worker
from stepladder.training.optimize import EMA
from stepladder.training.trainable import ContractError
from tests.training.conftest import flat, train_here, untimed, weights

GIVEN = {"model": {"stages": ["second"], "keep_if_better": True, "given": "revision 7"}}


def give(monkeypatch, identity):
    """From now on the toy's model says that its first part is given."""
    of_toy = type(find("toy"))
    make = of_toy.model

    def model(self, params):
        made = make(self, params)
        made.given = {"first.": identity}
        return made

    monkeypatch.setattr(of_toy, "model", model)


def test_a_checkpoint_holds_what_is_trained_and_says_what_was_given(make_run):
    run = make_run(values=GIVEN)
    job = train_here(run)
    state = weights(run)
    assert state["given"] == {"first.": "revision 7"}
    assert sorted(state["model"]) == sorted(n for n in job.model.state_dict() if n.startswith("second"))
    assert state["average"].keys() == state["model"].keys()
    seal = files.read_json(run.checkpoints / "step_00000030" / "COMMITTED")
    assert seal["given"] == state["given"]
    told = run.events("checkpoint")[-1]
    assert told["bytes"] == (run.checkpoints / "step_00000030" / "state.pt").stat().st_size == seal["bytes"]


def test_it_is_loaded_into_a_model_that_is_given_the_same(make_run):
    run = make_run(values=GIVEN)
    job = train_here(run)
    study, params = worker.read_parameters(run)
    loaded, _ = checkpoint.load_model(study, params, run.checkpoints, "last")
    assert torch.equal(loaded.state_dict()["first.0.weight"], torch.eye(16, 4))
    best, _ = checkpoint.load_model(study, params, run.checkpoints, "best")
    shown = job.study.concluded  # to `accept`: the best weights
    assert all(torch.equal(value, shown[name]) for name, value in best.state_dict().items())


def test_killed_and_resumed_it_ends_the_same(make_run):
    whole, parts = make_run("whole", GIVEN), make_run("parts", GIVEN)
    train_here(whole)
    for count in (3, 9):
        asked = iter(range(1, 100))
        with pytest.raises(Preempted):
            train_here(parts, lambda asked=asked, count=count: next(asked) >= count)
    train_here(parts)
    assert untimed(parts) == untimed(whole)
    one, two = flat(weights(whole)), flat(weights(parts))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_model_that_is_given_others_is_refused_by_name(make_run, monkeypatch):
    run, asked = make_run(values=GIVEN), iter(range(1, 100))
    with pytest.raises(Preempted):
        train_here(run, lambda: next(asked) >= 8)
    study, params = worker.read_parameters(run)
    give(monkeypatch, "revision 8")
    with pytest.raises(ContractError, match=r"given: first\. is revision 8, was revision 7"):
        checkpoint.load_model(study, params, run.checkpoints)
    with pytest.raises(ContractError, match=r"given: first\. is revision 8, was revision 7"):
        train_here(run)


def test_a_whole_checkpoint_is_not_loaded_into_a_model_that_is_given_a_part(make_run, monkeypatch):
    run = make_run(values={"model": {"stages": ["second"]}, "training": {"steps": 5}})
    train_here(run)
    give(monkeypatch, "revision 7")
    with pytest.raises(ContractError, match=r"surplus: first.*given: first\. is revision 7, was not given"):
        checkpoint.load_model(*worker.read_parameters(run), run.checkpoints)


def test_a_checkpoint_of_old_says_nothing_of_what_is_given(make_run):
    run = make_run(values={"training": {"steps": 5}})
    train_here(run)
    place = run.checkpoints / "step_00000005"
    state = torch.load(place / "state.pt", weights_only=True)
    del state["given"]
    torch.save(state, place / "state.pt")
    seal = files.read_json(place / "COMMITTED")
    seal |= {"sha256": files.file_sha256(place / "state.pt"), "bytes": (place / "state.pt").stat().st_size}
    files.write_json(place / "COMMITTED", seal)
    assert "given" not in seal
    assert checkpoint.load_model(*worker.read_parameters(run), run.checkpoints)[1]["step"] == 5


def test_a_stage_that_trains_what_is_given_is_refused_before_any_step(make_run, monkeypatch):
    give(monkeypatch, "revision 7")
    run = make_run(values={"model": {"stages": ["second", "first"]}})
    with pytest.raises(ContractError, match=r"stage 'first' trains first\.0\.weight, which the model says is given"):
        train_here(run)
    assert not run.metrics()


def test_no_average_is_kept_of_what_is_given():
    model = nn.ModuleDict({"tower": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    model.given = {"tower": "x"}
    ema = EMA(model, 0.9)
    assert sorted(ema.values) == ["head.bias", "head.weight"]
    with torch.no_grad():
        model["head"].bias.fill_(2.0)
    with ema.applied():
        assert torch.equal(model["head"].bias, ema.values["head.bias"])
    assert float(model["head"].bias.detach()[0]) == 2.0
