"""A waiting cell that is run again, in a real kernel: the front end sends what JupyterLab sends."""

import time

import pytest
from jupyter_client.manager import start_new_kernel
from jupyter_client.session import Session

WAIT = """
from stepladder.notebooks import takeover
takeover.BURST = 0.5
import asyncio
async def wait(name):
    with takeover.awaited() as again:
        while not over and not again.is_set():
            await asyncio.sleep(0.05)
    print("left" if again.is_set() else "over", name)
over, ran = [], []
"""


class Notebook:
    """One front end of a kernel: a session of its own, whose requests name their cells."""

    def __init__(self, manager):
        self.client = manager.client(session=Session(key=manager.session.key))
        self.client.start_channels()
        self.client.kernel_info(reply=True, timeout=60)  # JupyterLab sends nothing before it has the answer

    def run(self, *cells: tuple[str, str]) -> list[str]:
        """Send cells as Run All does, all at once; the ids of the requests."""
        sent = []
        for cell, code in cells:
            content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
            message = self.client.session.msg(
                "execute_request", {**content, "allow_stdin": False}, metadata={"cellId": cell}
            )
            self.client.shell_channel.send(message)
            sent.append(message["header"]["msg_id"])
        return sent

    def text(self, request: str) -> str:
        """What a request printed, once it is answered."""
        said = ""
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                said += message["content"]["text"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return said

    def value(self, code: str) -> str:
        return self.text(self.run(("asked", f"print({code})"))[0]).strip()


@pytest.fixture(scope="module")
def manager():
    manager, client = start_new_kernel(startup_timeout=60)
    client.execute_interactive(WAIT, timeout=60)
    yield manager
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def first(manager):
    notebook = Notebook(manager)
    notebook.text(notebook.run(("begin", "over.clear(); ran.clear()"))[0])
    yield notebook
    notebook.client.stop_channels()


ROAD = [("a", "ran.append('a')"), ("w", "await wait('w'); ran.append('w')"), ("z", "ran.append('z')")]


def test_a_wait_nobody_disturbs_goes_on_to_the_cells_below(first):
    asked = first.run(*ROAD)
    time.sleep(1.0)
    first.client.control_channel.send(first.client.session.msg("interrupt_request", {}))  # an interrupt ends it as ever
    first.text(asked[1])
    assert first.value("ran") == "['a']"
    asked = first.run(
        ROAD[0], ("w", "asyncio.get_running_loop().call_later(1, over.append, 1); await wait('w')"), ROAD[2]
    )
    assert first.text(asked[1]) == "over w\n"
    assert first.value("ran") == "['a', 'a', 'z']"


@pytest.mark.parametrize("again", ["another tab", "the same tab"])
def test_a_notebook_that_is_run_again_passes_over_what_was_queued(first, manager, again):
    asked = first.run(*ROAD)
    time.sleep(1.5)
    second = Notebook(manager) if again == "another tab" else first
    begin = time.monotonic()
    later = second.run(*ROAD[:1], ("w", "ran.append('W')"), *ROAD[2:], ("end", "print(ran)"))
    assert second.text(later[-1]).strip() == "['a', 'w', 'a', 'W', 'z']", "the old z was passed over"
    assert time.monotonic() - begin < 30
    assert asked[2] not in later
    assert second.value("1 + 1") == "2", "the kernel goes on as usual"


def test_another_cell_that_is_run_meanwhile_waits_its_turn(first):
    first.run(ROAD[1])
    time.sleep(1.0)
    other = first.run(("other", "ran.append('other')"))
    time.sleep(0.5)
    later = first.run(("w", "ran.append('W')"))
    first.text(later[0])
    assert first.value("ran") == "['w', 'other', 'W']" and other
