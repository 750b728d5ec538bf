"""What launching costs, on two machines made here: seconds to the first step, lag of the curve, streaming, ten deaths.

    warm, cold    from `launch` to the first step that is seen here: code and environment are there already; or nothing
                  is, and a folder of wheels is sent and installed (hosts reach no registry; torch they have)
    lag           from when a line of metrics is written there to when it is here; both sides have one clock
    streaming     processor seconds of all that serves the follower there, per second of training, of one core
    twice         bytes over the link beyond those of a shard, whose sending a killed supervisor broke off
    deaths        ten times a host vanishes at a random step of a real training: weights bit for bit those of an
                  undisturbed one, steps made twice, seconds in all

Machines share this one's cores with the person's side, so seconds are more than those of two machines.
"""

import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from stepladder import studies
from stepladder.dev import records
from stepladder.launch import data

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.gpu import wheels  # noqa: E402
from tests.launch.drills import Launched, Person, found_here, left, work  # noqa: E402
from tests.launch.rented import Machine  # noqa: E402
from tests.launch.world import World, lacking  # noqa: E402
from tests.training.conftest import flat  # noqa: E402

DEATHS, ROUNDS = 10, 1
REAL = {"model": {"sleep": 0.25}, "training": {"checkpoint_every": 10}}
LONG = {"model": {"sleep": 0.1}, "training": {"steps": 400, "checkpoint_every": 50}}
SHARD = 24_000  # kilobytes
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, print, record."""
    if reason := lacking():
        raise SystemExit(f"left out: {reason}")
    studies.__path__ = found_here()
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, light, measure in (
            ("first_step", False, first_step),
            ("follow", False, follow),
            ("twice", True, twice),
            ("deaths", False, deaths),
        ):
            record[name] = measure(Person(Path(folder) / name, light), Path(folder) / name)
            print(name, record[name], flush=True)
    records.write(__file__, record)
    if not all(row["identical"] for row in record["deaths"]["rows"]):
        raise SystemExit("weights differ after a machine was lost")


@contextmanager
def machines(person: Person, folder: Path, name: str, megabytes: int = 2048) -> Iterator[World]:
    """Two fresh machines and outputs of their own."""
    person.outputs = folder / f"outputs {name}".replace(" ", "_")
    (place := folder / f"world_{name}").mkdir(parents=True)
    with World(place, megabytes=megabytes) as world:
        os.environ |= person.environment | {"STEPLADDER_SSH_CONFIG": str(world.ssh_config)}
        person.targets()
        try:
            yield world
        finally:
            person.leaves()


def first_step(person: Person, folder: Path) -> dict[str, Any]:
    """Seconds from `launch` to the first step, cold and warm, and what they went on."""
    place = ROOT / ".wheels"
    wheels.fetch(place, f"{sys.version_info.major}.{sys.version_info.minor}")
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for number in range(ROUNDS):
        with machines(person, folder, f"first{number}") as world:
            person.targets(python=None, base_python=sys.executable, system_packages=True, wheels=str(place))
            for name, row in rows.items():
                began = time.time()
                job = Launched(person.run(f"{name}{number}", REAL))
                job.reaches(1, 600)
                seconds = time.time() - began
                made = sum(line["seconds"] for line in job.noted("environment"))
                row.append({"seconds": seconds, "installing": made})
                person.stops(job)
            assert not any(left(host) for host in world)
    told = {name: statistics.median(row["seconds"] for row in found) for name, found in rows.items()}
    size = sum(path.stat().st_size for path in place.glob("*.whl"))
    return {**told, "rows": rows, "wheel_bytes": size, "wheels": len(list(place.glob("*.whl")))}


def follow(person: Person, folder: Path) -> dict[str, Any]:
    """Lag of the curve, and what following costs there."""
    with machines(person, folder, "follow") as world:
        job = Launched(person.run("followed", LONG))
        job.reaches(1)
        host, lags, over = job.machine(world), [], threading.Event()
        watcher = threading.Thread(target=_watch, args=(job, lags, over))
        watcher.start()
        before, began = _served(host), time.monotonic()
        job.reaches(350)
        served, seconds = _served(host) - before, time.monotonic() - began
        over.set()
        watcher.join()
        job.ends()
    lags.sort()
    return {
        "lag_median": statistics.median(lags),
        "lag_p95": lags[int(0.95 * len(lags))],
        "lag_max": lags[-1],
        "lines": len(lags),
        "cost": served / seconds,
        "seconds": seconds,
    }


def twice(person: Person, folder: Path) -> dict[str, Any]:
    """Bytes over the link where a killed supervisor broke off the sending of shards, beside those of a whole sending.

    Both have the code there already. The one that was broken off has measured the link once more, which is left out.
    """
    with machines(person, folder, "twice") as world:
        host, moved = world["hostA"], dict[str, int]()
        Launched(person.run("warm")).ends()
        host.slow(200)
        for name in ("whole", "broken off"):
            run = person.run(name.replace(" ", "_"), kilobytes=SHARD)
            size, before = sum(path.stat().st_size for path in (run.data / "shards").iterdir()), _over_link(host)
            job = Launched(run)
            if name != "whole":
                job.until(lambda job=job: "to send" in job.state.doing)
                time.sleep(1.5)
                job.kill_supervisor()
                job.begin()
            job.until(lambda job=job: job.noted("sent"))
            moved[name] = _over_link(host) - before
            job.kill_supervisor()
            job.begin()
            job.ends()
            assert job.state.state == "done", job.told()
            again = [line["bytes"] for line in job.noted("sent")[1:]]
    beyond = moved["broken off"] - moved["whole"] - data.PROBE_BYTES - data.FIRST_BYTES
    return {"bytes": size, "over_the_link": moved, "twice": max(0, beyond) / size, "sent_again": again}


def deaths(person: Person, folder: Path) -> dict[str, Any]:
    """Ten times a machine vanishes at a random step."""
    moments, rows = random.Random(2026), list[dict[str, Any]]()
    wanted = None
    for number in range(DEATHS):
        with machines(person, folder, f"death{number}") as world:
            if wanted is None:
                wanted = flat(person.weights(person.trains_here("undisturbed", REAL)()))
            began, at = time.monotonic(), moments.randrange(11, 50)
            job = Launched(person.run("killed", REAL))
            repeated = job.killed_at(at, world)
            found = flat(person.weights(job.run))
            same = found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
            whole = job.state.state == "done" and job.steps == list(range(1, 61))
            seconds = time.monotonic() - began
            rows.append({"step": at, "repeated": repeated, "identical": same and whole, "seconds": seconds})
            print(rows[-1], flush=True)
            assert not any(work(host) for host in world if host.lives)
    return {
        "identical": sum(row["identical"] for row in rows),
        "repeated_most": max(row["repeated"] for row in rows),
        "interval": REAL["training"]["checkpoint_every"],
        "seconds_most": max(row["seconds"] for row in rows),
        "rows": rows,
    }


def _watch(job: Launched, lags: list[float], over: threading.Event) -> None:
    """Note by how much later every line of metrics is here than it was written."""
    seen = len(job.run.metrics())
    while not over.wait(0.02):
        lines, now = job.run.metrics(), time.time()
        lags += [now - line["time"] for line in lines[seen:] if "loss" in line]
        seen = len(lines)


def _served(host: Machine) -> float:
    """Processor seconds of everything on a host but agent and training: what serves those who look on."""
    ours = {
        process.pid
        for process in host.processes()
        if "box start" in (line := " ".join(process.argv)) or "worker" in line
    }
    space = os.readlink(f"/proc/{next(iter(ours))}/ns/pid")
    total = 0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int(place.name) not in ours and os.readlink(place / "ns/pid") == space:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                total += sum(int(field) for field in fields[11:15])  # its own, and of children that have ended
        except OSError:
            continue
    return total / TICKS


def _over_link(host: Machine) -> int:
    """Bytes that went to a host so far."""
    return int(Path(f"/sys/class/net/{host.cable}/statistics/tx_bytes").read_text())


if __name__ == "__main__":
    main()
