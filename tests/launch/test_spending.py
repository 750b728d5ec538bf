"""Which machine a job takes next, told from the files of its run."""

import pytest

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.launch import job, survey, targets
from stepladder.launch.job import Job, State
from stepladder.launch.spending import Spending
from stepladder.launch.survey import Survey
from tests.launch.test_costs import write

TARGETS = "targets:\n  box1:\n    hosts: [a, b, c]\n    dollars_per_hour: 1.0\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that was launched on three hosts, on which nothing runs."""
    monkeypatch.delenv("STEPLADDER_OUTPUTS", raising=False)
    files.write_text(tmp_path / "params" / "targets.yaml", TARGETS)
    made = Run(tmp_path / "outputs" / "pde" / "full", tmp_path)
    asked = Job("pde", "full", "quick", "box1")
    job.write(asked, made.folder / "launch" / "job.json")
    job.write_state(made, State(asked.id))
    monkeypatch.setattr(survey, "ask", lambda *told: Survey({f"box1/{name}": [] for name in "abc"}, {}))
    return made


def spending(run):
    return Spending(run, job.of(run), targets.target(run.root, "box1"))


def worked(run, hour, machine, begin, last):
    """An hour of work on a machine that was lost then, its last checkpoint at home."""
    steps = {"step": last, "saved": last}
    write(run, (hour, "taken", {"machine": machine, "price": 1.0}), (hour, "started", {}))
    write(run, (hour, "first_step", {"step": begin}), (hour + 1, "lost", steps))


def test_the_first_machine_is_the_first_host(run):
    (machine, why), silent = spending(run).choose("")
    assert not silent
    assert machine.name == "box1/a" and "first" not in why  # it costs something


def test_after_a_loss_the_host_that_was_measured_the_fastest_goes_on(run):
    run.event("training_stage", stage="fill", step=0, end=100_000, total=100_000)
    worked(run, 0, "box1/a", 0, 1000)
    worked(run, 2, "box1/b", 1000, 4000)
    worked(run, 4, "box1/a", 4000, 5000)
    (machine, why), _ = spending(run).choose("box1/a")
    assert machine.name == "box1/b" and machine.rate == pytest.approx(3000 / 3600)
    assert "about 33 h and $33.33 to finish" in why


def test_what_is_left_is_counted_from_the_newest_checkpoint_that_is_here(run):
    assert spending(run)._left() is None  # the training has not said how long it is
    run.event("training_stage", stage="fill", step=0, end=300, total=300)
    files.write_text(run.checkpoints / "step_00000120" / "COMMITTED", "")
    files.write_text(run.checkpoints / "step_00000200" / "state.pt", "half")
    assert spending(run)._left() == 180
