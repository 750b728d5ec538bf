"""One process, two with a copy each (DDP), two with a part each (FSDP2): the same training, with dropout on."""

import itertools

import pytest
import torch

from stepladder.core.config import merge
from stepladder.training.parallel import DistributedContext
from tests.training.conftest import flat, untimed, weights
from tests.training.networks import CASES
from tests.training.ranks import in_two, network_steps, training_of

pytestmark = [pytest.mark.slow, pytest.mark.drill]
BATCH, STEPS, HALF = 6, 6, 3
FIRST = [case for number, case in enumerate(CASES) if number == 0 or CASES[number - 1][0] != case[0]]
MATRIX = [
    {"training": {"ema": ema, "accumulate": accumulate}, "model": {"keep_if_better": judged}}
    for ema, accumulate, judged in itertools.product((0.0, 0.9), (1, 2), (False, True))
]


def close(one: dict, two: dict, most: float) -> list[str]:
    """Names of the tensors that differ by more than `most`."""
    assert one.keys() == two.keys()
    return [name for name in one if not torch.allclose(one[name].float(), two[name].float(), rtol=0, atol=most)]


def test_every_network_learns_the_same_in_two_processes(tmp_path):
    """Each stage with copies; the first also divided, and with another number of micro-batches."""
    base = {"batch": BATCH, "steps": 2}
    jobs = [{"name": n, "phase": p, "accumulate": 1, "shard": False, **base} for n, p in CASES]
    jobs += [{"name": n, "phase": p, "accumulate": 1, "shard": True, **base} for n, p in FIRST]
    jobs += [{"name": n, "phase": p, "accumulate": 2, "shard": False, **base} for n, p in FIRST]
    in_two(tmp_path / "ranks", jobs)
    alone, faults = {}, []
    for number, job in enumerate(jobs):
        key = (job["name"], job["phase"])
        if key not in alone:
            alone[key] = network_steps({**job, "accumulate": 1, "shard": False}, DistributedContext())
        one, two = alone[key], torch.load(tmp_path / f"ranks/{number}.pt")
        told = f"{key}, accumulate {job['accumulate']}, shard {job['shard']}"
        if not torch.allclose(torch.tensor(one["losses"]), torch.tensor(two["losses"]), rtol=2e-3):
            faults.append(f"{told}: {one['losses']} != {two['losses']}")
        # AdamW moves each weight by about the rate in every step, also where its gradient is all rounding.
        differ = [(value.float() - two["weights"][n].float()).abs().flatten() for n, value in one["weights"].items()]
        moved = torch.cat(differ)
        if moved.mean() > 1e-5:
            faults.append(f"{told}: weights differ by {moved.mean():.2g} on average")
    assert not faults, "\n".join(faults)


def test_averages_accumulation_and_judged_stages_end_alike_and_resume_exactly(make_run, tmp_path):
    """Every combination, against one process that takes the whole batch at once."""
    quick = {"training": {"steps": STEPS, "checkpoint_every": HALF, "validate_every": 2, "batch": 5, "keep": 9}}
    jobs, runs, alone = [], [], []
    for number, values in enumerate(MATRIX):
        whole = merge(quick, values, {"training": {"accumulate": 1}})
        alone.append(make_run(f"alone_{number}", whole))
        training_of(alone[-1], DistributedContext())
        for shard in (False, True):
            two = merge(quick, values, {"training": {"processes": 2, "shard": shard}})
            straight, halved = (make_run(f"{name}_{number}_{shard}", two) for name in ("straight", "halved"))
            runs.append((values, shard, alone[-1], straight, halved))
            jobs += [{"run": str(straight.folder)}, {"run": str(halved.folder), "until": HALF}]
            jobs += [{"run": str(halved.folder)}]
    in_two(tmp_path / "ranks", jobs)
    faults = []
    for values, shard, single, straight, halved in runs:
        one, two, again = (flat(weights(run)) for run in (single, straight, halved))
        told = f"{values}, shard {shard}"
        faults += [f"{told}: {name} differs from one process" for name in close(one, two, 2e-5)]
        assert halved.events("resumed")[-1]["step"] == HALF
        if not all(torch.equal(two[name], again[name]) for name in two) or untimed(straight) != untimed(halved):
            faults.append(f"{told}: resumed, it ends with other weights or metrics")
        best = [run.events("gate")[-1]["check"] for run in (single, straight, halved)]
        assert best == ["kept" if values["model"]["keep_if_better"] else "ready"] * 3
    assert not faults, "\n".join(faults)


def test_given_weights_a_start_from_others_and_a_plateau_hold_in_two_processes_too(make_run, tmp_path):
    """All at once, copied and divided, against one process; stopped half-way and continued, to the last bit."""
    source = make_run("source", {"training": {"steps": STEPS, "batch": 5}})
    training_of(source, DistributedContext())
    training = {"steps": STEPS, "validate_every": 2, "batch": 5, "keep": 9, "ema": 0.9, "activation_offload": True}
    training |= {"schedule": "plateau", "plateau_patience": 0, "plateau_threshold": 0.5, "warmup": 1}
    start = {"start_from": "toy/source", "start_from_surplus": ["first."]}
    model = {"stages": ["second"], "given": "revision 7", "keep_if_better": True}
    values = {"training": {**training, **start, "checkpoint_every": HALF}, "model": model}
    alone = make_run("alone", values)
    training_of(alone, DistributedContext())
    jobs, runs = [], []
    for shard in (False, True):
        two = merge(values, {"training": {"processes": 2, "shard": shard}})
        straight, halved = (make_run(f"{name}_{shard}", two) for name in ("straight", "halved"))
        measured = make_run(f"measured_{shard}", merge(two, {"training": {"checkpoint_every": 0}}))
        runs.append((shard, straight, halved, measured))
        jobs += [{"run": str(straight.folder)}, {"run": str(halved.folder), "until": HALF}]
        jobs += [{"run": str(halved.folder)}, {"run": str(measured.folder)}]
    in_two(tmp_path / "ranks", jobs)
    faults = []
    for shard, straight, *others in runs:
        one, two = flat(weights(alone)), flat(weights(straight))
        faults += [f"shard {shard}: {name} differs from one process" for name in close(one, two, 2e-5)]
        assert weights(straight)["given"] == {"first.": "revision 7"} and not any("first" in name for name in two)
        table = [run.events("parameter_contract")[0]["rows"] for run in (alone, straight)]
        for single, double in zip(*table, strict=True):
            assert {**single, "gradient": 0} == {**double, "gradient": 0}
            assert single["gradient"] == double["gradient"] or abs(single["gradient"] - double["gradient"]) < 1e-4
        for other in others:
            again = flat(weights(other))
            if not all(torch.equal(two[name], again[name]) for name in two) or untimed(straight) != untimed(other):
                faults.append(f"shard {shard}: {other.name} ends with other weights or metrics")
    assert len({line["lr"] for line in alone.metrics() if "lr" in line}) > 1, "the plateau cut nothing"
    assert not faults, "\n".join(faults)
