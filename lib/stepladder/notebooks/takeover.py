"""A waiting cell gives way when a person runs it again: a closed tab comes back by Run All.

A kernel runs its requests one after another. A tab that is closed while a cell waits leaves the cell and those below it
in the kernel's queue: with nobody there they go on to the end, as they should. When the notebook is opened again and
run, its cells would queue behind the old wait, and show nothing until that is over.

Decisions:
- While an awaiting cell waits, the kernel still receives (ipykernel 7). A request for the very cell that waits means
  that a person runs it again: the old wait ends, the cells queued with it are passed over, the new ones run.
- Who comes meanwhile first asks what kernel and which widgets there are, and sends nothing before he knows: that is
  answered at once.
- A Run All sends all its cells at once. What arrives in the first `BURST` seconds of a wait was sent with it.
- Kernels that cannot be watched so (older ones, other front ends) wait as they always did.
"""

import asyncio
import inspect
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from IPython.core.getipython import get_ipython

BURST = 2.0  # seconds in which a Run All has sent all its cells
QUESTIONS = ("kernel_info_request", "comm_info_request")


@contextmanager
def awaited() -> Generator[asyncio.Event]:
    """While the block awaits, an event that is set when the cell that runs is asked for again."""
    kernel: Any = getattr(get_ipython(), "kernel", None)
    manager: Any = getattr(getattr(kernel, "shell_channel_thread", None), "manager", None)
    again = asyncio.Event()
    if manager is None or "concurrent" not in inspect.signature(kernel.dispatch_shell).parameters:
        yield again
        return
    queue = _Queue(kernel, again)
    manager.set_on_recv_callback(queue.receive)
    try:
        yield again
    finally:
        manager.set_on_recv_callback(kernel.shell_main)
        if again.is_set():
            kernel.should_handle = queue.is_wanted


class _Queue:
    """What a kernel receives while one of its cells waits."""

    def __init__(self, kernel: Any, again: asyncio.Event):
        self.kernel, self.again = kernel, again
        self.waiting, self.ident = kernel.get_parent("shell"), kernel._parent_ident["shell"]
        self.begin = time.monotonic()
        self.later: set[str] = set()

    async def receive(self, subshell: str | None, message: Any) -> None:
        """Note a request to run a cell, and hand it to the kernel; answer a question."""
        request = self._read(message)
        kind = request.get("header", {}).get("msg_type")
        if kind in QUESTIONS:
            return await self._answer(subshell, message)
        if kind == "execute_request" and time.monotonic() - self.begin > BURST:
            self.later.add(request["header"]["msg_id"])
            if _cell(request) == _cell(self.waiting) is not None:
                self.again.set()
        await self.kernel.shell_main(subshell, message)

    async def _answer(self, subshell: str | None, message: Any) -> None:
        """Let the kernel answer beside the cell that waits, as it does with messages of widgets."""
        answer = self.kernel.dispatch_shell(message, subshell_id=subshell, concurrent=True)
        try:
            await asyncio.create_task(answer, context=copy_context())
        finally:
            self.kernel.set_parent(self.ident, self.waiting, channel="shell")

    def is_wanted(self, stream: Any, message: Any, idents: Any) -> bool:
        """Whether the kernel shall do what is asked: requests queued with the old wait are passed over."""
        if message["header"]["msg_type"] != "execute_request":
            return True
        wanted = message["header"]["msg_id"] in self.later
        if wanted:
            del self.kernel.should_handle  # the old queue lies behind
        return wanted

    def _read(self, message: Any) -> dict[str, Any]:
        try:
            _, frames = self.kernel.session.feed_identities(message, copy=False)
            return self.kernel.session.deserialize(frames, content=False, copy=False)
        except Exception:  # the kernel itself says what is wrong with it
            return {}


def _cell(request: dict[str, Any]) -> str | None:
    """The notebook cell that a request runs."""
    return request.get("metadata", {}).get("cellId")
