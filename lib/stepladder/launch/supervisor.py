"""The supervisor of a launched job: `python -m stepladder.launch.supervisor RUNFOLDER`, a process of this machine.

Decisions:
- It owns `launch/state.json`. All else it knows is on the disk, so it may be killed at any time: the next one (the same
  `launch` again) finds machine and job, takes in what has happened meanwhile, and goes on.
- A machine that does not answer is asked again and again; after `lost_minutes` it is lost, and the run goes on on the
  next one from the newest checkpoint that is here. A lost one stays in the ledger.
- Whoever wants the job to stop leaves `launch/stop.json`. The job then saves, everything comes home, the machine is
  given back, and only then the run is free again.
- A full disk here ends nothing: it begins anew, as the next supervisor would, until there is room.
- What to do with money is decided in `policy`; what was paid is in the ledger and in `attempts.jsonl`.
"""

import argparse
import errno
import itertools
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from stepladder.core import files, jsonlines, lock, progress
from stepladder.core.config import ParameterError
from stepladder.core.files import Json
from stepladder.core.paths import command, project_root
from stepladder.core.records import is_step
from stepladder.core.run import Run
from stepladder.core.secrets import redact
from stepladder.launch import history, launching, ledger, policy, survey, targets
from stepladder.launch import job as jobs
from stepladder.launch.alerts import Alerts
from stepladder.launch.attempt import Attempt, Bad, Lost, Silence, host_of
from stepladder.launch.hosts import HostError
from stepladder.launch.job import FOLDER, State
from stepladder.launch.mirror import Checkpoints, Mirror, saved
from stepladder.launch.spending import Spending
from stepladder.machine import processes

PATIENT = 4  # losses that the first pause is as long as after, where no machine answers: 16 s, then twice that
LOOK = 1.0  # seconds between two looks
TRIES, AGAIN = 5, 10.0  # to bring everything home, and seconds in between
ALERTS_EVERY = 3.0  # seconds between two looks for what is to be told
STOP = f"{FOLDER}/stop.json"
FETCH = f"{FOLDER}/fetch"
METRICS = "metrics.jsonl"
FULL = (errno.ENOSPC, errno.EDQUOT)
ENDED = {"budget": "timeout", "hours": "timeout", "stuck": "timeout", "stopped": "preempted", "bad machine": "failed"}


@dataclass(frozen=True)
class Ending:
    """How a machine's work ended: a word of `policy.Ending`, and why."""

    cause: str
    reason: str


class Stopped(Exception):
    """Somebody wants the job to stop, before it began on the machine at hand."""


