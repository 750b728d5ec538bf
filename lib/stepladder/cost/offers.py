"""What can be rented: the dated price table, checked; and what it costs that it may be taken away.

Decisions:
- The table is a file that a person edits (`params/gpu_prices.yaml`); a misspelt key is refused with the nearest one.
- What is assumed where nothing was measured (share of data-sheet rates, interruptions, time of a checkpoint) stands in
  the same file, so that every number of the cost page can be traced and changed.
- The interval between checkpoints that loses least, and what is still lost, follow from the seconds C of a checkpoint,
  R of a restart and M between interruptions (arXiv 2410.18124; Young 1974 leaves out R).
"""

import math
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from stepladder.core.config import ParameterError, check, read_yaml
from stepladder.core.paths import project_root
from stepladder.core.schema import Section
from stepladder.training.setting import Precision


class Offer(Section):
    """One machine for rent."""

    name: str = Field(description="shown in tables")
    device: str = Field(description="words that CUDA's name of the GPU contains")
    dollars_per_hour: float = Field(gt=0, description="price of the whole machine, in dollars per hour")
    memory_gb: float = Field(gt=0, description="memory of one GPU, in GB")
    tflops: float = Field(gt=0, description="data-sheet dense bf16/fp16 rate of one GPU, in TFLOP/s")
    tflops_float32: float = Field(gt=0, description="data-sheet float32 rate of one GPU, in TFLOP/s")
    cpus: int = Field(ge=1, description="CPUs of the whole machine")
    gpus: int = Field(1, ge=1, description="GPUs of the machine")
    scaling: float = Field(1.0, gt=0, le=1, description="share of `gpus` times one GPU that is reached together")
    interruptible: bool = Field(True, description="may be taken away at any time")

    def flops(self, precision: Precision) -> float:
        """FLOP/s of the machine's GPUs together, by the data sheet."""
        tera = self.tflops_float32 if precision == "float32" else self.tflops
        return self.gpus * self.scaling * tera * 1e12


class Prices(Section):
    """The table of offers, and what is assumed where nothing was measured."""

    as_of: str = Field(description="month of the prices")
    source: str = Field(description="where the prices are from")
    utilisation: list[float] = Field(
        min_length=3, max_length=3, description="low, likely and high share of the data-sheet rate that a step reaches"
    )
    transfer: float = Field(ge=0, lt=1, description="share by which a rate measured on one GPU may be off on another")
    interruption_hours: float = Field(gt=0, description="mean hours of running between interruptions")
    restart_minutes: float = Field(ge=0, description="minutes from an interruption to training again")
    save_seconds: float = Field(gt=0, description="seconds of one checkpoint, where none was measured")
    gpus: list[Offer] = Field(min_length=1, description="the offers")

    def match(self, device: str, gpus: int = 1) -> Offer | None:
        """The offer with `gpus` GPUs that CUDA's name of a device means; the one with the most words in common."""
        words = device.upper().replace("-", " ").split()
        fitting = [o for o in self.gpus if o.gpus == gpus and all(word in words for word in o.device.upper().split())]
        return max(fitting, key=lambda offer: len(offer.device.split()), default=None)


class Span(NamedTuple):
    """A number, and the bounds it is trusted within."""

    low: float
    likely: float
    high: float

    @classmethod
    def around(cls, likely: float, share: float) -> "Span":
        """`likely`, give or take `share` of it."""
        return cls(likely * max(0.0, 1 - share), likely, likely * (1 + share))

    def times(self, factor: float) -> "Span":
        """The span with all three numbers scaled by `factor`."""
        return Span(*(factor * value for value in self))

    @classmethod
    def least(cls, one: "Span", other: "Span") -> "Span":
        """The smaller of two spans, bound by bound."""
        return cls(*(min(pair) for pair in zip(one, other, strict=True)))


def read_prices(path: Path | None = None) -> Prices:
    """The price table `params/gpu_prices.yaml`, or another; `ParameterError` naming what cannot be used."""
    values = read_yaml(path or project_root() / "params" / "gpu_prices.yaml")
    for number, offer in enumerate(values.get("gpus") or []):
        try:
            check(Offer, offer)
        except ParameterError as error:
            raise ParameterError(f"offer {number + 1} of the price table: {error}") from None
    return check(Prices, values)


def best_interval(save: float, restart: float, between: float) -> float:
    """Seconds from one checkpoint to the next that lose least: C + sqrt(2 (M + R) C + C^2) (arXiv 2410.18124)."""
    return save + math.sqrt(2 * (between + restart) * save + save**2)


def young_interval(save: float, between: float) -> float:
    """The older estimate sqrt(2 C M) (Young 1974), to check the other by; it leaves out the restart."""
    return math.sqrt(2 * save * between)


def preemption_loss(save: float, restart: float, between: float, interval: float | None = None) -> float:
    """Time lost to saving, repeating and restarting, as a share of the time that counts.

    Of every interval T the part T - C counts, and an interruption costs half an interval and a restart:
    T / (T - C) * (1 + (T / 2 + R) / M) - 1, which `best_interval` makes least.

    Args:
        save, restart, between: C, R and M in seconds.
        interval: T in seconds, by default the best.
    """
    interval = interval or best_interval(save, restart, between)
    return interval / (interval - save) * (1 + (interval / 2 + restart) / between) - 1
