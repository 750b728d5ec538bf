"""Whether a box is what was promised: it is measured there in seconds, and judged here.

    python -m stepladder.launch.examination FOLDER      on the box: prints what is there as one line of JSON

Decisions:
- A promised card is one that CUDA names so, as many as were promised, with the memory that the price table says. A
  better card than the promised one is another one too: the price that was agreed on is not its price.
- The rate of a card is that of a large bf16 product, taken by its own clock after it is warm; every card counts, and
  the slowest is judged. A box without a card is measured in float32, and judged by nobody: no data sheet is known.
- Somebody else's work on a card is told by its memory, for inside a container no other process can be seen.
- A clock that is wrong is told and harms nothing: whatever is compared is told by one machine's clock.
- Everything is bounded by seconds, not by amounts: a slow disk is told in the time of a fast one.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepladder.core.config import ParameterError, nearest
from stepladder.core.files import Json
from stepladder.core.types import Check
from stepladder.core.units import digits, readable
from stepladder.cost.offers import Offer, Prices
from stepladder.launch import code
from stepladder.launch.hosts import CommandFailed, Host, HostError
from stepladder.launch.targets import Target
from stepladder.machine import limits

BLOCK = 8 << 20  # bytes of one write
DISK_BYTES, DISK_SECONDS = 256 << 20, 3.0  # most of a measurement
PRODUCT_SECONDS = 1.0
SIDE = {"cuda": 8192, "cpu": 1024}  # of the square matrices
OTHERS = 1.5e9  # bytes in use on a card, before we use it, from which it is somebody else's
CLOCK = 60.0  # seconds by which a clock may be off without a word
MEMORY_SHARE = 0.9  # of a card's memory by the table that CUDA must name; makers count in other units, and keep some
PATIENCE = 120.0  # seconds: importing torch from a cold disk takes most of them


def examine(folder: Path) -> Json:
    """What this machine is and can do; see the names below. `cards` is empty where CUDA has none."""
    used = _used()  # before torch uses some itself
    return {
        "python": platform.python_version(),
        "host": platform.node(),
        "cpus": limits.cpus(),
        "memory": limits.memory_limit(),
        "memory_free": limits.memory_free(),
        **_disk(folder),
        **_torch(),
        "used": used,
    }


def _torch() -> Json:
    """torch, its cards and their rates; why not, where it cannot be imported or refuses the driver."""
    try:
        import torch
    except Exception as error:  # a broken library may raise anything
        return {"torch": None, "torch_error": str(error), "cards": [], "driver": _driver()}
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = [_card(torch, number) for number in range(count)]
    rate = None if cards else _rate(torch, torch.device("cpu"))
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "driver": _driver(), "cards": cards, "tflops": rate}


def _card(torch: Any, number: int) -> Json:
    device = torch.device("cuda", number)
    free, total = torch.cuda.mem_get_info(device)
    told = {"name": torch.cuda.get_device_name(device), "memory": total, "free": free}
    try:
        return {**told, "tflops": _rate(torch, device), "error": ""}
    except RuntimeError as error:  # a build without this card's code, a card that fell off its bus
        return {**told, "tflops": 0.0, "error": str(error).splitlines()[0]}


def _rate(torch: Any, device: Any) -> float:
    """TFLOP/s of products of large matrices: bf16 on a card, float32 elsewhere."""
    side, kind = SIDE[device.type], torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    _times(torch, device, one, other, PRODUCT_SECONDS / 2)  # warm: clocks rise, kernels are chosen
    count, seconds = _times(torch, device, one, other, PRODUCT_SECONDS)
    return 2 * side**3 * count / seconds / 1e12


def _times(torch: Any, device: Any, one: Any, other: Any, enough: float) -> tuple[int, float]:
    """Multiply until `enough` seconds have gone; how often, and the seconds by the clock of the card."""
    count, began, seconds = 0, time.perf_counter(), 0.0
    while time.perf_counter() - began < enough:
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            with torch.cuda.device(device):
                start.record()
                for _ in range(10):
                    torch.matmul(one, other)
                end.record()
                end.synchronize()
            seconds += start.elapsed_time(end) / 1e3
            count += 10
        else:
            torch.matmul(one, other)
            count, seconds = count + 1, time.perf_counter() - began
    return count, seconds


def _disk(folder: Path) -> Json:
    """Bytes free in a folder, and bytes per second written to its disk and read from it."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    path, most = folder / f".examination-{os.getpid()}", min(DISK_BYTES, free // 4)
    try:
        written = _written(path, most)
        return {"disk_free": free, "disk_write": written, "disk_read": _read(path)}
    except OSError as error:
        return {"disk_free": free, "disk_write": 0.0, "disk_read": 0.0, "disk_error": error.strerror}
    finally:
        path.unlink(missing_ok=True)


def _written(path: Path, most: int) -> float:
    block, done, began = os.urandom(BLOCK), 0, time.perf_counter()
    with path.open("wb") as file:
        while done < most and time.perf_counter() - began < DISK_SECONDS:
            done += file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
    return done / (time.perf_counter() - began)


