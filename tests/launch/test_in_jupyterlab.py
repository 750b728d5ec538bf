"""05 in JupyterLab with `launch`: the tab is closed and opened again, the machine dies, the next one goes on."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepladder.core import files
from stepladder.core.config import dump, merge
from stepladder.core.run import Run
from stepladder.launch import job as jobs
from tests.launch.world import World
from tests.testing.test_browser import CHROMIUM, jupyterlab, open_notebook, press_run_all, scroll_to, wait_for
from tests.testing.test_browser import tab as tab  # a fixture
from tests.training.conftest import QUICK, TOY

ROOT = Path(__file__).parents[2]
STEPS = 120
PARAMS = {"training": {"steps": STEPS, "checkpoint_every": 10}, "model": {"sleep": 0.1}}
NOTEBOOK = "05_training"
SHOWN = 60_000  # milliseconds that a person waits for a word

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.drill,
    pytest.mark.timeout(600),
    pytest.mark.skipif("STEPLADDER_LONG" not in os.environ, reason="two minutes: `make bench` runs it"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

# Results of the stages before, as their notebooks leave them.
READY = """
import numpy as np
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.run import Run
from stepladder.core.stages import before
from stepladder.core.types import ShardContent
from stepladder.data import shards
run = Run(outputs_root(project_root()) / "toy" / "quick", project_root())
params, _ = run.resolve("quick", {})
run.begin(params)
paths = [run.data / f"{asset}.h5" for asset in ("train", "validation")]
for path in paths:
    shards.write(path, ShardContent({"x": np.zeros(1)}), recipe="r")
splits = {"train": ["train"], "validation": ["validation"], "test": []}
converted = {"shards": {path.stem: f"_data/{path.name}" for path in paths}, "splits": splits, "vouched": paths}
told = {name + end: 1.0 for name in ("samples/s", "hours", "dollars") for end in (" low", "", " high")}
results = {"02_conversion": converted, "04_scaling": {"prices": [{"GPU": "this machine (cpu)", "$/h": 1.0, **told}]}}
for part in before("05_training"):
    run.finish_stage(part.name, params, [], **results.get(part.name, {}))
"""


@pytest.fixture
def project(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that knows the machines of the world as `far`, and a run of the toy study that is ready to train."""
    root = tmp_path / "project"
    for folder in ("lib", "notebooks", "params"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(TOY / "toy", root / "lib/stepladder/studies/toy", ignore=shutil.ignore_patterns("__pycache__"))
    files.write_text(root / "params/toy/quick.yaml", dump(merge(QUICK, PARAMS)))
    far = {"hosts": ["hostA", "hostB"], "python": sys.executable, "dollars_per_hour": 1.0}
    files.write_text(
        root / "params/targets.yaml", dump({"targets": {"far": {**far, "lost_minutes": 0.1, "matmul_share": 0.0}}})
    )
    notebook = root / "notebooks" / f"{NOTEBOOK}.ipynb"
    text = notebook.read_text().replace('study = \\"plateau\\"', 'study = \\"toy\\"')
    notebook.write_text(text.replace("launch = {}", 'launch = {\\"on\\": \\"far\\", \\"budget\\": 5}'))
    subprocess.run(["git", "init", "-q", root], check=True)
    own = {"STEPLADDER_ROOT": root, "STEPLADDER_OUTPUTS": tmp_path / "outputs", "PYTHONPATH": root / "lib"}
    for name, value in own.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    subprocess.run([sys.executable, "-c", READY], check=True)
    return root


@pytest.fixture
def lab(project: Path) -> Iterator[str]:
    with jupyterlab(project) as url:
        yield url


def test_a_training_on_a_machine_that_dies_is_followed_to_its_result_by_whoever_opens_the_notebook(
    lab, project, world, tab, tmp_path
):
    run = Run(tmp_path / "outputs/toy/quick", project)
    page = tab()
    open_notebook(page, lab, NOTEBOOK)
    press_run_all(page)
    wait_for(page, lambda: any(run.checkpoints.glob("step_*/COMMITTED")), "the first checkpoint to come home")
    halt(world, "hostA")  # it cannot end too early
    page.close()
    page = tab()
    open_notebook(page, lab, NOTEBOOK)
    press_run_all(page)
    scroll_to(page, "text=attached to the training that runs")
    page.locator(f"text=/^running on far.hostA; 05_training: step \\d+ of {STEPS} .*of 5 dollars$/").wait_for(
        timeout=SHOWN
    )
    page.locator(".jp-OutputArea-output img").first.wait_for(timeout=SHOWN)
    page.screenshot(path=str(tmp_path / "attached.png"))
    world["hostA"].kill()
    page.locator("text=/far.hostB .machine 2.; .*far.hostA is left out/").wait_for(timeout=SHOWN)
    page.screenshot(path=str(tmp_path / "moved.png"))
    wait_for(page, lambda: run.result(NOTEBOOK) is not None, "the result")
    drawn = run.folder / "report.html"
    wait_for(page, lambda: drawn.exists() and drawn.read_text().count(">not run<") == 2, "a page that shows it")
    page.locator("text=/^done on far.hostB .machine 2./").wait_for(timeout=SHOWN)
    page.screenshot(path=str(tmp_path / "done.png"))
    state, starts = jobs.state_of(run), run.events("training_started")
    assert state and (state.state, len(starts)) == ("done", 2), "one job, which began once on each machine"
    assert max(line["step"] for line in run.metrics()) == STEPS and run.status()["state"] != "running"
    assert not list(world["hostB"].disk.glob("root/.stepladder/jobs/*")), "nothing of the job is left there"


def halt(world: World, name: str) -> None:
    """Halt what trains on a machine."""
    for process in world[name].processes():
        if "stepladder.training.worker" in process.argv:
            os.kill(process.pid, signal.SIGSTOP)
