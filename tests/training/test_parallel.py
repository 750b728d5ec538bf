"""What is applied to a model from outside, on every network of the studies: blocks, recomputation, divided batches."""

import pytest
import torch
from torch import nn

from stepladder.data import draws
from stepladder.training import parallel
from stepladder.training.step import TrainState, lone_train_state, train_step
from tests.training.networks import CASES, NETWORKS, stage

SAMPLES = 4
LEAST = {  # share of the saved activation bytes that recomputing blocks does away with
    **{("plateau warp_fill", "fill"): 0.2, ("plateau occworld", "tokenizer"): 0.3, ("plateau occworld", "world"): 0.9},
    ("scroll", "sheets"): 0.5,
    **{("pde grid", "operator"): 0.6, ("pde darcy", "steady"): 0.5},
    **{("pde mesh", "operator"): 0.4, ("pde particles", "operator"): 0.35, ("pde fno", "operator"): 0.3},
    **{("pde grid", phase): 0.3 for phase in ("flow", "consistency")},  # an FNO
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def begun(name: str, phase_name: str, samples: int = SAMPLES, **training) -> TrainState:
    """A state whose first step, which decides sizes from data, is done."""
    network, phase = stage(name, phase_name)
    values = network.params.training.model_copy(update={"batch": samples, **training})
    model = network.model()
    parallel.prepare(model, values)
    train_state = lone_train_state(network.study, model, phase, values, seed=0)
    whole = values.model_copy(update={"accumulate": 1})
    train_state.training = whole
    train_step(train_state, 0, [network.batch(samples)])
    train_state.training = values
    return train_state


def saved_bytes(train_state: TrainState, batch: dict) -> int:
    """Bytes of what a forward pass keeps for backward, beside the model's own weights."""
    own = {value.untyped_storage().data_ptr() for value in train_state.model.state_dict().values()}
    kept: dict[int, torch.Tensor] = {}  # by storage: views of one are one

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept.setdefault(value.untyped_storage().data_ptr(), value)
        return value

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    with draws.at(0, range(SAMPLES), SAMPLES, torch.device("cpu")), hooks:
        train_state.module(batch)
    return sum(value.untyped_storage().nbytes() for place, value in kept.items() if place not in own)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_is_called_in_a_step_of_some_stage(name):
    network, called = NETWORKS[name], set()
    for phase in network.phases:
        train_state = begun(name, phase.name)
        blocks = parallel.blocks(train_state.model)
        hooks = [block.register_forward_hook(lambda *_, number=n: called.add(number)) for n, block in enumerate(blocks)]
        train_step(train_state, 1, [network.batch(SAMPLES)])
        for hook in hooks:
            hook.remove()
    assert blocks and called == set(range(len(blocks)))


def test_containers_are_opened_and_single_layers_left_out():
    inner = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3)])
    model = nn.ModuleDict({"stages": nn.ModuleList([inner, nn.ModuleList(nn.Linear(2, 2) for _ in range(2))])})
    assert parallel.blocks(model) == list(inner)
    assert parallel.blocks(nn.Sequential(inner[0], nn.Linear(2, 2))) == [inner[0]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "phase"), CASES)
def test_recomputation_saves_memory_and_changes_no_update(name, phase):
    batch, updated, kept = NETWORKS[name].batch(SAMPLES), [], []
    for recompute in (False, True):
        train_state = begun(name, phase, activation_checkpointing=recompute)
        kept.append(saved_bytes(train_state, batch))
        train_step(train_state, 1, [batch])
        updated.append(train_state.trainable)
    assert all(torch.equal(one, two) for one, two in zip(*updated, strict=True))
    assert 1 - kept[1] / kept[0] >= LEAST.get((name, phase), 0.4), kept


@pytest.mark.slow
@pytest.mark.parametrize(("name", "phase"), CASES)
def test_a_divided_batch_draws_as_the_whole_one(name, phase):
    """Dropout, noise, times and symmetries follow the sample: micro-batches of another size add up to the same step."""
    batch, results = NETWORKS[name].batch(SAMPLES), []
    for accumulate in (1, 2, 3):
        train_state = begun(name, phase, accumulate=accumulate)
        micros = [{k: v[m::accumulate] for k, v in batch.items()} for m in range(accumulate)]
        results.append(train_step(train_state, 1, micros))
    for result in results[1:]:
        assert float(result.loss) == pytest.approx(float(results[0].loss), rel=2e-5)
        assert float(result.norm) == pytest.approx(float(results[0].norm), rel=2e-3)


@pytest.mark.parametrize("name", ["plateau warp_fill", "plateau occworld", "scroll", "pde grid"])
def test_draws_are_there_and_differ_from_step_to_step(name):
    """Or the test above would compare nothing with nothing."""
    phase = NETWORKS[name].phases[-1]
    losses = []
    for step in (1, 2, 1):
        train_state = begun(name, phase.name, learning_rate=1e-12)
        losses.append(float(train_step(train_state, step, [NETWORKS[name].batch(SAMPLES)]).loss))
    assert losses[0] == losses[2] != losses[1]


def test_compiled_blocks_draw_by_slot_too():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), torch.ones(6, 4)
    draws.by_slot(model)
    model.compile(fullgraph=True, backend="aot_eager")
    with draws.at(1, range(6), 6, torch.device("cpu")):
        whole = model(x)
    for part in ([0, 2, 4], [1, 3, 5]):
        with draws.at(1, part, 6, torch.device("cpu")):
            assert torch.equal(model(x[part]), whole[part])
    assert 0 < int((whole == 0).sum()) < whole.numel()
