"""The table of jobs in a notebook: text headless; in JupyterLab it lives beside the cells, with buttons that stop."""

import asyncio

import pytest

from stepladder.launch import job as jobs
from stepladder.launch import launching, panel
from tests.launch.test_overview import begun, root  # noqa: F401  (a fixture)


@pytest.fixture
def shown(monkeypatch):
    found = []
    monkeypatch.setattr(panel, "display", lambda data, **options: found.append(data))
    return found


def test_headless_the_table_is_text(root, shown):  # noqa: F811
    begun(root, "a", state="running", machine="box1/hostA")
    panel.show(root)
    assert "toy/a | running | box1/hostA" in shown[0]["text/plain"]
    assert "<td>box1/hostA</td>" in shown[0]["text/html"]


def test_without_a_job_it_says_how_one_begins(root, shown):  # noqa: F811
    panel.show(root)
    assert "none yet" in shown[0]["text/plain"] and "launch = {...}" in shown[0]["text/plain"]


def test_in_jupyterlab_it_lives_while_other_cells_run_and_its_button_stops_the_job(root, shown, monkeypatch):  # noqa: F811
    run = begun(root, "a", state="queued")
    asked = []
    monkeypatch.setattr(panel, "interactive", lambda: True)
    monkeypatch.setattr(panel, "EVERY", 0.05)
    monkeypatch.setattr(launching, "stop", lambda run, wait: asked.append((run.name, wait)))

    async def walk():
        panel.show(root)  # returns at once: no cell waits for it
        text, below = shown[0].children
        seen = [text.value]
        state = jobs.state_of(run)
        state.state, state.machine = "running", "box1/hostA"
        jobs.write_state(run, state)
        await asyncio.sleep(0.5)
        seen.append(text.value)
        (button,) = below.children
        button.click()
        assert button.disabled
        state.state = "preempted"
        jobs.write_state(run, state)
        await asyncio.sleep(0.5)
        panel._task.cancel()
        return seen, text.value, below.children

    (queued, running), ended, buttons = asyncio.run(walk())
    assert "queued" in queued and "box1/hostA" in running and "preempted" in ended
    assert asked == [("a", False)] and buttons == (), "what has ended has no button"


def test_shown_again_only_the_new_table_lives(root, shown, monkeypatch):  # noqa: F811
    begun(root, "a", state="queued")
    monkeypatch.setattr(panel, "interactive", lambda: True)

    async def walk():
        panel.show(root)
        first = panel._task
        panel.show(root)
        await asyncio.sleep(0.1)
        panel._task.cancel()
        return first

    assert asyncio.run(walk()).cancelled()