def _read(path: Path) -> float:
    done, began = 0, time.perf_counter()
    with path.open("rb", buffering=0) as file:
        with suppress(OSError, AttributeError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else memory is measured
        while time.perf_counter() - began < DISK_SECONDS and (block := file.read(BLOCK)):
            done += len(block)
    return done / max(time.perf_counter() - began, 1e-9)


def _driver() -> str | None:
    return next(iter(_asked("driver_version")), None)


def _used() -> list[int]:
    """Bytes in use on every card, as the driver says; nothing where it says nothing."""
    return [int(float(value) * 2**20) for value in _asked("memory.used") if value.replace(".", "").isdigit()]


def _asked(field: str) -> list[str]:
    """What nvidia-smi says of every card."""
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[:-1]
    return []


def of(host: Host, python: str, place: str) -> Json:
    """Examine a machine; `found["clock_ahead"]` is by how many seconds its clock is ahead of ours.

    Args:
        host: the machine.
        python: the Python there that a job would run with.
        place: the code there.

    Raises:
        HostError: it cannot be examined.
    """
    try:
        told = host.call(code.command(python, place, "stepladder.launch.examination", host.folder), timeout=PATIENCE)
    except CommandFailed as error:
        raise HostError(f"{host.name} cannot be examined: {error.stderr}") from None
    return {**json.loads(told.splitlines()[-1]), "clock_ahead": _ahead(host)}


def _ahead(host: Host) -> float:
    """Seconds by which a machine's clock is ahead of ours, to a second or so."""
    asked = time.time()
    there = float(host.call(["date", "+%s"])) + 0.5
    return there - (asked + time.time()) / 2


def promised(target: Target, prices: Prices) -> Offer | None:
    """The offer that a target promises; None where it promises none. `ParameterError` for an unknown one."""
    if target.gpu is None:
        return None
    offers = {offer.name: offer for offer in prices.gpus}
    if target.gpu not in offers:
        raise ParameterError(f"gpu: no card {target.gpu!r} in params/gpu_prices.yaml{nearest(target.gpu, offers)}")
    return offers[target.gpu]


def judge(found: Json, target: Target, prices: Prices, disk: float = 0.0, memory: float = 0.0) -> list[Check]:
    """Whether a machine is good for a job, each point with its reason.

    Args:
        found: what `of` found there.
        target: what was promised.
        prices: the data sheets.
        disk: bytes that will be sent to it and kept there.
        memory: bytes that the job needs.
    """
    offer = promised(target, prices)
    checks = [_card_check(found, offer, prices), _rate_check(found, target, prices), _alone(found)]
    room, limit = found["disk_free"], found["memory"]
    speeds = f"written {readable(found['disk_write'])}/s, read {readable(found['disk_read'])}/s"
    checks += [
        Check("disk has room", room >= disk and found["disk_write"] > 0, _room(room, disk, speeds), room, disk),
        Check("memory is enough", limit >= memory, _room(limit, memory, f"{found['cpus']:g} CPUs"), limit, memory),
        _clock(found["clock_ahead"]),
    ]
    return checks


def _card_check(found: Json, offer: Offer | None, prices: Prices) -> Check:
    """The card is the one that was promised."""
    name = "card is as promised"
    seen = [card["name"] for card in found["cards"]]
    shown = f"{len(seen)} x {seen[0]}" if seen else "no card"
    if found["torch"] is None:
        return Check(name, False, f"torch cannot be imported there: {found['torch_error']}")
    if offer is None:
        return Check(name, True, f"{shown}; none was promised")
    if not seen:
        driver = found["driver"]
        why = f"CUDA finds none with driver {driver}, torch {found['torch']}" if driver else "there is no driver"
        return Check(name, False, f"{offer.name} was promised, and {why}")
    same = [card for card in seen if (match := prices.match(card, offer.gpus)) and match.name == offer.name]
    least = MEMORY_SHARE * offer.memory_gb * 1e9
    small = [card for card in found["cards"] if card["memory"] < least]
    reason = f"{shown} of {readable(found['cards'][0]['memory'])}; promised: {offer.name}"
    return Check(name, len(same) == len(seen) >= offer.gpus and not small, reason)


def _rate_check(found: Json, target: Target, prices: Prices) -> Check:
    """Every card computes, as fast as a share of its data sheet."""
    name = "it computes as it should"
    if not found["cards"]:
        rate = found.get("tflops") or 0.0
        return Check(name, rate > 0, f"{digits(rate)} TFLOP/s in float32 on the CPU", rate)
    slowest = min(found["cards"], key=lambda card: card["tflops"])
    rate, sheet = slowest["tflops"], prices.match(slowest["name"])
    if slowest["error"]:
        return Check(name, False, f"{slowest['name']}: {slowest['error']}", rate)
    if sheet is None:
        return Check(name, rate > 0, f"{digits(rate)} TFLOP/s in bf16; no data sheet of {slowest['name']}", rate)
    least = target.matmul_share * sheet.tflops
    reason = f"{digits(rate)} of {digits(sheet.tflops)} TFLOP/s in bf16, at least {digits(least)} wanted"
    return Check(name, rate >= least, reason, rate, least)


def _alone(found: Json) -> Check:
    """Nobody else works on the cards."""
    used = max(found["used"] or [card["memory"] - card["free"] for card in found["cards"]], default=0)
    reason = f"{readable(used)} of card memory in use before the job" if found["cards"] else "no card"
    return Check("nobody else is on the card", used <= OTHERS, reason, used, OTHERS)


def _room(there: float, needed: float, more: str) -> str:
    return f"{readable(there)} there, {readable(needed)} needed; {more}"


def _clock(ahead: float) -> Check:
    way = "ahead of" if ahead > 0 else "behind"
    reason = f"{abs(ahead):.0f} s {way} this machine's" if abs(ahead) > CLOCK else "right"
    return Check("clock", True, reason, ahead)


def main() -> None:
    """Print what this machine is as a line of JSON."""
    print(json.dumps(examine(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