class Supervisor:
    """Sees one job to its end.

    Args:
        run: its run.
    """

    def __init__(self, run: Run) -> None:
        found = jobs.of(run)
        if found is None:
            raise ParameterError(f"run {run.study}/{run.name} was not launched")
        self.run, self.job = run, found
        self.target = targets.target(run.root, found.target)
        self.state = jobs.state_of(run) or State(found.id)
        self.state.supervisor = processes.identity()
        self.spending = Spending(run, found, self.target)
        self.alerts = Alerts(run, found)
        self._looked = 0.0
        self._stopped = ""
        self._wanted: int | None = None  # step of the checkpoint that somebody waits for

    def go(self) -> State:
        """See the job to its end; how it ended."""
        self._forget_untouched()
        last = ""
        while True:
            if not self.state.machine:
                try:
                    choice = self._choose(last)
                except ParameterError as error:
                    return self._finish("failed", str(error))
                if choice.machine is None:
                    return self._finish("lost" if last else "failed", f"{choice.why}; {self._way_out()}")
                if self._stop_asked():
                    return self._finish("preempted", "stopped before a machine was taken")
                if unset := [name for name in self.job.secrets if name not in os.environ]:
                    return self._finish("failed", f"{unset[0]} is not set here: launch again where it is")
                self._take(choice.machine.name, choice.why)
            ending = self._attempt()
            last, losses = self.state.machine or "", history.losses(self.run)
            following = policy.what_next(ending.cause, losses, self.job.restarts)
            if following.what != "next" or self._stop_asked():
                asked = self._stop_asked() and ending.cause != "done"
                state = "preempted" if asked else ENDED.get(ending.cause, ending.cause)
                own = ending.cause in ("stopped", "budget", "hours") or following.what == "done"  # its reason says all
                elsewhere = ending.cause not in (*policy.OWN, "done") and not self._stop_asked()
                told = ["" if own else following.why, self._way_out() if elsewhere else ""]
                return self._finish(state, ending.reason, *told)
            self._tell(state="queued", machine=None, reason=f"{ending.reason}; {following.why}", doing="")
            self._wait(policy.backoff(losses))

    # Machines ------------------------------------------------------------------------------------------------------

    def _choose(self, last: str) -> policy.Choice:
        """The machine to take next; after a loss, what does not answer is asked again: a link may be cut a while."""
        for tries in itertools.count():
            self._tell(doing=f"asking the machines of {self.job.target}")
            choice, silent = self.spending.choose(last, ask_it=bool(tries))
            if choice.machine or not (last and silent) or tries >= self.job.restarts or self._stop_asked():
                return choice
            pause = policy.backoff(tries + PATIENT)
            self._tell(doing=f"{choice.why}; asking again in {progress.duration(pause)}")
            self._wait(pause)
        raise AssertionError("counting ends")

    def _take(self, machine: str, why: str) -> None:
        """From now on the machine costs: the ledger knows first, so whoever dies after this has forgotten nothing."""
        self.spending.taken(machine)
        number, price = self.state.attempt + 1, self.spending.price
        self._tell(state="queued", machine=machine, attempt=number, price=price, reason=why, doing="")
        told, of_disk = self.target.dollars_per_hour, self.target.disk_dollars_per_hour
        self._note("taken", price=told, disk=of_disk, traffic=self.target.dollars_per_gb)

    def _forget_untouched(self) -> None:
        """Give back what the ledger alone knows of: who took it died before anything was begun there."""
        begun = {self.state.machine, *(one.machine for one in history.attempts(self.run))}
        for use in ledger.living(self.run.root):
            if use.job == self.job.id and use.machine not in begun:
                ledger.note(self.run.root, "released", use.machine, self.job.id, verified=True)

    # One machine ---------------------------------------------------------------------------------------------------

    def _attempt(self) -> Ending:
        """One machine's work, from preparing to giving it back."""
        assert self.state.machine
        attempt = Attempt(
            *(self.run, self.job, self.target, self.state.machine, self.state.attempt),
            tell=lambda doing: self._tell(doing=doing),
            note=self._note,
        )
        if ended := history.settled(self.run, self.state.attempt):  # who brought it home died before he gave it back
            self._give_back(attempt)
            return Ending(ended["ending"], str(ended.get("why", "")))
        try:
            if ending := self._begin(attempt):
                return ending
        except Lost as error:
            return self._lost(attempt, str(error))
        except Stopped as error:
            self._give_back(attempt)
            return Ending("stopped", str(error))
        except Bad as error:
            ledger.note(self.run.root, "bad", attempt.machine, self.job.id, why=str(error))
            self._note("bad", why=str(error))
            self._give_back(attempt)
            return Ending("bad machine", f"{attempt.machine} is not what was promised: {error}")
        except ParameterError as error:
            self._give_back(attempt)
            return Ending("never started", str(error))
        try:
            return self._work(attempt)
        except Lost as error:
            return self._lost(attempt, str(error))

    def _begin(self, attempt: Attempt) -> Ending | None:
        """Have the job run there: brought there if it is new to the machine, begun anew if its agent is gone.

        Returns:
            How it ended, where what was done there before cannot be brought home: nothing there may be touched then.
        """
        state, tell = attempt.status()["state"], attempt.tell
        if state == "lost" and (why := self._settle(attempt)):  # what was done there before is not done again
            return Ending("failed", f"its agent there is gone; {why}")
        if state in ("new", "lost"):
            attempt.tell = self._tell_unless_stopped
            try:
                if state == "new":
                    attempt.prepare()
                attempt.tell("beginning the job")
            finally:
                attempt.tell = tell
            self._tell(began=time.time())
            attempt.start(self.spending.terms(attempt.machine))
            self._note("started")
        return None

    def _tell_unless_stopped(self, doing: str) -> None:
        if reason := self._stop_asked():
            raise Stopped(reason)
        self._tell(doing=doing)

    def _work(self, attempt: Attempt) -> Ending:
        """Follow the job to its end there, bring everything home, and give the machine back."""
        self._tell(state="running", doing="", clock=attempt.where.clock if attempt.where else 0.0, reason="")
        mirror = attempt.follow()
        try:
            told = self._follow(attempt, mirror)
        finally:
            mirror.close()
        ending = _ending(told)
        if ending.cause == "lost":
            ledger.note(self.run.root, "lost", attempt.machine, self.job.id, why=ending.reason)
        self._note("ended", ending=ending.cause, why=ending.reason, step=self._reached())
        if why := self._settle(attempt):
            return Ending("failed", f"{ending.reason}; but {why}")
        self._give_back(attempt)
        return ending

    def _settle(self, attempt: Attempt) -> str:
        """Bring everything home; why that cannot be done, where it cannot: then nothing is deleted there."""
        for left in reversed(range(TRIES)):
            try:
                self._note("pulled", what="the rest", bytes=attempt.settle(), step=self._step() or None)
                return ""
            except (HostError, OSError) as error:  # a full disk here, mostly
                why = f"what it left on {attempt.machine} cannot be brought home ({error})"
                self._tell(doing=f"{why}; tried again {left} times")
                self._wait(AGAIN if left else 0.0)
        ways_out = f"make room, then `{command()} fetch {self.job.name}`; the machine costs until then"
        return f"{why}: it is still there; {ways_out}"

    def _follow(self, attempt: Attempt, mirror: Mirror) -> Json:
        """Watch until the job has ended there; what its machine said last.

        Raises:
            Lost: it does not answer any more.
        """
        checkpoints = None
        if not attempt.in_place:
            there = f"{attempt.where.folder}/outputs/{self.job.name}" if attempt.where else ""
            assert attempt.host is not None
            checkpoints = Checkpoints(attempt.host, there, self.run.folder, self._pulled)
        asked, begin = False, self._step()
        silence = Silence(60 * self.target.lost_minutes)
        while not mirror.ended:
            self._tell(heard=mirror.heard)
            self._alert()
            attempt.heard = mirror.heard
            attempt.worked = float(((mirror.beat or {}).get("beat") or {}).get("seconds") or attempt.worked)
            if begin is not None and (self._reached() or 0) > begin:
                self._note("first_step", step=begin)
                begin = None
            if silence.is_over(mirror.heard):
                raise Lost(f"{attempt.machine} has not answered for {mirror.silent:.0f} s")
            if checkpoints and mirror.beat:
                self._bring(checkpoints, mirror.beat["checkpoints"])
            if not asked and (reason := self._stop_asked()):
                asked = True
                attempt.stop(reason)
                self._tell(doing="asked it to save and stop")
            time.sleep(LOOK)
        if checkpoints:
            checkpoints.wait()
        assert mirror.beat is not None
        return mirror.beat

    def _bring(self, checkpoints: Checkpoints, told: list[Json]) -> None:
        """Bring the newest checkpoint home where it is time, or somebody asks for the one that is the newest then."""
        asked = self.run.folder / FETCH
        self._wanted = None if not asked.exists() else self._wanted or max((seal["step"] for seal in told), default=0)
        checkpoints.look(told, now=self._wanted is not None)
        if self._wanted is not None and self._step() >= self._wanted:
            asked.unlink(missing_ok=True)

    def _lost(self, attempt: Attempt, why: str) -> Ending:
        ledger.note(self.run.root, "lost", attempt.machine, self.job.id, why=why, seconds=attempt.seconds)
        self._note("lost", why=why, heard=attempt.heard, step=self._reached(), saved=self._step())
        return Ending("lost", why)

    def _give_back(self, attempt: Attempt) -> None:
        """Clean the machine and let it go; what cannot be verified stays in the ledger."""
        why = ""
        try:
            told = {} if attempt.in_place and not attempt.where else attempt.clean()
            self._note("released", **told)
        except (Lost, ParameterError) as error:
            why = str(error)
            self._note("released", why=why)
        told = {"verified": not why, "why": why, "seconds": attempt.seconds}
        ledger.note(self.run.root, "released", attempt.machine, self.job.id, **told)
        if attempt.host:
            with suppress(OSError):
                attempt.host.close()

    def _end_lost_ones(self) -> None:
        """End the job on machines that were given up, where they answer again: its work there counts no more."""
        for use in ledger.living(self.run.root):
            if use.job == self.job.id and use.state == "lost":
                try:
                    survey.end(host_of(self.run.root, use.machine, self.target), self.job.id)
                except HostError:
                    continue  # it stays in the ledger
                ledger.note(self.run.root, "released", use.machine, self.job.id, verified=True)

    # Records -------------------------------------------------------------------------------------------------------

    def _finish(self, state: str, *reasons: str) -> State:
        """The end: the run is free again."""
        account, reason = self.spending.account(), "; ".join(filter(None, reasons))
        self._tell(state=state, reason=reason, doing="", spent=account.spent, hours=account.used)
        if self.job.what == "walk" and self.run.status()["state"] != state:
            self.run.set_status(state, reason)
        if why := launching.draw(self.run):
            self._note("page_failed", why=why)
        (self.run.folder / STOP).unlink(missing_ok=True)
        self._end_lost_ones()
        self._note("finished", state=state, reason=reason)
        self._alert(now=True)
        self.alerts.close()
        return self.state

    def _tell(self, **changes: Any) -> None:
        """Write how the job stands, where that has changed or it is time for a sign of life."""
        for name, value in changes.items():
            setattr(self.state, name, redact(value) if isinstance(value, str) else value)
        account = self.spending.account()
        self.state.spent, self.state.hours = account.spent, account.used
        jobs.write_state(self.run, self.state)

    def _note(self, kind: str, **fields: Any) -> None:
        jobs.note(self.run, kind, attempt=self.state.attempt, machine=self.state.machine, **fields)

    def _step(self) -> int:
        return saved(self.run.folder)

    def _reached(self) -> int | None:
        """The last optimizer step that the records here tell of."""
        return max(
            (line["step"] for line in jsonlines.last(self.run.folder / METRICS, 1) if is_step(line)), default=None
        )

    def _pulled(self, step: int, moved: int, seconds: float) -> None:
        self._note("pulled", what="checkpoint", step=step, bytes=moved, seconds=round(seconds, 2))

    def _alert(self, now: bool = False) -> None:
        """Look for what a person wants to be told, every few seconds."""
        if now or time.monotonic() - self._looked > ALERTS_EVERY:
            self._looked = time.monotonic()
            self.alerts.look(self.state)

    def _stop_asked(self) -> str:
        """Why somebody wants it to stop; empty where nobody does."""
        path = self.run.folder / STOP
        if not self._stopped and path.exists():
            with suppress(ParameterError):
                self._stopped = str((files.read_object(path) or {}).get("reason", "")) or "stopped"
        return self._stopped

    def _wait(self, seconds: float) -> None:
        patience = time.monotonic() + seconds
        while time.monotonic() < patience and not self._stop_asked():
            time.sleep(LOOK)

    def _way_out(self) -> str:
        return f"the same stages can go on here, on the CPU: `{command()} launch {self.job.name} --on local`"


def _ending(told: Json) -> Ending:
    """How the job ended, from what its machine said last."""
    if told["state"] != "ended":
        return Ending("lost", "its agent there is gone without a word: the machine was restarted, or memory ran out")
    cause, reason = told["ended"]["cause"], str(told["ended"]["reason"])
    return Ending(cause, reason) if cause in get_args(policy.Ending) else Ending("failed", f"{cause}: {reason}")


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    told = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m stepladder.launch.supervisor", description=told)
    parser.add_argument("run", type=Path)
    run = Run(parser.parse_args(arguments).run.absolute(), project_root())
    for number in (signal.SIGHUP, signal.SIGINT):  # a closed terminal is no reason
        signal.signal(number, signal.SIG_IGN)
    with lock.hold(run.folder / FOLDER, f"job of {run.study}/{run.name}"):
        while not _goes(run):
            time.sleep(AGAIN)


def _goes(run: Run) -> bool:
    """See the job of a run to its end; False where the disk here is full."""
    supervisor = Supervisor(run)
    try:
        supervisor.go()
        return True
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            return False
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        supervisor._tell(doing=f"its supervisor failed: {type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
