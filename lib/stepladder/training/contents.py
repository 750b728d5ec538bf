"""What a checkpoint holds of a training, and how it is put back.

Decisions:
- Everything that a step changes: weights, optimizer, averaged weights, scaler. Sampling, schedules and random numbers
  are functions of the step and need nothing.
- Weights that the model is given (see `trainable`) are left out: of them it holds the identities, and belongs to no
  model that is given others.
- The optimizer's state is named by parameter, so it does not depend on the number of ranks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint import state_dict as gathered
from torch.distributed.tensor import DTensor, distribute_tensor

from stepladder.training.step import TrainState
from stepladder.training.trainable import given, given_prefixes, match_weights

WHOLE = gathered.StateDictOptions(full_state_dict=True, cpu_offload=True)
SOME = gathered.StateDictOptions(full_state_dict=True, broadcast_from_rank0=False, strict=False)


def state_of(model: nn.Module, train_state: TrainState) -> dict[str, Any]:
    """All tensors of a training but the given ones, whole and on the CPU of the first rank. Every rank must call it."""
    first, prefixes = train_state.distributed.first, given_prefixes(model)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(prefixes)}
    return {
        "model": {name: _whole(value, first) for name, value in own.items()},
        "given": given(model),
        "optimizer": gathered.get_optimizer_state_dict(model, train_state.optimizer, options=WHOLE),
        "average": {n: _whole(v, first) for n, v in train_state.ema.values.items()} if train_state.ema else None,
        "scaler": train_state.scaler.state_dict() if train_state.scaler else None,
    }


def restore_model(state: dict[str, Any], model: nn.Module) -> None:
    """Load the weights; `ContractError` when they are not exactly the model's, or it is given others."""
    match_weights(model, state["model"], state.get("given", {}))
    load_some(model, state["model"])


def load_some(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load weights that were looked at; what is not among them stays. Every rank must call it, with the same."""
    gathered.set_model_state_dict(model, dict(weights), options=SOME)


def judged(state: dict[str, Any]) -> dict[str, Any]:
    """A state with the weights that validation judged: averaged ones where they were kept."""
    return {**state, "model": {**state["model"], **(state["average"] or {})}}


def restore_train_state(state: dict[str, Any], model: nn.Module, train_state: TrainState) -> None:
    """Load what belongs to a stage under way: optimizer, averaged weights, scaler."""
    gathered.set_optimizer_state_dict(model, train_state.optimizer, state["optimizer"], options=SOME)
    for name, parameter in model.named_parameters():
        if name not in state["optimizer"]["state"]:  # of a task that nothing has labelled yet; torch would make one up
            train_state.optimizer.state.pop(parameter, None)
    for name, value in (state["average"] or {}).items():
        assert train_state.ema is not None, "averaged weights of a training that keeps none"
        own = train_state.ema.values[name]
        own.copy_(distribute_tensor(value, own.device_mesh, own.placements) if isinstance(own, DTensor) else value)
    if train_state.scaler and state["scaler"]:
        train_state.scaler.load_state_dict(state["scaler"])


def _whole(value: torch.Tensor, wanted: bool) -> torch.Tensor:
    """A tensor's full value, gathered where it is sharded, on the CPU where it is wanted; else nothing."""
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.cpu() if wanted else torch.empty(0)
