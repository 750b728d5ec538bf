"""Six training jobs with known illnesses on the ladder: is each named, and in how many seconds?

Run `python tests/benchmarks/bench_reference_workloads.py [workload ...]`. Shares are compared with a stopwatch around
the call, and the forecast step of death of the leaking job with the step at which it is really stopped. The record is
tests/benchmarks/records/reference_workloads.json.
"""

import re
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.dev import records
from stepladder.ladder.diagnosis import Diagnosis, diagnose
from stepladder.ladder.measure.measurer import ProcessMeasurer
from stepladder.ladder.measure.runner import Runner
from stepladder.ladder.records import SearchResult
from stepladder.ladder.search import find_setting
from stepladder.machine import limits
from stepladder.training.setting import Setting

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ladder"))

import reference_workloads  # noqa: E402

RECORD = HERE / "records" / "reference_workloads.json"
MOST_SECONDS, SHARE_BAND, DEATH_BAND, MOST_PASSES = 180.0, 0.10, 1.5, 100
PLENTY = 1e10
# workload -> (settings, samples per optimizer step, what must be named)
WORKLOADS: dict[str, tuple[dict[str, list[int]], int, str]] = {
    "median_in_reader": ({"workers": [0, 1], "batch": [1]}, 1, "data"),
    "leaking_cache": ({"workers": [1], "batch": [1]}, 1, "leak"),
    "compute_bound": ({"workers": [0, 1], "batch": [1, 2]}, 2, "compute"),
    "launch_bound": ({"workers": [0, 1], "batch": [1, 2]}, 2, "launch"),
    "oom_edge": ({"workers": [0], "batch": [1, 2, 4, 8]}, 8, "memory"),
    "healthy": ({"workers": [0, 1], "batch": [1]}, 1, "none"),
}


def main(names: list[str]) -> None:
    """Examine the reference workloads, print, record."""
    runner, record = Runner(), files.read_json(RECORD) or {}
    for name in names or WORKLOADS:
        with tempfile.TemporaryDirectory() as folder:
            record[name] = examine(name, Path(folder), runner)
        print(f"{name}: {record[name]['seconds']:.0f} s, {record[name]['sentence']}")
        print(f"  {record[name]['checks']}")
        records.write(__file__, record)
    runner.close()
    wrong = [name for name, row in record.items() if not all(row["checks"].values())]
    if wrong:
        raise SystemExit(f"not as they must be: {', '.join(wrong)}")


def examine(name: str, folder: Path, runner: Runner) -> dict[str, Any]:
    """Search one workload's settings, diagnose, check."""
    space, batch, wanted = WORKLOADS[name]
    measurer = ProcessMeasurer(f"reference_workloads:{name}", {}, folder, 60.0, PLENTY, space["batch"], runner)
    measurer.memory = _limit(name, measurer)
    ladder, training = LadderParams(**space, keep_global_batch=False), TrainingParams(steps=4000, batch=batch)
    begin = time.monotonic()
    found = find_setting(measurer, ladder, training, limits.cpus())
    said, seconds = diagnose(found, ladder, limits.cpus()), time.monotonic() - begin
    checks = {"named": said.limit == wanted, "in time": seconds <= MOST_SECONDS}
    facts: dict[str, Any] = {}
    if name == "median_in_reader":
        facts = _median(found, said)
    elif name == "leaking_cache":
        facts = _death(found, measurer)
    checks |= facts.pop("checks", {})
    memory = {"memory_limit": measurer.memory}
    return {"seconds": seconds, "checks": checks, **memory, **facts, **asdict(said), "why": found.why}


def _limit(name: str, measurer: ProcessMeasurer) -> float:
    """The stated limit: room for 700 samples of the leaking job, for six samples of the one on the edge."""
    if name == "leaking_cache":
        return measurer.full(Setting(workers=1), 4).peak_bytes + 590e6
    if name == "oom_edge":
        return measurer.step(Setting(), 4).peak_bytes + 5 * 44e6
    return PLENTY


def _median(found: SearchResult, said: Diagnosis) -> dict[str, Any]:
    """The share of the filter, by the ladder and by a stopwatch around the call, over the same draws."""
    job = reference_workloads.median_in_reader()
    for keys in job.order(1, 40):
        job.data[keys[0]]
    truth = job.data.watch["filter"] / job.data.watch["sample"]
    share = found.loader.probe.hot_share
    named = said.stage.startswith("scipy.ndimage.median_filter in reference_workloads.py")
    right = abs(share / truth - 1) <= SHARE_BAND
    return {"share": share, "stopwatch_share": truth, "checks": {"stage named": named, "share right": right}}


def _death(found: SearchResult, measurer: ProcessMeasurer) -> dict[str, Any]:
    """The forecast pass at which memory is full, and the pass at which a training is really stopped."""
    refused = [candidate for candidate in found.rungs if candidate.verdict == "refused" and candidate.trial.probe]
    if not refused:
        return {"checks": {"refused": False}}
    probe = refused[-1].trial.probe
    passes = probe.steps + 2
    forecast = passes + (measurer.memory - probe.host_bytes) / probe.host_growth
    measurer.seconds = 600.0
    end = measurer.full(Setting(workers=1), 4000, whole=True)
    log = sorted(measurer.folder.glob("*_full.log"))[-1].read_text()
    real = int(re.findall(r"pass (\d+)", log)[-1])
    checks = {
        "refused within 100 passes": passes <= MOST_PASSES,
        "really dies of memory": end.ending == "oom",
        "step of death": 1 / DEATH_BAND <= forecast / real <= DEATH_BAND,
    }
    return {"passes": passes, "forecast_death": forecast, "real_death": real, "checks": checks}


if __name__ == "__main__":
    main(sys.argv[1:])
