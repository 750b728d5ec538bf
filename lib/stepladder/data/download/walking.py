"""The walk over a ledger: which windows are open, what is in the air, what is recorded, when a block is settled.

Decisions:
- One thread asks and records; blocks are decoded and written elsewhere (`Executor`), meanwhile asking goes on.
- The next window begins when the hosts of the open ones leave connections free, so a slow host is no tail that
  everything waits for; at most OPEN windows are, so the spool is bounded.
- Blocks are settled in the order of their numbers, so that few tars change later: of equal bytes the first row is the
  picture, whoever came first.
- Whatever ends the walk (done, asked to stop, a full disk, a programming error) ends it the same way: what is in the
  air is dropped, what came is recorded.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from stepladder.data.download.ledger import Ledger
from stepladder.data.download.order import interleaved
from stepladder.data.download.outcomes import TRANSIENT, Answer
from stepladder.data.download.policy import Policy
from stepladder.data.download.polite import Polite
from stepladder.data.download.settling import Block, Settle, tar_path
from stepladder.data.download.spool import Spool
from stepladder.data.download.wanted import Asked, Pending, Row

OPEN = 3  # windows
BATCH = 32  # attempts of a transaction
BATCH_S = 0.25  # after which a smaller one is made
TELL_S = 5.0
AWAY = 1 << 40  # places of one window: rows of an earlier one go first

Ask = Callable[[str], Awaitable[Answer]]


class Stopped(Exception):
    """Raised where a block was being written when somebody asked to stop."""


@dataclass
class Window:
    """A window that is open: what of it is to come in this pass, what in the next, and how much of each block."""

    number: int
    left: dict[int, int]  # block -> rows that are not final
    coming: int = 0
    again: list[Pending] = field(default_factory=list[Pending])


class Walk:
    """One walk over the open rows of a ledger.

    Args:
        ledger, folder, policy, settle: as `download` has them.
        ask: asks an address.
        elsewhere: where blocks are written.
        tell: is told how it stands, now and then.
        stop: says whether to stop.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        policy: Policy,
        settle: Settle,
        ask: Ask,
        elsewhere: Executor,
        tell: Callable[[str], None],
        stop: Callable[[], bool],
    ):
        self.ledger, self.folder, self.policy, self.settle = ledger, folder, policy, settle
        self.ask, self.elsewhere, self.tell, self.stop = ask, elsewhere, tell, stop
        self.spool = Spool(folder / "spool")
        self.polite = Polite(policy)
        self._coming: list[int] = []
        self._open: dict[int, Window] = {}
        self._rows: dict[int, Pending] = {}
        self._flying: set[asyncio.Task[Answer]] = set()
        self._landed: list[tuple[int, asyncio.Task[Answer]]] = []
        self._batch: list[Asked] = []
        self._batch_began = self._told = time.monotonic()
        self._settling: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._asked = self._fine = 0

    async def go(self) -> None:
        """Ask what is open, settle what is answered, until all is or somebody asks to stop.

        Raises:
            DownloadError: the disk is full.
            Exception: what `ask` or `settle` raised: a programming error.
        """
        self._mend()
        self._coming = self.ledger.windows()
        try:
            while not self.stop():
                self._launch()
                self._settle_next()
                if not (self._flying or self._settling or self._open or self._coming):
                    await self._rewrite()
                    break
                await self._wait()
                self._land()
                self._commit(BATCH)
        except Stopped:
            pass
        finally:
            await self._drop()
            try:
                self._land()
            finally:
                self._commit()
                self.spool.close()

    def _mend(self) -> None:
        """Bring the ledger and what lies beside it together: forget rows whose bytes are gone, cut what is unknown."""
        for block in (*self.ledger.blocks("settled"), *self.ledger.blocks("stale")):
            if not tar_path(self.folder, block).exists():
                self.ledger.forget(row.number for row in self.ledger.rows(block) if row.outcome == "ok")
        for path in self.spool.folder.glob("*.bodies"):
            window = int(path.stem)
            bodies, there = self.ledger.spooled(window), self.spool.end(window)
            self.ledger.forget(number for number, at, size in bodies if at + size > there)
            self.spool.cut(window, max((at + size for _, at, size in bodies if at + size <= there), default=0))

    def _launch(self) -> None:
        """Ask as many rows as connections are free; open a window where the open ones have none to ask."""
        now = time.monotonic()
        while len(self._flying) < self.policy.connections:
            taken = self.polite.take(now)
            if taken is None:
                if not self._coming or len(self._open) >= OPEN:
                    return
                self._begin(self._coming.pop(0), now)
                continue
            number = taken[1]
            task = asyncio.ensure_future(self.ask(self._rows[number].url))
            self._flying.add(task)
            task.add_done_callback(lambda task, number=number: self._note(number, task))

    def _note(self, number: int, task: "asyncio.Task[Answer]") -> None:
        self._flying.discard(task)
        self._landed.append((number, task))
        self._news.set()

    def _begin(self, number: int, now: float) -> None:
        """Open a window, where it stood when it was last left."""
        self.polite.forget(now)
        rows = self.ledger.pending(number, self.policy.passes, time.time() + self.policy.longest_wait_s)
        window = self._open[number] = Window(number, dict.fromkeys(self.ledger.open_blocks(number), 0))
        window.again = [row for row in rows if row.number // self.policy.block in window.left]
        for row in window.again:
            window.left[row.number // self.policy.block] += 1
        self._next_pass(window, now)

    def _next_pass(self, window: Window, now: float) -> None:
        """Let the rows wait that were asked least often; all others that are open come after them."""
        least = min((row.asked for row in window.again), default=0)
        rows = [row for row in window.again if row.asked == least]
        window.again = [row for row in window.again if row.asked > least]
        window.coming = len(rows)
        wall = time.time()
        for row in rows:
            self._rows[row.number] = row
            if row.due > wall and row.host:
                self.polite.pause(row.host, now + row.due - wall)
        seed = f"{self.policy.seed} {window.number} {least}"
        resting: list[tuple[int, Answer]] = []
        for place, index in enumerate(interleaved([row.host for row in rows], seed)):
            row = rows[index]
            if left := self.polite.resting(row.host, now):
                resting.append((row.number, left))
            else:
                self.polite.add(row.host, window.number * AWAY + place, row.number, now)
        for number, left in resting:
            self._enter(number, left, now)

    async def _wait(self) -> None:
        """Until an answer came, a host may be asked again, or a while has passed."""
        pause = BATCH_S if (wakes := self.polite.wakes()) is None else min(wakes - time.monotonic(), BATCH_S)
        timer = asyncio.get_running_loop().call_later(max(pause, 0.0), self._news.set)
        await self._news.wait()
        timer.cancel()
        self._news.clear()

    def _land(self) -> None:
        """Record what came. The error of one that raised is raised after the others are recorded."""
        failed: BaseException | None = None
        landed, self._landed = self._landed, []
        for number, task in landed:
            if task.cancelled():
                continue
            if error := task.exception():
                failed = failed or error
            else:
                self._answered(number, task.result())
        if failed:
            raise failed

    def _answered(self, number: int, answer: Answer) -> None:
        host, now = self._rows[number].host, time.monotonic()
        self._enter(number, answer, now)
        given_up, left = self.polite.done(host, answer, now)
        for other in given_up:
            self._enter(other, left, now)
        self._asked += 1
        self._fine += answer.outcome == "ok"
        if now > self._told + TELL_S:
            self._told = now
            self.tell(f"{self._asked:,} asked, {self._fine:,} came, {self.polite.waiting:,} of this window wait")

    def _enter(self, number: int, answer: Answer, now: float) -> None:
        """Put an answer into the batch, its body into the spool, and its row where it belongs."""
        row, wall = self._rows.pop(number), time.time()
        window = self._open[number // self.ledger.window]
        outcome, reason, sha, at = answer.outcome, answer.reason, None, None
        if outcome == "ok":
            sha = hashlib.sha256(answer.body).digest()
            if row.wants not in (None, sha):
                outcome, reason = "hash_changed", f"its SHA-256 is {sha.hex()}"
            else:
                at = self.spool.append(window.number, answer.body)
        passing = outcome in TRANSIENT
        due = wall + answer.retry_after if passing and answer.retry_after is not None else None
        if not self._batch:
            self._batch_began = now
        self._batch.append(
            Asked(number, outcome, reason, answer.status, answer.seconds, len(answer.body), wall, due, sha, at)
        )
        if passing and row.asked + 1 < self.policy.passes and (due or 0) <= wall + self.policy.longest_wait_s:
            window.again.append(row._replace(asked=row.asked + 1, due=due or 0.0))
        else:
            window.left[number // self.policy.block] -= 1
        window.coming -= 1
        if not window.coming and window.again:
            self._next_pass(window, now)

    def _commit(self, least: int = 1) -> None:
        """Write the batch into the ledger if it holds that many attempts, or is old."""
        if self._batch and (len(self._batch) >= least or time.monotonic() > self._batch_began + BATCH_S):
            self.ledger.record(self._batch)
            self._batch = []

    def _settle_next(self) -> None:
        """Begin to settle the next block, if all of its rows are final and no other is being settled."""
        if self._settling:
            if not self._settling.done():
                return
            self._settling.result()
            self._settling = None
        if not self._open:
            return
        window = self._open[min(self._open)]
        block = min(window.left, default=None)
        if block is None:
            self.spool.free(window.number)
            del self._open[window.number]
            self._news.set()
        elif window.left[block] == 0:
            self._commit()
            self._settling = asyncio.ensure_future(self._settle(window, block))
            self._settling.add_done_callback(lambda _: self._news.set())

    async def _settle(self, window: Window, block: int) -> None:
        twins = self.ledger.twins(block)
        found = await self._write(block, twins)
        self.ledger.settled(block, found.outcomes, twins)
        del window.left[block]

    async def _rewrite(self) -> None:
        """Write the tars anew from which something is to go that was found out later."""
        for block in self.ledger.blocks("stale"):
            await self._write(block, {})
            self.ledger.rewritten(block)

    async def _write(self, block: int, twins: dict[int, str]) -> Block:
        """Write the tar of a block elsewhere."""
        work = Block(self.folder, block, self.ledger.rows(block), twins)
        await asyncio.get_running_loop().run_in_executor(self.elsewhere, work.write, self.settle, self._read)
        return work

    def _read(self, row: Row) -> bytes | None:
        if self.stop():
            raise Stopped
        assert row.at is not None and row.size is not None, row.number
        return self.spool.read(row.number // self.ledger.window, row.at, row.size, row.sha)

    async def _drop(self) -> None:
        """Drop what is in the air; a block being written is waited for, or stops at its next body."""
        for task in (flying := list(self._flying)):
            task.cancel()
        await asyncio.gather(*flying, *filter(None, [self._settling]), return_exceptions=True)
