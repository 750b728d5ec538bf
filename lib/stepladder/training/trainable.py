"""What of a model learns, and the proof that every parameter takes part in it.

Decisions:
- Modules without a trainable parameter run in evaluation mode: their dropout and running statistics stand still.
- A model may say which of its weights `study.model` makes again by itself: `model.given`, prefixes of names and the
  identity of the weights below each (a digest, a revision). No stage may train them and no checkpoint holds them; it
  holds their identities, which must be the same when it is loaded.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.core.config import nearest
from stepladder.core.study import Study
from stepladder.core.types import Batch, TrainingPhase


class ContractError(ValueError):
    """A model whose parameters do not all take part as declared, named with the way out."""


def group_of(name: str) -> str:
    """The module that a parameter is counted under: its first two names."""
    return ".".join(name.split(".")[:2][: name.count(".")]) or "(model)"


def given(model: nn.Module) -> dict[str, str]:
    """Prefix of names -> identity, of weights that the model has from elsewhere and is never without."""
    return dict(getattr(model, "given", {}))


def given_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names of given weights.

    Raises:
        ContractError: one names nothing.
    """
    prefixes = tuple(given(model))
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in model.state_dict()):
            raise ContractError(f"the model says that {prefix!r} is given, but nothing in it is called so")
    return prefixes


def set_trainable(model: nn.Module, phase: TrainingPhase) -> None:
    """Let the parameters with the stage's prefixes learn, freeze the others, and set the modes of the modules.

    Raises:
        ContractError: a prefix names no parameter, or one that is given.
    """
    refuse_given(model, phase)
    names = [name for name, _ in model.named_parameters()]
    for prefix in phase.trainable:
        if not any(name.startswith(prefix) for name in names):
            known = {name.split(".")[0] for name in names}
            raise ContractError(
                f"stage {phase.name!r} trains {prefix!r}, but no parameter starts so{nearest(prefix, known)}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(phase.trainable)))
    set_modes(model)


def refuse_given(model: nn.Module, phase: TrainingPhase) -> None:
    """Refuse with a `ContractError` a stage that trains weights which the model says are given."""
    prefixes = given_prefixes(model)
    if not prefixes:
        return
    for name, _ in model.named_parameters():
        if name.startswith(prefixes) and name.startswith(tuple(phase.trainable)):
            raise ContractError(
                f"stage {phase.name!r} trains {name}, which the model says is given: no checkpoint would hold it; take "
                "it out of the stage's `trainable` prefixes, or out of `given`"
            )


def set_modes(model: nn.Module) -> None:
    """Training mode, except for modules whose parameters are all frozen."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        # Modules without parameters (dropout) keep the mode of training unless the module above them is frozen:
        # children come after their parents here, and `eval` reaches all below.
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def parameter_contract(
    study: Study, model: nn.Module, phase: TrainingPhase, batch: Batch, checkpoint: Mapping[str, Tensor] | None = None
) -> list[dict[str, Any]]:
    """Run one forward and backward of `phase` and report, by module, who takes part.

    Args:
        study, model, phase: what would be trained.
        batch: one collated batch on the model's device.
        checkpoint: weights that will be loaded, checked against the model first.

    Returns:
        Rows `module, parameters, trainable, gradient` (numbers of parameters; gradient: those that received one),
        the last row the total.

    Raises:
        ContractError: a trainable parameter receives no gradient, or the checkpoint does not fit the model.
    """
    if checkpoint is not None:
        match_weights(model, checkpoint)
    set_trainable(model, phase)
    model.zero_grad(set_to_none=True)
    # One real backward: the only proof that a gradient arrives.
    study.loss(model, batch, phase).total.backward()
    rows: dict[str, dict[str, Any]] = {}
    # Every parameter is counted under its first two names, and in the total.
    for name, parameter in model.named_parameters():
        for key in (group_of(name), "total"):
            row = rows.setdefault(key, {"module": key, "parameters": 0, "trainable": 0, "gradient": 0})
            row["parameters"] += parameter.numel()
            row["trainable"] += parameter.numel() * parameter.requires_grad
            row["gradient"] += parameter.numel() * (parameter.grad is not None)
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    model.zero_grad(set_to_none=True)
    if unused:
        raise ContractError(
            f"stage {phase.name!r}: no gradient reaches {some(unused)}: use them in the loss, remove them from the "
            "model, or leave them out of the stage's `trainable` prefixes"
        )
    return [*(row for key, row in rows.items() if key != "total"), rows["total"]]


def match_weights(
    model: nn.Module, weights: Mapping[str, Tensor], identities: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Check that `weights` are exactly the model's, but for what it is given, and that it is given the same.

    Args:
        model: which shall carry them.
        weights: of a checkpoint.
        identities: of what the checkpoint's model was given.

    Raises:
        ContractError: names of surplus, missing and mismatched parameters, or of what is given.
    """
    found = misfits(model, weights)
    differ = differing(given(model), identities)
    words = [*(f"{kind}: {some(names)}" for kind, names in found.items() if names), *differ]
    if words:
        raise ContractError(
            f"the checkpoint does not fit the model ({'; '.join(words)}): it was made with other `model` parameters or "
            "code; restore those, or train under another run name"
        )


def misfits(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of `weights` that the model lacks or is given, of what it misses, and of what has another shape or kind."""
    prefixes = given_prefixes(model)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith(prefixes)}
    surplus, missing = sorted(weights.keys() - own.keys()), sorted(own.keys() - weights.keys())
    pairs = {name: (_form(weights[name]), _form(own[name])) for name in own.keys() & weights.keys()}
    mismatched = [f"{name} {theirs} != {ours}" for name, (theirs, ours) in sorted(pairs.items()) if theirs != ours]
    return {"surplus": surplus, "missing": missing, "mismatched": mismatched}


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """What is given to one of two models and not to the other, or as something else, in words."""
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    nothing = "not given"
    return [f"given: {name} is {ours.get(name, nothing)}, was {theirs.get(name, nothing)}" for name in names]


def _form(value: Tensor) -> str:
    """Shape of a tensor, with the kind of its numbers where that is not the usual one."""
    kind = "" if value.is_floating_point() else " of bool" if value.dtype == torch.bool else " of integers"
    return f"{tuple(value.shape)}{kind}"


def some(names: list[str], shown: int = 5) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
