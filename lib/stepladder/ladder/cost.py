"""Hours and dollars of the full run on rented GPUs, from what was measured here and a dated price table.

Decisions:
- The rate on another machine is the lower of two: what its CPUs can load (measured loader rate per CPU here times its
  CPUs) and what its GPU can compute (counted floating-point operations of a step over the data-sheet rate times a
  stated utilisation). On a data-bound job the cheap host with many CPUs wins, and the table shows it.
- Interruptible machines lose work: with checkpoints every sqrt(2 C M) seconds (Young 1974; C seconds to save, M mean
  seconds between interruptions) the loss is about sqrt(2 C / M) + R / M, R seconds to restart.
- These are estimates: the table prints what they rest on, and after a run the real cost stands beside them.
"""

import math
from pathlib import Path

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from stepladder.ladder import limits
from stepladder.ladder.climb import Ladder
from stepladder.params import Parameters, read_yaml
from stepladder.run import project_root
from stepladder.study import Batch, Study
from stepladder.training.step import StepModule, set_trainable, size

SAVE_SECONDS = 30.0
RESTART_SECONDS = 600.0
INTERRUPTION_SECONDS = 6 * 3600.0


def project(study: Study, params: Parameters, ladder: Ladder, batch: Batch) -> tuple[pd.DataFrame, str]:
    """The cost table of the full run of `params`, from the chosen rung and a batch to count operations on.

    Without a chosen rung there is nothing to project: an empty table, and the ladder's sentence as its note.
    """
    chosen = ladder.chosen
    if chosen is None:
        return pd.DataFrame(), ladder.sentence
    per_cpu = chosen.loader_rate / max(1, min(chosen.workers, limits.cpus()))
    path = project_root() / "params" / "gpu_prices.yaml"
    return table(path, training_samples(study, params), training_flops(study, params, batch), per_cpu)


def table(path: Path, samples: int, flops: float, loader_rate_per_cpu: float) -> tuple[pd.DataFrame, str]:
    """One row per GPU of the price table, cheapest first, and the note that says what the rows rest on.

    Args:
        path: the price table.
        samples: samples the full run draws.
        flops: floating-point operations of training on one sample.
        loader_rate_per_cpu: samples per second one CPU loads.
    """
    prices, loss = read_yaml(path), preemption_loss(SAVE_SECONDS, RESTART_SECONDS, INTERRUPTION_SECONDS)
    rows = []
    for gpu in prices["gpus"]:
        loading = loader_rate_per_cpu * gpu["cpus"]
        computing = prices["utilisation"] * gpu["tflops"] * 1e12 / flops
        rate = min(loading, computing)
        hours = samples / rate / 3600 * (1 + loss)
        limit = "data" if loading < computing else "compute"
        cost = {"hours": hours, "dollars": hours * gpu["dollars_per_hour"]}
        rows.append({"GPU": gpu["name"], "samples/s": rate, "limit": limit, **cost})
    interval = best_interval(SAVE_SECONDS, INTERRUPTION_SECONDS)
    note = (
        f"Estimate. Prices of {prices['as_of']} ({prices['source']}); {prices['utilisation']:.0%} of data-sheet rates; "
        f"{flops / 1e9:.2f} GFLOP and {loader_rate_per_cpu:.1f} samples/s per CPU measured here; interruptions every "
        f"{INTERRUPTION_SECONDS / 3600:.0f} h, a checkpoint every {interval / 60:.0f} min."
    )
    return pd.DataFrame(rows).sort_values("dollars", ignore_index=True), note


def best_interval(save: float, between: float) -> float:
    """Seconds between checkpoints that lose least: sqrt(2 C M) (Young, 1974)."""
    return math.sqrt(2 * save * between)


def preemption_loss(save: float, restart: float, between: float) -> float:
    """Share of time lost to saving, repeating and restarting at the best interval: sqrt(2 C / M) + R / M."""
    return math.sqrt(2 * save / between) + restart / between


def training_flops(study: Study, params: Parameters, batch: Batch) -> float:
    """Floating-point operations of forward and backward on one sample of the first stage, counted by torch."""
    stage, model = study.stages(params)[0], study.model(params)
    set_trainable(model, stage)
    torch.manual_seed(params.seed)
    with FlopCounterMode(display=False) as counter:
        StepModule(study, model, stage)(batch)[0].backward()
    return counter.get_total_flops() / size(batch)


def training_samples(study: Study, params: Parameters) -> int:
    """Samples drawn by all stages of the training run."""
    return params.training.batch * sum(stage.steps for stage in study.stages(params))
