"""Hours and dollars of the full run on rented GPUs, from what was measured here and a dated price table.

Decisions:
- The rate on another machine is the lower of two: what its CPUs can load (measured rate of one loader process times its
  CPUs) and what its GPUs can compute (data-sheet rate over the operations of a sample, times the share of it that is
  reached: measured where the ladder ran on a GPU of the table, else stated). On a data-bound job the cheap host with
  many CPUs wins, and the table shows it.
- Every rate is a span of low, likely and high, and so are the hours and dollars that follow from it.
- A GPU whose memory is too small keeps its row, with the two numbers that say so.
- Interruptible machines lose work: what is lost at the best interval between checkpoints is part of the hours.
- The first row is the machine that was measured, so that `bill.compare` can set the real run beside it.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.core.types import Batch
from stepladder.core.units import digits
from stepladder.core.units import readable as in_bytes
from stepladder.cost.offers import Offer, Prices, Span, best_interval, preemption_loss, read_prices
from stepladder.ladder.records import FullProbe, SearchResult, StepProbe
from stepladder.machine import limits
from stepladder.training.process import planned_steps
from stepladder.training.setting import Setting
from stepladder.training.step import StepModule, size
from stepladder.training.trainable import set_trainable

HERE = "this machine"
BUSY = 0.9  # a step that computes for less than this share of the time waits for data
Z = 1.96  # half-width of a 95 % interval, in standard errors
COLUMNS = ["GPU", "$/h", "samples/s", "limit", "hours", "hours low", "hours high"]
COLUMNS += ["dollars", "dollars low", "dollars high", "remark"]


@dataclass(frozen=True)
class Need:
    """What the full run asks of a machine, whichever it is.

    Attributes:
        samples: samples drawn by the whole training.
        flops: floating-point operations of training on one sample.
        setting: what the ladder chose.
        load: samples per second that one loader process delivers.
        share: share of a GPU's data-sheet rate that the step reaches.
        bytes: device memory at the setting; None where unknown.
    """

    samples: int
    flops: float
    setting: Setting
    load: Span
    share: Span
    bytes: int | None = None

    def rate(self, offer: Offer) -> tuple[Span, Literal["data", "compute"]]:
        """Samples per second on an offer, and which of the two limits it."""
        loading = self.load.times(offer.cpus)
        computing = self.share.times(offer.flops(self.setting.precision) / self.flops)
        return Span.least(loading, computing), "data" if loading.likely < computing.likely else "compute"

    def hours(self, rate: Span, loss: float = 0.0) -> Span:
        """Hours of the whole training at a rate, stretched by the share `loss` that is lost; low is the fast end."""
        return Span(*(self.samples / value / 3600 * (1 + loss) if value else math.inf for value in reversed(rate)))


def project(
    study: Study,
    params: Parameters,
    result: SearchResult,
    batch: Batch,
    run: Run | None = None,
    device: str | None = None,
) -> tuple[pd.DataFrame, str]:
    """The cost table of the full run of `params`, and the note that says what it rests on.

    Without a chosen setting there is nothing to project: an empty table, and the search's reason as its note.

    Args:
        study, params: what is trained, and how.
        result: what the ladder measured.
        batch: a small collated batch, to count operations on.
        run: whose checkpoints, if it has trained before, tell how long saving takes.
        device: name of the device the ladder ran on; by default that which it recorded.
    """
    full = measured(result)
    if result.chosen is None or full is None:
        return pd.DataFrame(), result.why
    prices = read_prices()
    device = device or (result.machine.device if result.machine else "cpu")
    first, mean = training_flops(study, params, batch)
    load, load_words = loading(result, full)
    share, share_words = utilisation(prices, result, full, first, device)
    held, held_words = device_bytes(result, full)
    save, save_words = _save_seconds(prices, run)
    need = Need(training_samples(study, params, result.chosen), mean, result.chosen, load, share, held)
    where = f"{result.machine.name if result.machine and result.machine.name else HERE} ({device})"
    frame = pd.DataFrame([_here(need, full, where), *table(prices, need, save, params.ladder.memory_fraction)])
    interval = best_interval(save, 60 * prices.restart_minutes, 3600 * prices.interruption_hours)
    note = (
        f"Estimate for {need.samples:,} samples, {result.chosen}. {load_words} {share_words} {digits(mean / 1e9)} "
        f"GFLOP per sample were counted. {held_words} Prices of {prices.as_of} ({prices.source}). With an interruption "
        f"every {prices.interruption_hours:g} h, {prices.restart_minutes:g} min to restart and {save_words}, a "
        f"checkpoint every {interval / 60:.0f} min loses least. {study.foretold(params)}"
    ).rstrip()
    return frame.reindex(columns=COLUMNS), note


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The cost table for people: what is too short or too cheap to be a number is said in words."""
    words = {"hours": (1 / 60, "under a minute"), "dollars": (0.01, "under 0.01")}

    def shown(value: float, least: float, word: str) -> float | str:
        return word if value < least else value

    columns = {name: words[name.split()[0]] for name in frame.columns if name.split()[0] in words}
    return frame.assign(**{name: [shown(v, *words) for v in frame[name]] for name, words in columns.items()})


