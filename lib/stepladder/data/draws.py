"""Random numbers inside a loss (dropout, noise, times), as pure functions of the seed, the step and the sample's slot.

Decisions:
- A slot is a sample's place in the global batch of a step. Whoever runs a step says which slots its batch holds (`at`);
  every draw in it then gives each sample numbers of its own. So one process, two, and any division into micro-batches
  draw the same numbers for the same samples.
- Torch's global generator is seeded by the step alone and hands every draw a seed for each slot of the global batch.
  Its state is what activation checkpointing puts back, so a recomputed block draws the same again.
- Numbers that belong to a step and not to a sample (which frames it looks at) may come from torch's global generator
  itself: all processes and micro-batches draw them alike.
- `by_slot` makes a model's own `nn.Dropout` layers draw so; `functional.dropout` and `torch.randn` inside a loss would
  give the samples of all processes equal numbers, which the contract of a study notices.
- Outside a step everything is drawn at once from torch's global generator, as usual.

Leading axes are samples, or samples x anything in that order (frames of a clip, places of a map).
"""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import _disable_current_modes

MOST = 2**63 - 1
LAYERS = {nn.Dropout: None, nn.Dropout1d: 2, nn.Dropout2d: 2, nn.Dropout3d: 2}  # axes of the mask; None: all


class DrawError(ValueError):
    """A draw that cannot be divided among the samples of a batch, with the way out."""


@dataclass(frozen=True)
class Place:
    """Where the samples of the batch under way stand among those of the step."""

    slot_B: Tensor  # on the CPU: a tensor, so that compiled code takes another one as it comes
    batch: int  # samples of the step, over all processes and micro-batches


_place: Place | None = None


@contextlib.contextmanager
def at(seed: int, slots: Sequence[int], batch: int, device: torch.device) -> Generator[None]:
    """Inside, draws are those of `slots` of a step of `batch` samples that is seeded by `seed`; backward belongs in it.

    Args:
        seed: the same for all processes and micro-batches of a step.
        slots: places of this batch's samples in the step's global batch.
        batch: samples of the global batch.
        device: where the model stands.
    """
    global _place
    before, _place = _place, Place(torch.tensor(slots), batch)
    # `torch.manual_seed` does more, at 200 times the price.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    try:
        yield
    finally:
        _place = before


def permutation(count: int) -> list[int]:
    """The numbers below `count` in the order of `torch.randperm`, also where tensors are fake.

    They are real there, so a step that decides by them can be forecast (see `ladder.forecast.memory`).
    """
    with _disable_current_modes():
        return torch.randperm(count).tolist()


def rand(*shape: int, device: torch.device | None = None) -> Tensor:
    """Uniform numbers from [0, 1); the first axis is samples, or samples x anything."""
    return _drawn(shape, "uniform", 0.0, device) if _place else torch.rand(shape, device=device)


def randn_like(x: Tensor) -> Tensor:
    """Normal numbers in the shape of `x`, whose first axis is samples, or samples x anything."""
    return _drawn(x.shape, "normal", 0.0, x.device).to(x.dtype) if _place else torch.randn_like(x)


def dropout(x: Tensor, p: float, axes: int | None = None) -> Tensor:
    """`x` with a share `p` of its numbers set to zero and the rest scaled up.

    Args:
        x: samples, or samples x anything, along the first axis.
        p: share that is dropped.
        axes: numbers that differ in later axes only are dropped together: 2 for whole channels; None for each alone.
    """
    shape = x.shape if axes is None else (*x.shape[:axes], *[1] * (x.ndim - axes))
    kept = _drawn(shape, "bernoulli", 1 - p, x.device) if _place else torch.rand(shape, device=x.device) >= p
    return x * kept * (1 / (1 - p))


def by_slot(model: nn.Module) -> None:
    """Let the dropout layers of a model (in place) draw by slot in a step, and as before outside one."""
    for module in model.modules():
        if isinstance(module, _DropoutNd) and type(module) in LAYERS and "forward" not in vars(module):
            module.forward = _Layer(module)


@dataclass
class _Layer:
    """The forward pass of a dropout layer."""

    layer: _DropoutNd

    def __call__(self, x: Tensor) -> Tensor:
        layer = self.layer
        if _place and layer.training and 0 < layer.p < 1:
            return dropout(x, layer.p, LAYERS[type(layer)])
        return type(layer).forward(layer, x)


def _drawn(shape: Sequence[int], kind: str, p: float, device: torch.device | None) -> Tensor:
    """Numbers of `shape`, those of each sample from a generator of its own."""
    assert _place is not None, "only inside a step"
    if shape[0] % len(_place.slot_B):
        raise DrawError(
            f"random numbers of shape {tuple(shape)} for {len(_place.slot_B)} samples: the first axis must be the "
            "samples, or samples x anything (see stepladder.data.draws), and the batch as large as training.batch says"
        )
    seed_B = torch.randint(MOST, (_place.batch,))[_place.slot_B]
    return _numbers(seed_B, list(shape), kind, p, device or torch.device("cpu"))


@torch.library.custom_op("stepladder::numbers", mutates_args=())
def _numbers(seed_B: Tensor, shape: list[int], kind: str, p: float, device: torch.device) -> Tensor:
    """Random numbers of `shape`: an equal part along the first axis for each seed (compiled code calls this whole)."""
    found = torch.empty(shape, device=device, dtype=torch.bool if kind == "bernoulli" else torch.float32)
    generator = torch.Generator(device)
    for part, seed in zip(found.chunk(len(seed_B)), seed_B.tolist(), strict=True):
        generator.manual_seed(seed)
        match kind:
            case "bernoulli":
                part.bernoulli_(p, generator=generator)
            case "normal":
                part.normal_(generator=generator)
            case _:
                part.uniform_(generator=generator)
    return found


@_numbers.register_fake
def _(seed_B: Tensor, shape: list[int], kind: str, p: float, device: torch.device) -> Tensor:
    return torch.empty(shape, device=device, dtype=torch.bool if kind == "bernoulli" else torch.float32)
