"""On the box: `python -m stepladder.launch.box COMMAND`, what the launcher asks there; answers are JSON.

    start JOBFOLDER    begin the job; terms and secrets come as one line of JSON on stdin
    status JOBFOLDER   how it stands
    stream JOBFOLDER   what is new in its records, and a sign of life every second (see `stream`)
    stop JOBFOLDER     ask it to save and stop, and wait
    sums JOBFOLDER     size and hash of every file it leaves
    clean JOBFOLDER    end every process of it, and delete it

Decisions:
- Whoever asks may vanish at any time: `start` leaves an agent of its own session behind (see `agent`), every other
  command only looks at files.
- A job is known to run by its agent's process, never by a pid alone (see `machine.processes`).
- Secrets go from stdin into the agent's environment and nowhere else.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepladder.core import files
from stepladder.core.errors import Damaged
from stepladder.core.files import Json
from stepladder.launch import job as jobs
from stepladder.launch import stream as streaming
from stepladder.launch.agent import Agent, Terms
from stepladder.launch.job import JOB, Job
from stepladder.machine import processes

LOOK = 1.0  # seconds between two looks at the records
BEGUN = 30.0  # seconds that an agent may take to say that it is there
PREFIXES = {  # what of a run a job writes, and nobody else: all of it is brought home
    "walk": ("",),
    "train": ("metrics.jsonl", "events.jsonl", "05_training/", "set_aside_"),
    "ladder": ("events.jsonl", "04_scaling/kept/"),
}


def main(arguments: list[str] | None = None) -> None:
    """Entry of all commands."""
    commands = {
        "start": start,
        "status": lambda folder: _print(status(folder)),
        "stream": stream,
        "stop": stop,
        "sums": sums,
        "clean": clean,
    }
    told = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m stepladder.launch.box", description=told)
    parser.add_argument("command", choices=commands)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    commands[given.command](given.folder.expanduser().absolute())


def start(folder: Path) -> None:
    """Leave an agent behind that runs the job of `folder`; at once where one is there already."""
    asked = json.loads(sys.stdin.readline() or "{}")
    if not _agent(folder):
        for name in ("ended.json", "stop.json", "released", "agent.json"):
            (folder / name).unlink(missing_ok=True)
        _leave(folder, Terms(**asked.get("terms", {})), asked.get("secrets", {}))
        patience = time.monotonic() + BEGUN
        while not (folder / "agent.json").exists() and time.monotonic() < patience:
            time.sleep(0.02)
    _print(status(folder))


def status(folder: Path) -> Json:
    """How the job of a folder stands: `ended` (with how), `running`, `lost`, or `new` where it has not begun."""
    ended, beat = _read(folder / "ended.json"), _read(folder / "beat.json")
    if ended:
        return {"state": "ended", "ended": ended, "beat": beat}
    if _agent(folder):
        return {"state": "running", "beat": beat}
    return {"state": "lost" if (folder / "agent.json").exists() else "new", "beat": beat}


def stream(folder: Path) -> None:
    """Send what is new, until the job has ended and all is sent, or nobody listens."""
    job = _job(folder)
    asked = json.loads(sys.stdin.readline())
    outputs = in_place(folder)
    run = (outputs or folder / "outputs") / job.study / job.run
    logs = {streaming.BOX_LOG: folder / "log"}
    prefixes = () if outputs else PREFIXES[job.what]
    sender = streaming.Sender(run, sys.stdout.buffer, asked["have"], prefixes, logs)
    with suppress(BrokenPipeError):
        while True:
            told = status(folder)  # before the look: of a job that has ended nothing is new after it
            sender.look()
            sender.tell({**told, "now": time.time(), "checkpoints": checkpoints(run)})
            if told["state"] != "running":
                return
            time.sleep(LOOK)


def in_place(folder: Path) -> Path | None:
    """The outputs folder of a job that works where its run is, on the machine that launched it; None elsewhere."""
    terms = _read(folder / "terms.json") or {}
    return Path(terms["outputs"]) if terms.get("outputs") else None


def checkpoints(run: Path) -> list[Json]:
    """Step, bytes and hash of every checkpoint that says it is whole, newest first."""
    found = [_read(place / "COMMITTED") for place in sorted(run.glob("checkpoints/step_*"), reverse=True)]
    return [{name: seal.get(name) for name in ("step", "bytes", "sha256", "best")} for seal in found if seal]


def stop(folder: Path) -> None:
    """Ask the job to save and stop, and wait until it has."""
    reason = sys.stdin.readline().strip() or "stopped by a person"
    if _agent(folder):
        files.write_json(folder / "stop.json", {"reason": reason})
    while _agent(folder) and not (folder / "ended.json").exists():
        time.sleep(0.1)
    _print(status(folder))


def sums(folder: Path) -> None:
    """Size and hash of every file that the job leaves, by name from the outputs folder there; none where in place."""
    job, outputs = _job(folder), folder / "outputs"
    found: Json = {}
    for path in sorted(outputs.rglob("*")) if not in_place(folder) else ():
        name = path.relative_to(outputs).as_posix()
        if leaves(job, name) and path.is_file() and not path.is_symlink():
            found[name] = {"bytes": path.stat().st_size, "sha256": files.file_sha256(path)}
    _print(found)


def leaves(job: Job, name: str) -> bool:
    """Whether a file, by its name from the outputs folder, is one that a job leaves, and so comes home."""
    wanted = tuple(f"{job.name}/{prefix}" for prefix in (*PREFIXES[job.what], "checkpoints/"))
    hidden = any(part.startswith((".", "launch")) for part in name.split("/")[2:])
    return name.startswith((*wanted, f"{job.study}/_data/shards/")) and not hidden


def clean(folder: Path) -> None:
    """End what is left of the job and delete its folder; tells how many processes were left, before and after.

    An agent that only waits to power the machine off is let live: this is what it waits for.
    """
    name = _job(folder).id if (folder / "job.json").exists() else folder.name
    with suppress(FileNotFoundError):  # it was deleted already, by who could not say so any more
        (folder / "released").touch()
    agent = None if _powers_off(folder) else _read(folder / "agent.json")
    before = _left(agent, name)
    for pid in before:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    patience = time.monotonic() + 10
    while (left := _left(agent, name)) and time.monotonic() < patience:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    _print({"ended": len(before), "left": len(left), "on_the_card": _on_the_card(before), "gone": not folder.exists()})


def _powers_off(folder: Path) -> bool:
    """Whether the agent has ended its job, and is to power the machine off."""
    return (folder / "ended.json").exists() and (_read(folder / "terms.json") or {}).get("on_end") == "poweroff"


def _left(agent: Json | None, job: str) -> list[int]:
    """The agent, where it lives, and what belongs to the job."""
    return [*([agent["pid"]] if agent and processes.is_alive(agent) else []), *members(job)]


def members(job: str) -> list[int]:
    """Processes that belong to a job, whoever their parents are: those whose environment says so."""
    mark = f"{JOB}={job}".encode()
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (place / "environ").read_bytes().split(b"\0") and int(place.name) != os.getpid():
                found.append(int(place.name))
    return found


def _leave(folder: Path, terms: Terms, secrets: dict[str, str]) -> None:
    """Start the agent as a process that nobody waits for."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(stream, number)
    code = 1
    try:
        code = Agent(folder, _job(folder), terms, secrets).run()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _agent(folder: Path) -> bool:
    """Whether the job's agent lives."""
    return processes.is_alive(_read(folder / "agent.json"))


def _job(folder: Path) -> Job:
    found = jobs.read(folder / "job.json")
    if found is None:
        raise SystemExit(f"no job in {folder}")
    return found


def _read(path: Path) -> Json | None:
    try:
        return files.read_object(path)
    except Damaged:
        return None


def _on_the_card(pids: list[int]) -> int:
    """How many of these processes still hold memory of a card; 0 where there is none."""
    try:
        asked = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len({int(line) for line in told.split() if line.isdigit()} & set(pids))


def _print(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
