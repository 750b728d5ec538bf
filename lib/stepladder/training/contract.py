"""The contract of a stage: what its first optimizer step did to every group of parameters, or training stops there.

Decisions:
- Refused by name are: a frozen group that the update moved, a trained one that got no gradient, and one that got a
  gradient and stayed as it was (a rate below the rounding of its numbers). What only looks odd is told and not refused:
  a gradient of exact zeros, which whatever lies before a layer that begins at zero has in its first step.
- What a model itself does to frozen parameters in its forward pass (slow copies of a student's weights) is its own
  business, and told. Only what it says is `given` may not move at all: no checkpoint holds it.
- Whether a parameter changed is told by a sum of its bits, which is exact in any order of summation: nothing is cloned,
  and a change of one bit of one weight is seen.
- A step that updates nothing (no label in it, or gradients of float16 that overflowed) leaves it to the next one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stepladder.training.logbook import TrainingError
from stepladder.training.step import TrainState
from stepladder.training.trainable import given_prefixes, group_of

CHUNK = 1 << 22  # elements summed at once: of a large parameter no copy is made
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass
class Group:
    """Parameters of one module that are all trained, or all frozen, by their numbers in the model."""

    name: str
    trained: bool
    given: bool
    members: dict[int, nn.Parameter] = field(default_factory=dict[int, nn.Parameter])


class FirstStep:
    """A look at one optimizer step: made before it, and handed to `train_step`, which calls it before the update.

    Args:
        train_state: of the stage, before its first step. All ranks must look.
    """

    def __init__(self, train_state: TrainState):
        self._state, self._groups = train_state, _groups(train_state.model)
        self._before, self._between = self._checksums(), torch.empty(0)
        self._norm_G, self._absent_G = torch.empty(0), list[bool]()

    def __call__(self, counts: Mapping[str, float] | None) -> None:
        """Look at the gradients; `counts` are the labelled units of the step by task, where there are tasks."""
        self._between, self._norm_G = self._checksums(), self._norms()
        absent = [task for task, count in (counts or {}).items() if not count]
        tasks = self._state.tasks
        silent = {id(one) for one in tasks.own(self._state.model, absent)} if tasks and absent else set[int]()
        self._absent_G = [all(id(one) in silent for one in group.members.values()) for group in self._groups]

    def rows(self) -> list[dict[str, Any]] | None:
        """`group, trained, parameters, gradient, changed, verdict` after the step; None where it updated nothing.

        `gradient` is the L2 norm before clipping, None without one; the same on all ranks.
        """
        norms = self._norm_G.tolist()
        told = [norm for norm in norms if norm >= 0]
        if not told or (self._state.scaler and not all(map(math.isfinite, told))):
            return None
        moved_P2 = torch.stack([self._before != self._between, self._between != self._checksums()], 1).cpu()
        flags = [moved_P2[list(group.members)].any(0).float().tolist() for group in self._groups]
        flat = self._state.distributed.largest(*(flag for pair in flags for flag in pair))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [_row(*one) for one in zip(self._groups, norms, self._absent_G, pairs, strict=True)]

    def _checksums(self) -> Tensor:
        """One of every parameter, of this rank's part of it."""
        device = self._state.distributed.device
        return torch.stack([checksum(_local(one)).to(device) for one in self._state.model.parameters()])

    def _norms(self) -> Tensor:
        """Gradient norm of every group over all ranks, at its true size; -1 where no member has one."""
        distributed, scaler = self._state.distributed, self._state.scaler
        sums = [self._squares(group) for group in self._groups]
        total_G2 = distributed.total(torch.stack(sums))
        norm_G = total_G2[:, 0].sqrt() / (scaler.get_scale() if scaler else 1.0)
        return torch.where(total_G2[:, 1] > 0, norm_G, -1.0)

    def _squares(self, group: Group) -> Tensor:
        """This rank's part of a group's sum of squares, and the number of its gradients."""
        distributed, total = self._state.distributed, torch.zeros(2, dtype=torch.float64)
        total = total.to(distributed.device)
        for gradient in (one.grad for one in group.members.values() if one.grad is not None):
            # A copy's gradient is the same on all ranks, and counted once; of a divided one each rank has its part.
            share = 1.0 if isinstance(gradient, DTensor) else 1 / distributed.world
            norm = torch.linalg.vector_norm(_local(gradient), dtype=_wide(gradient)).to(total)
            total = total + torch.stack([norm.square() * share, torch.ones_like(norm)])
        return total


def proven(first: FirstStep, stage: str, step: int, report: Callable[..., None]) -> bool:
    """Tell what the step has done, as the event `parameter_contract`; False where it has updated nothing yet.

    Raises:
        TrainingError: the contract is broken, by whom and how.
    """
    rows = first.rows()
    if rows is None:
        return False
    report("parameter_contract", stage=stage, step=step, rows=rows)
    if found := faults(rows):
        raise TrainingError(f"the first step of stage {stage!r} breaks the parameter contract: {found}")
    return True


def faults(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is refused in the rows of a first step, in words; empty where nothing is."""
    ways = {
        "no gradient": "is trained and gets no gradient: use it in the loss, or leave it out of the stage's `trainable`"
        " prefixes",
        "did not change": "is trained, has a gradient of {gradient:.3g}, and did not change: the learning rate is below"
        " the rounding of its numbers (keep trained weights in float32) or the optimizer does not hold it",
        "moved": "is frozen and moved: something beside the stage's `trainable` prefixes changes it",
    }
    return "; ".join(f"{row['group']} {ways[row['verdict']].format(**row)}" for row in rows if row["verdict"] in ways)


def checksum(values: Tensor) -> Tensor:
    """Sum of the bits of all elements, each times an odd number of its own, modulo 2 ** 64, as an int64 scalar."""
    plain = torch.view_as_real(values.detach()) if values.is_complex() else values.detach()
    bits_N = plain.view(BITS[plain.element_size()]).reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=bits_N.device)
    for begin in range(0, len(bits_N), CHUNK):
        part = bits_N[begin : begin + CHUNK].long()
        place = torch.arange(begin, begin + len(part), device=part.device)
        total = total + (part * (2 * place + 1)).sum()
    return total


def _groups(model: nn.Module) -> list[Group]:
    """Parameters by module and by whether they are trained, in the order of the model."""
    found, given = dict[tuple[str, bool], Group](), given_prefixes(model)
    for number, (name, parameter) in enumerate(model.named_parameters()):
        key = (group_of(name), parameter.requires_grad)
        group = found.setdefault(key, Group(*key, bool(given) and name.startswith(given)))
        group.members[number] = parameter
    return list(found.values())


def _row(group: Group, norm: float, absent: bool, moved: tuple[float, float]) -> dict[str, Any]:
    by_model, by_update = map(bool, moved)
    if not group.trained:
        refused = by_update or (by_model and group.given)
        verdict = "moved" if refused else "set by the model" if by_model else "stands still"
    elif norm < 0:
        verdict = "nothing labelled" if absent else "no gradient"
    elif norm == 0:
        verdict = "gradient zero"
    else:
        verdict = "learns" if by_update else "did not change"
    return {
        "group": group.name,
        "trained": group.trained,
        "parameters": sum(one.numel() for one in group.members.values()),
        "gradient": norm if norm >= 0 and math.isfinite(norm) else None,
        "changed": by_model or by_update,
        "verdict": verdict,
    }


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _wide(value: Tensor) -> torch.dtype:
    """What norms are summed in: float32 or wider."""
    return torch.promote_types(value.dtype, torch.float32)
