"""A training job followed from a notebook: what is read, what is shown, what an interrupt says."""

import asyncio
import threading

import matplotlib.pyplot as plt
import pytest

from stepladder.core import jsonlines
from stepladder.core.run import Run
from stepladder.machine.signals import Preempted
from stepladder.notebooks import live
from stepladder.training import curves


class Job:
    """Stands for `process.Job`: it ends when it is told to, or asked to stop."""

    attached, noun, begins, lasts = False, "training", "has started", "closing this tab does not stop it"

    def __init__(self, folder):
        self.run, self.lines = Run(folder), [{"step": n, "stage": "train", "loss": 1 / n, "lr": 0.1} for n in (1, 2)]
        self.asked = self.followed = 0
        self.over = threading.Event()

    def running(self):
        return not self.over.is_set()

    def news(self):
        new, self.lines = self.lines, []
        return new

    def where(self):
        return f"on box1/hostA, {self.asked} asked"

    def ask_to_stop(self):
        self.asked += 1
        self.over.set()

    def ending(self):
        return "all steps are done"

    def follow(self):
        self.followed += 1
        return self.ending()


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "toy" / "walk")


@pytest.fixture
def lab(monkeypatch):
    """A person's JupyterLab whose displays are kept: the widgets and texts, in order."""
    shown = []

    class Handle:
        def update(self, data, **kwargs):
            shown.append(data)

    monkeypatch.setattr(live, "interactive", lambda: True)
    monkeypatch.setattr(live, "display", lambda data, **kwargs: (shown.append(data), Handle())[1])
    monkeypatch.setattr(live, "POLL", 0.05)
    return shown


def pictures(shown):
    return [data for data in shown if isinstance(data, dict) and "image/png" in data]


def test_headless_a_job_is_waited_for_and_nothing_is_read(job):
    assert asyncio.run(live.follow(job)) == "all steps are done"
    assert job.followed == 1 and len(job.lines) == 2


def test_in_jupyterlab_the_curve_grows_only_with_new_lines(job, lab):
    async def walk():
        following = asyncio.create_task(live.follow(job))
        await asyncio.sleep(1.0)
        seen = len(pictures(lab))
        job.lines = [{"step": 3, "stage": "train", "loss": 0.1, "lr": 0.1}]
        await asyncio.sleep(1.0)
        job.over.set()
        return seen, await following

    seen, ending = asyncio.run(walk())
    assert (seen, len(pictures(lab)), ending) == (1, 2, "all steps are done")
    assert "all steps are done" in lab[-1].data, "what stays is a sentence, not a button"


def test_where_it_runs_is_said_above_the_curve_and_kept_up(job, lab, capsys):
    async def walk():
        following = asyncio.create_task(live.follow(job))
        await asyncio.sleep(0.3)
        job.asked = 7
        await asyncio.sleep(0.3)
        job.over.set()
        await following

    asyncio.run(walk())
    said = [shown.data for shown in lab if "box1" in str(getattr(shown, "data", ""))]
    assert said[0] == "on box1/hostA, 0 asked" and said[-1] == "on box1/hostA, 7 asked"
    assert "training has started; closing this tab does not stop it" in capsys.readouterr().out


def test_the_button_asks_the_job_to_stop_while_the_cell_waits(job, lab):
    async def walk():
        following = asyncio.create_task(live.follow(job))
        await asyncio.sleep(0.3)
        next(item for item in lab if hasattr(item, "click")).click()
        return await following

    asyncio.run(walk())
    assert job.asked == 1


def test_an_interrupt_says_what_goes_on_and_how_to_return(job, lab):
    async def walk():
        following = asyncio.create_task(live.follow(job))
        await asyncio.sleep(0.3)
        following.cancel()
        await following

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(walk())
    said = lab[-1].data
    assert "training goes on" in said and "Run All" in said and "stepladder stop toy/walk" in said
    assert job.asked == 0


def test_a_long_training_is_thinned_and_its_newest_loss_kept():
    curve = live.Curve()
    for begin in range(0, 10_000, 1000):
        curve.add([{"step": step, "loss": 1.0} for step in range(begin, begin + 1000)])
    curve.add([{"step": 9999, "validation_loss": 0.5}])
    shown = curve.shown()
    steps = [line["step"] for line in shown if "loss" in line]
    assert len(steps) <= live.POINTS and steps[-1] == 9999 and steps == sorted(steps)
    assert shown[-1] == {"step": 9999, "validation_loss": 0.5}


def test_of_steps_that_came_twice_the_later_counts():
    curve = live.Curve()
    curve.add([{"step": step, "loss": 1.0} for step in (1, 2, 3, 4)])
    curve.add([{"step": step, "loss": 2.0} for step in (3, 4, 5)])
    assert [(line["step"], line["loss"]) for line in curve.shown()] == [
        (1, 1.0),
        (2, 1.0),
        (3, 2.0),
        (4, 2.0),
        (5, 2.0),
    ]
    drawn = curves.training_curve([{**line, "stage": "train", "lr": 0.1} for line in [*curve.shown(), *curve.shown()]])
    assert drawn.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]
    plt.close(drawn)


def test_the_curve_of_a_job_is_read_once(tmp_path):
    from stepladder.training.process import Job as TrainingJob

    run = Run(tmp_path)
    job = TrainingJob(run, pid=0)
    for step in range(3):
        jsonlines.append(tmp_path / "metrics.jsonl", {"step": step, "loss": 1.0})
        assert [line["step"] for line in job.news()] == [step]
    assert job.news() == []


def test_a_training_that_was_stopped_says_so_in_the_place_of_its_button(job, lab):
    def stopped():
        raise Preempted("training was stopped by a signal")

    job.ending = stopped
    job.over.set()
    with pytest.raises(Preempted):
        asyncio.run(live.follow(job))
    assert any("training was stopped by a signal; Run All goes on" in str(getattr(shown, "data", "")) for shown in lab)