def table(prices: Prices, need: Need, save: float, memory_fraction: float = 1.0) -> list[dict[str, Any]]:
    """One row per offer, cheapest first; those whose memory is too small last, without hours and dollars.

    Args:
        prices: the offers.
        need: what the run asks for.
        save: seconds of one checkpoint.
        memory_fraction: share of a GPU's memory that may be used.
    """
    # The share of time an interruptible machine loses, at the best interval between checkpoints.
    loss = preemption_loss(save, 60 * prices.restart_minutes, 3600 * prices.interruption_hours)
    rows = []
    for offer in prices.gpus:
        fits, remark = _memory(need, offer, memory_fraction)
        rate, limit = need.rate(offer)
        row = {"GPU": offer.name, "$/h": offer.dollars_per_hour, "limit": limit if fits else "memory"}
        if fits:
            hours = need.hours(rate, loss if offer.interruptible else 0.0)
            dollars = hours.times(offer.dollars_per_hour)
            row |= {"samples/s": rate.likely, **_spread("hours", hours), **_spread("dollars", dollars)}
        rows.append({**row, "remark": remark})
    return sorted(rows, key=lambda row: (row.get("dollars", math.inf), row["$/h"]))


def training_flops(study: Study, params: Parameters, batch: Batch) -> tuple[float, float]:
    """Operations of forward and backward on one sample, counted by torch: of the first stage, and the mean of all."""
    model, counted, stages = study.model(params), [], study.phases(params)
    for phase in stages:
        set_trainable(model, phase)
        torch.manual_seed(params.seed)
        # fused attention on a CPU is not counted: ask for the kernel of plain products
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            StepModule(study, model, phase)(batch)[0].backward()
        counted.append(max(1.0, counter.get_total_flops() / size(batch)))
    return counted[0], float(np.average(counted, weights=[phase.steps for phase in stages]))


def training_samples(study: Study, params: Parameters, chosen: Setting) -> int:
    """Samples drawn by all stages of the training run at the chosen setting."""
    own = chosen.batch * chosen.accumulate * chosen.processes
    batch = params.training.batch if params.ladder.keep_global_batch else own
    return batch * planned_steps(study, params)


def measured(result: SearchResult) -> FullProbe | None:
    """The longest full probe of the chosen setting."""
    rungs = [*result.rungs, *([result.soak] if result.soak else [])]
    probes = [
        candidate.trial.probe for candidate in rungs if candidate.setting == result.chosen and candidate.trial.probe
    ]
    return max(probes, key=lambda probe: probe.steps, default=None)


def loading(result: SearchResult, full: FullProbe) -> tuple[Span, str]:
    """Samples per second of one loader process, and where the number is from."""
    probe, chosen = result.loader.probe if result.loader else None, _chosen(result)
    if probe:
        # Best known from the loader alone; else from a rung that loaded in its own process, or one whose step waited.
        seconds = np.array(probe.sample_seconds) + probe.collate_seconds
        spread = Z * seconds.std() / math.sqrt(len(seconds)) / seconds.mean()
        rate = 1 / float(seconds.mean())
        return Span.around(rate, float(spread)), f"One loader process delivers {digits(rate)} samples/s."
    spread, waiting = full.half_width / full.rate, full.phases.get("load", 0.0)
    if chosen.workers == 0 and waiting:
        rate = chosen.batch / waiting
        return Span.around(rate, spread), f"Loading in the training process delivers {digits(rate)} samples/s."
    cores = result.machine.limits.cpus if result.machine else limits.cpus()
    rate = full.rate / max(1.0, min(chosen.workers, cores))
    if full.busy < BUSY:
        return Span.around(rate, spread), f"One loader process delivers {digits(rate)} samples/s, by a rung that waits."
    return Span(rate, rate, math.inf), f"One loader process delivers {digits(rate)} samples/s or more: no probe says."


