"""CPU seconds of warp_fill's training step, of its forecast and of scoring, and OccWorld's parameters by module.

Windows of 100 x 100 x 8 voxels of 0.8 m, batch 4, as in the quick profile, from a procedural block town; one thread.
OccWorld is counted at its published configuration and not run.

    python tests/benchmarks/bench_models.py
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from stepladder.dev import records
from stepladder.studies.plateau.evaluation import scoring
from stepladder.studies.plateau.models import occworld, warp_fill
from stepladder.studies.plateau.params import PlateauParams

sys.path.insert(0, str(Path(__file__).parents[1] / "studies" / "plateau"))
import block_town

REPEATS = 5


def cpu_seconds(call: Callable[[], object]) -> float:
    """Median CPU time of one call, after one to warm up."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return round(statistics.median(times), 3)


def parameters_of_occworld() -> dict[str, int]:
    """Parameters of each module at the published configuration, and their sum."""
    with torch.device("meta"):
        model = occworld.build(PlateauParams(study="plateau", model={"name": "occworld", "width": 64}))
    modules = {"tokenizer": model.tokenizer, "world": model.world}
    table = {
        f"{name}.{part}": sum(p.numel() for p in child.parameters())
        for name, module in modules.items()
        for part, child in module.named_children()
    }
    return {**table, "total": sum(table.values())}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    params = block_town.params(window=(100, 100, 8), past=5, future=6, width=24, levels=3)
    batch = block_town.batch(params, 4, step_m=4.0)
    model, stage = warp_fill.build(params), warp_fill.phases(params)[0]
    answer = warp_fill.predict(model, batch)
    record = {
        "warp_fill parameters": sum(p.numel() for p in model.parameters()),
        "training step, CPU-s": cpu_seconds(lambda: warp_fill.loss(model, batch, stage).total.backward()),
        "forecast of 6 frames, CPU-s": cpu_seconds(lambda: warp_fill.predict(model, batch)),
        "fused warp of 6 frames, CPU-s": cpu_seconds(lambda: scoring.baselines(params)["fused_warp"](batch)),
        "scoring, CPU-s": cpu_seconds(lambda: scoring.score(batch, answer, params)),
        "batch": len(batch["index"]),
        "width": params.model.width,
        "window": params.model.window,
        "occworld parameters": parameters_of_occworld(),
    }
    for name, value in record.items():
        print(f"{name}: {value}")
    records.write(__file__, record)


if __name__ == "__main__":
    main()
