"""The scaling law of `params/pde/scaling_law.yaml`: fitted, one forecast outside the grid made, run and judged.

Run `python tests/benchmarks/bench_scaling.py`. It converts the data through stages 1 and 2 of the run
`pde/scaling_law`, keeps every finished run there, and goes on where it was when it was stopped. Figures lie in that
run's 04_scaling/scaling/figures. The record is tests/benchmarks/records/scaling_law.json.

Protocol: Burgers, eps 0.01, 128 points, frames every 0.1; Fourier neural operators of five widths, nested subsets of
four sizes; batch 32, constant rate, linear decay over the last fifth of every budget; one seed, one thread per run;
nRMSE on 50 validation trajectories, 20 autoregressive steps from the first frame. Bands are 95 %: bootstrap over runs,
with the scatter of single runs in the forecast.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from stepladder.core import profiles
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.run import Run
from stepladder.dev import records
from stepladder.notebooks import lab
from stepladder.scaling import outcome

STUDY, PROFILE = "pde", "scaling_law"


def main() -> None:
    """Measure, print, record."""
    plt.style.use(lab.STYLE)
    root = project_root()
    road = [sys.executable, "-m", "stepladder.cli", "run", STUDY, "--profile", PROFILE, "--stages", "1-2"]
    subprocess.run(road, check=True, stdout=subprocess.DEVNULL)
    checked = profiles.load(root, STUDY, PROFILE, {"run": PROFILE})
    run = Run(outputs_root(root) / STUDY / PROFILE)
    folder = run.folder / "04_scaling" / "scaling"
    found = outcome.measure(run, checked, folder, told)
    print(found.headline)
    for number, (title, item) in enumerate(found.shown().items()):
        if isinstance(item, Figure):
            (folder / "figures").mkdir(exist_ok=True)
            item.savefig(folder / "figures" / f"{number:02d}_{title.lower().replace(' ', '_')}.png")
        else:
            print(f"\n{title}\n{item.to_string(index=False)}")
    cpu = sum(record["points"][-1]["cpu_s"] for record in found.records if record.get("points"))
    protocol = " ".join(__doc__.partition("Protocol: ")[2].split())
    runs = found.runs().to_dict("records")
    records.write(__file__, {"protocol": protocol, "cpu_s": cpu, **(found.record() or {}), "runs": runs}, "scaling_law")
    print(f"\n{cpu:.0f} CPU-s of training and scoring")


def told(items: Iterable[dict[str, Any]], label: str, total: int, run: Run) -> Iterator[dict[str, Any]]:
    """Print every run as it ends."""
    for number, record in enumerate(items, 1):
        last = (record.get("points") or [{}])[-1]
        words = record.get("failed") or f"{last['cpu_s']:.0f} CPU-s"
        print(f"{number}/{total} {record['name']}: {words}", flush=True)
        yield record


if __name__ == "__main__":
    main()