def utilisation(prices: Prices, result: SearchResult, full: FullProbe, flops: float, device: str) -> tuple[Span, str]:
    """Share of the data-sheet rate that the step reaches: measured on a GPU of the table, else as the table states."""
    offer = prices.match(device)
    if offer is None:
        share = Span(*prices.utilisation)
        return share, f"The step is taken to reach {share.low:.0%} to {share.high:.0%} of data-sheet rates."
    rate, spread = _step_rate(result, full)
    # Reached over data-sheet rate; on another GPU it may differ by `prices.transfer`.
    share = rate * flops / offer.flops(_chosen(result).precision)
    words = f"The step alone makes {digits(rate)} samples/s on {offer.name}, {share:.0%} of its data-sheet rate."
    return Span.around(share, math.hypot(spread, prices.transfer)), words


def device_bytes(result: SearchResult, full: FullProbe) -> tuple[int | None, str]:
    """Device memory of one GPU at the chosen setting, and where the number is from; None where nothing tells."""
    forecast = max([cell.device_bytes for cell in result.cells if cell.setting == result.chosen], default=0)
    probe = _step_probe(result)
    known = [
        (max(forecast, full.device_bytes), "Memory as the ladder found it on a GPU"),
        (result.fake_bytes or 0, "Memory by fake tensors"),
        (probe.process_bytes if probe else 0, "Memory as the process of the step needs it on the CPU"),
    ]
    for count, words in known:
        if count:
            return count, f"{words}: {in_bytes(count)}."
    return None, "Device memory is unknown: no row says whether it fits."


def _here(need: Need, full: FullProbe, where: str) -> dict[str, Any]:
    """The row of the machine that was measured, without price and without interruptions."""
    hours = need.hours(Span.around(full.rate, full.half_width / full.rate))
    limit = "data" if full.busy < BUSY else "compute"
    return {
        "GPU": where,
        "samples/s": full.rate,
        "limit": limit,
        **_spread("hours", hours),
        "remark": "measured",
    }


def _memory(need: Need, offer: Offer, fraction: float) -> tuple[bool, str]:
    """Whether the step fits into one GPU's memory, and the two numbers behind it."""
    if need.bytes is None:
        return True, "memory unknown"
    needed, room = need.bytes / 1e9, fraction * offer.memory_gb
    if needed <= room:
        return True, f"{needed:.1f} of {room:.0f} GB" if needed >= 0.1 else f"{1e3 * needed:.2g} MB of {room:.0f} GB"
    return False, f"does not fit: needs {needed:.1f} of {room:.0f} GB at batch {need.setting.batch}"


def _save_seconds(prices: Prices, run: Run | None) -> tuple[float, str]:
    saves = [event["seconds"] for event in run.events("checkpoint")] if run else []
    if saves:
        return max(1e-3, sum(saves) / len(saves)), f"{sum(saves) / len(saves):.3g} s to save (measured)"
    return prices.save_seconds, f"{prices.save_seconds:g} s to save (assumed)"


def _step_probe(result: SearchResult) -> StepProbe | None:
    """The step alone at what of the chosen setting matters to it; None where it was not probed there."""

    def key(setting: Setting) -> tuple:
        return setting.batch, setting.threads, setting.precision, setting.checkpointing, setting.compile

    return next((t.probe for t in result.steps if t.probe and key(t.setting) == key(_chosen(result))), None)


def _step_rate(result: SearchResult, full: FullProbe) -> tuple[float, float]:
    """Samples per second of the step alone, and its relative half-width."""
    probe = _step_probe(result)
    if probe:
        return _chosen(result).batch / probe.seconds, probe.half_width / probe.seconds
    return _chosen(result).batch / full.step_seconds, full.half_width / full.rate


def _chosen(result: SearchResult) -> Setting:
    """The chosen setting of a search that found one; without it nothing is projected."""
    assert result.chosen is not None, result.why
    return result.chosen


def _spread(name: str, span: Span) -> dict[str, float]:
    return {name: span.likely, f"{name} low": span.low, f"{name} high": span.high}
