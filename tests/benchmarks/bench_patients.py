"""Six training jobs with known illnesses on the ladder: is each named, and in how many seconds?

Run `python tests/benchmarks/bench_patients.py [patient ...]`. Shares are compared with a stopwatch around the call, and
the forecast step of death of the leaking job with the step at which it is really stopped. The record is
tests/benchmarks/records/patients.json.
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
from stepladder.ladder.diagnosis import Diagnosis, diagnose
from stepladder.ladder.measure.bench import ProcessBench
from stepladder.ladder.measure.runner import Runner
from stepladder.ladder.records import Climb
from stepladder.ladder.search import climb
from stepladder.machine import limits
from stepladder.training.setting import Setting

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ladder"))

import patients  # noqa: E402

RECORD = HERE / "records" / "patients.json"
MOST_SECONDS, SHARE_BAND, DEATH_BAND, MOST_PASSES = 180.0, 0.10, 1.5, 100
PLENTY = 1e10
# patient -> (settings, samples per optimizer step, what must be named)
PATIENTS: dict[str, tuple[dict[str, list[int]], int, str]] = {
    "median_in_reader": ({"workers": [0, 1], "batch": [1]}, 1, "data"),
    "leaking_cache": ({"workers": [1], "batch": [1]}, 1, "leak"),
    "compute_bound": ({"workers": [0, 1], "batch": [1, 2]}, 2, "compute"),
    "launch_bound": ({"workers": [0, 1], "batch": [1, 2]}, 2, "launch"),
    "oom_edge": ({"workers": [0], "batch": [1, 2, 4, 8]}, 8, "memory"),
    "healthy": ({"workers": [0, 1], "batch": [1]}, 1, "none"),
}


def main(names: list[str]) -> None:
    """Examine the patients, print, record."""
    runner, record = Runner(), files.read_json(RECORD) or {}
    for name in names or PATIENTS:
        with tempfile.TemporaryDirectory() as folder:
            record[name] = examine(name, Path(folder), runner)
        print(f"{name}: {record[name]['seconds']:.0f} s, {record[name]['sentence']}")
        print(f"  {record[name]['checks']}")
        files.write_json(RECORD, record)
    runner.close()
    wrong = [name for name, row in record.items() if not all(row["checks"].values())]
    if wrong:
        raise SystemExit(f"not as they must be: {', '.join(wrong)}")


def examine(name: str, folder: Path, runner: Runner) -> dict[str, Any]:
    """Search one patient's settings, diagnose, check."""
    space, batch, wanted = PATIENTS[name]
    bench = ProcessBench(f"patients:{name}", {}, folder, 60.0, PLENTY, space["batch"], runner)
    bench.memory = _limit(name, bench)
    ladder, training = LadderParams(**space, hold_batch=False), TrainingParams(steps=4000, batch=batch)
    begin = time.monotonic()
    found = climb(bench, ladder, training, limits.cpus())
    said, seconds = diagnose(found, ladder, limits.cpus()), time.monotonic() - begin
    checks = {"named": said.limit == wanted, "in time": seconds <= MOST_SECONDS}
    facts: dict[str, Any] = {}
    if name == "median_in_reader":
        facts = _median(found, said)
    elif name == "leaking_cache":
        facts = _death(found, bench)
    checks |= facts.pop("checks", {})
    memory = {"memory_limit": bench.memory}
    return {"seconds": seconds, "checks": checks, **memory, **facts, **asdict(said), "why": found.why}


def _limit(name: str, bench: ProcessBench) -> float:
    """The stated limit: room for 700 samples of the leaking job, for six samples of the one on the edge."""
    if name == "leaking_cache":
        return bench.full(Setting(workers=1), 4).peak_bytes + 590e6
    if name == "oom_edge":
        return bench.step(Setting(), 4).peak_bytes + 5 * 44e6
    return PLENTY


def _median(found: Climb, said: Diagnosis) -> dict[str, Any]:
    """The share of the filter, by the ladder and by a stopwatch around the call, over the same draws."""
    job = patients.median_in_reader()
    for keys in job.order(1, 40):
        job.data[keys[0]]
    truth = job.data.watch["filter"] / job.data.watch["sample"]
    share = found.loader.probe.hot_share
    named = said.stage.startswith("scipy.ndimage.median_filter in patients.py")
    right = abs(share / truth - 1) <= SHARE_BAND
    return {"share": share, "stopwatch_share": truth, "checks": {"stage named": named, "share right": right}}


def _death(found: Climb, bench: ProcessBench) -> dict[str, Any]:
    """The forecast pass at which memory is full, and the pass at which a training is really stopped."""
    refused = [rung for rung in found.rungs if rung.verdict == "refused" and rung.trial.probe]
    if not refused:
        return {"checks": {"refused": False}}
    probe = refused[-1].trial.probe
    passes = probe.steps + 2
    forecast = passes + (bench.memory - probe.host_bytes) / probe.host_growth
    bench.seconds = 600.0
    end = bench.full(Setting(workers=1), 4000, whole=True)
    log = sorted(bench.folder.glob("*_full.log"))[-1].read_text()
    real = int(re.findall(r"pass (\d+)", log)[-1])
    checks = {
        "refused within 100 passes": passes <= MOST_PASSES,
        "really dies of memory": end.ending == "oom",
        "step of death": 1 / DEATH_BAND <= forecast / real <= DEATH_BAND,
    }
    return {"passes": passes, "forecast_death": forecast, "real_death": real, "checks": checks}


if __name__ == "__main__":
    main(sys.argv[1:])
