"""`training.start_from`: what is loaded, what is refused, and what makes another training."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stepladder.core.config import ParameterError, merge
from stepladder.core.schema import TrainingParams
from stepladder.core.study import find
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, schedule, starting, worker
from stepladder.training.trainable import ContractError
from tests.training.conftest import flat, train_here, untimed, weights

SHORT = {"training": {"steps": 5}}


def net():
    """A fresh model with two parts."""
    return nn.ModuleDict({"tower": nn.Linear(3, 2), "head": nn.Linear(2, 1)})


def saved(tmp_path, tensors):
    """The origin of a file of safetensors that holds `tensors`."""
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    safetensors.save_file(tensors, path)
    return starting.Origin(path, "")


def begun_from(make_run, named, **training):
    """The fresh model of a training that starts from `named`, before its first step; and its run."""
    run, shown = make_run("next", merge(SHORT, {"training": {"start_from": named, **training}})), []
    of_toy = type(find("toy"))
    can_start = of_toy.can_start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            of_toy,
            "can_start",
            lambda self, phase, model, batch: (
                shown.append({n: v.clone() for n, v in model.state_dict().items()})
                or can_start(self, phase, model, batch)
            ),
        )
        train_here(run)
    return shown[0], run


def test_a_training_starts_from_the_best_checkpoint_of_a_run(make_run):
    source = make_run("source")
    train_here(source)
    model, run = begun_from(make_run, "toy/source")
    best, facts = checkpoint.load_model(*worker.read_parameters(source), source.checkpoints)
    assert all(torch.equal(value, model[name]) for name, value in best.state_dict().items())
    [told] = run.events("started_from")
    assert told["sha256"] == facts["sha256"] and (told["tensors"], told["missing"], told["surplus"]) == (6, 0, 0)
    assert told["parameters"] == sum(value.numel() for value in model.values())


def test_and_from_a_folder_or_a_file(make_run, tmp_path):
    source = make_run("source", SHORT)
    train_here(source)
    place = source.checkpoints / "step_00000005"
    model, _ = begun_from(make_run, str(place))
    file = saved(tmp_path, {name: value + 1 for name, value in model.items()})
    shifted, _ = begun_from(make_run, str(file.path))
    assert all(torch.equal(shifted[name], value + 1) for name, value in model.items())


def test_a_resumed_training_does_not_start_again(make_run):
    source = make_run("source", SHORT)
    train_here(source)
    values = {"training": {"start_from": "toy/source"}}
    whole, parts = make_run("whole", values), make_run("parts", values)
    train_here(whole)
    asked = iter(range(1, 100))
    with pytest.raises(Preempted):
        train_here(parts, lambda: next(asked) >= 8)
    train_here(parts)
    assert len(parts.events("started_from")) == 1 and untimed(parts) == untimed(whole)
    assert all(torch.equal(a, b) for a, b in zip(*(flat(weights(r)).values() for r in (whole, parts)), strict=True))


def test_other_weights_under_the_same_name_make_another_training(make_run, tmp_path):
    fresh = find("toy").model(worker.read_parameters(make_run())[1]).state_dict()
    prints, keys = [], []
    for shift in (0.0, 1.0, 0.0):
        origin = saved(tmp_path, {name: value + shift for name, value in fresh.items()})
        run = make_run("run", merge(SHORT, {"training": {"start_from": str(origin.path)}}))
        study, params = worker.read_parameters(run)
        prints.append(schedule.config_fingerprint(run, study, params, params.training))
        keys.append(schedule.job_key(run, params).inputs)
    assert schedule.changed(prints[0], prints[1]) == ["training.start_from"] and prints[0] == prints[2]
    assert keys[0] != keys[1] and keys[0] == keys[2]
    assert str(tmp_path) not in str(prints)
    plain = make_run("plain", SHORT)
    study, params = worker.read_parameters(plain)
    print_ = schedule.config_fingerprint(plain, study, params, params.training)
    assert not any("start_from" in name for name in print_)  # as fingerprints of old


@settings(deadline=None, max_examples=40)
@given(
    left_out=st.sets(st.sampled_from(sorted(net().state_dict()))),
    more=st.sets(st.sampled_from(["decoder.a", "decoder.b", "tower.scale"])),
    missing=st.sets(st.sampled_from(["head", "tower", "tower.w", "x"])),
    surplus=st.sets(st.sampled_from(["decoder", "tower.s", "head"])),
)
def test_it_loads_only_where_all_that_differs_was_said(left_out, more, missing, surplus):
    own = {name: torch.ones_like(value) for name, value in net().state_dict().items() if name not in left_out}
    origin = starting.Origin(Path("no folder"), "")
    training = TrainingParams(start_from="w", start_from_missing=sorted(missing), start_from_surplus=sorted(surplus))
    covers = lambda names, prefixes: (  # noqa: E731
        all(name.startswith(tuple(prefixes)) for name in names)
        and all(any(name.startswith(prefix) for name in names) for prefix in prefixes)
    )
    fits, model = covers(left_out, missing) and covers(more, surplus), net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting.Origin, "read", lambda self: ({**own, **dict.fromkeys(more, torch.ones(1))}, {}))
        if fits:
            assert starting.begin(model, origin, training)["tensors"] == len(own)
        else:
            with pytest.raises(ContractError):
                starting.begin(model, origin, training)
    for name, value in model.state_dict().items():
        loaded = fits and name in own
        assert torch.equal(value, torch.ones_like(value) if loaded else before[name]), name


def test_what_does_not_fit_is_named(tmp_path):
    training = TrainingParams(start_from="w")
    state = net().state_dict()
    with pytest.raises(ContractError, match=r"missing: head\.bias \(where that is meant, name prefixes in training"):
        starting.begin(net(), saved(tmp_path, {n: v for n, v in state.items() if n != "head.bias"}), training)
    with pytest.raises(ContractError, match=r"other shapes: head\.bias \(2,\) != \(1,\)"):
        starting.begin(net(), saved(tmp_path, {**state, "head.bias": torch.zeros(2)}), training)
    with pytest.raises(ContractError, match=r"other shapes: head\.bias \(1,\) of integers != \(1,\)"):
        starting.begin(net(), saved(tmp_path, {**state, "head.bias": torch.zeros(1, dtype=torch.int64)}), training)
    idle = TrainingParams(start_from="w", start_from_surplus=["decodr"])
    with pytest.raises(ContractError, match="start_from_surplus names 'decodr', but nothing so called is surplus"):
        starting.begin(net(), saved(tmp_path, state), idle)


def test_numbers_of_another_precision_are_taken(tmp_path):
    model, state = net(), {name: value.bfloat16() for name, value in net().state_dict().items()}
    starting.begin(model, saved(tmp_path, state), TrainingParams(start_from="w"))
    assert all(torch.equal(value, state[name].float()) for name, value in model.state_dict().items())


def test_given_weights_are_not_loaded_and_must_be_the_same(make_run):
    values = merge(SHORT, {"model": {"stages": ["second"], "given": "revision 7"}})
    source = make_run("source", values)
    train_here(source)
    run = make_run("run", merge(values, {"training": {"start_from": "toy/source"}}))
    train_here(run)
    assert run.events("started_from")[0]["tensors"] == 4
    run = make_run("other", merge(values, {"training": {"start_from": "toy/source"}, "model": {"given": "revision 8"}}))
    with pytest.raises(ContractError, match=r"given: first\. is revision 8, was revision 7"):
        train_here(run)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("toy/nothing", "no run beside this one"),
        ("toy/run", "a run cannot start from itself"),
        ("toy/empty", "no whole checkpoint"),
        ("weights.pt", "no run beside this one"),
    ],
)
def test_what_is_not_there_is_refused(make_run, named, said):
    make_run("empty").checkpoints.mkdir()
    run = make_run("run", {"training": {"start_from": named}})
    run.checkpoints.mkdir()
    with pytest.raises(ParameterError, match=said):
        train_here(run)


def test_damaged_weights_are_refused(make_run, tmp_path):
    source = make_run("source", SHORT)
    train_here(source)
    state = source.checkpoints / "step_00000005" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(ParameterError, match=r"state\.pt has"):
        train_here(make_run("run", {"training": {"start_from": "toy/source"}}))
    (tmp_path / "w.safetensors").write_bytes(b"\x08")
    with pytest.raises(ParameterError, match=r"w\.safetensors cannot be read"):
        train_here(make_run("run", {"training": {"start_from": str(tmp_path / "w.safetensors")}}))


def test_exceptions_without_weights_are_refused():
    with pytest.raises(ValueError, match="say nothing without start_from"):
        TrainingParams(start_from_missing=["head"])
