"""Does everything work on this card? One command, eight minutes, one record.

    python tests/gpu/check.py [--device cuda|cpu] [--minutes 8] [--parts studies,resume] [--again] [--record FILE]

Decisions:
- Every part runs in a process of its own with its share of the time: a crash, a hang or memory that runs out costs that
  part and no other. The most telling come first, for cards are lent for minutes.
- The record is written after every part. What the same code has measured on the same card, driver and torch is kept
  unless `--again` is given, so a check that was cut goes on where it was. A part that failed is tried again.
- It runs from the source tree: `stepladder` need not be installed. This process never imports torch.
- Exit code 0: all parts measured or skipped, and every check true.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "lib"), str(ROOT)]

from stepladder.core import files  # noqa: E402 (from the tree this file lies in)
from stepladder.core.study import names  # noqa: E402
from stepladder.dev import cards, records  # noqa: E402

# Part -> the most seconds of eight minutes it may take; what one leaves the last one has.
PARTS = {
    "studies": 130,
    "precision": 90,
    "memory_runs_out": 60,
    "memory_forecast": 40,
    "overlap": 20,
    "offload": 40,
    "ladder": 90,
    "resume": 60,
    "burgers": 480,
}
LEAST = 5.0  # seconds without which no part is begun
PATIENCE = 5.0  # seconds after its time in which a part may still end by itself
LAST_LINES = 15


@dataclass
class Checker:
    """One run of the check.

    Attributes:
        options: what was asked for.
        work: where runs, logs and results of the parts are left.
        record: what is known so far.
        path: where it is written.
    """

    options: argparse.Namespace
    work: Path
    record: dict[str, Any] = field(default_factory=dict)
    path: Path = Path()

    def run(self) -> int:
        """Measure every part that is wanted and not known; the exit code."""
        here = self.card()
        if "missing" in here:
            print(here["missing"], file=sys.stderr)
            return 2
        self.path = self.options.record or self._usual(here["card"])
        before = files.read_json(self.path) or {}
        same = all(before.get(name) == value for name, value in here.items())
        self.record = {**here, "machine": records.machine(), "parts": before.get("parts", {}) if same else {}}
        print(f"{here['card']}, torch {here['torch']}, {self.record['machine']}; record: {self.path.name}", flush=True)
        deadline = time.monotonic() + 60 * self.options.minutes
        for part in self.options.parts:
            self._one(part, deadline)
        print(table(self.record))
        rows = [self.record["parts"][part] for part in self.options.parts]
        return 0 if all(good(row) for row in rows) else 1

    def card(self) -> dict[str, Any]:
        """What is here, asked in a process of its own."""
        told = self._child("card", 120.0)
        return told if "card" in told else {"missing": told["reason"]}

    def _usual(self, card: str) -> Path:
        """A record of a card is committed; one of the CPU only tells that the check itself works."""
        return cards.path_of(ROOT, card) if self.options.device == "cuda" else self.work / "record.json"

    def _one(self, part: str, deadline: float) -> None:
        code, kept = cards.key(ROOT, part), self.record["parts"].get(part)
        if kept and kept["code"] == code and kept["state"] in ("measured", "skipped") and not self.options.again:
            print(f"{part}: kept", flush=True)
            return
        seconds = min(PARTS[part] * self.options.minutes / 8, deadline - time.monotonic())
        begin = time.monotonic()
        row = {"state": "not run", "reason": "no time was left"} if seconds < LEAST else self._child(part, seconds)
        row |= {"seconds": round(time.monotonic() - begin, 1), "code": code}
        self.record["parts"] = {**self.record["parts"], part: row}
        files.write_json(self.path, self.record)
        print(f"{part}: {cards.told(row)}, {row['seconds']:.0f} s", flush=True)

    def _child(self, part: str, seconds: float) -> dict[str, Any]:
        """What became of a part in a process of its own, at most `seconds` long."""
        folder = self.work / part
        folder.mkdir(parents=True, exist_ok=True)
        spec, result, log = folder / "spec.json", folder / "result.json", folder / "log.txt"
        result.unlink(missing_ok=True)
        place = {"device": self.options.device, "seconds": seconds, "studies": self.options.studies}
        place |= {"folder": str(folder), "outputs": str(self.work / "outputs"), "walked": self.options.walked}
        files.write_json(spec, {"part": part, **place})
        command = [sys.executable, str(ROOT / "tests" / "gpu" / "one.py"), str(spec), str(result)]
        with log.open("wb") as output:
            child = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=output, env=environment(), start_new_session=True
            )
        late = False
        try:
            child.wait(seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            late = True
        finally:  # also when a signal ends this process: nothing of a part stays
            end(child)
        if told := files.read_json(result):
            return told
        if late:
            return {"state": "timeout", "reason": f"stopped after {seconds:.0f} s; {last_line(log)}"}
        ended = f"code {child.returncode}" if child.returncode >= 0 else signal.Signals(-child.returncode).name
        return {"state": "killed" if child.returncode < 0 else "failed", "reason": f"{ended}: {last_line(log)}"}


def environment() -> dict[str, str]:
    """Of a part's process: the modules of this one, no display, no questions."""
    modules = os.pathsep.join(filter(None, dict.fromkeys([str(ROOT / "lib"), str(ROOT), *sys.path])))
    fixed = {"MPLBACKEND": "agg", "STEPLADDER_HEADLESS": "1", "STEPLADDER_ROOT": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, "PYTHONPATH": modules, **fixed}


def end(child: "subprocess.Popen[bytes]") -> None:
    """Kill what is left of a part, what left its session too, and wait until it is gone."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(child.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    child.wait()
    psutil.wait_procs(family, PATIENCE)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def good(row: dict[str, Any]) -> bool:
    """Whether a part was skipped, or measured with every check true."""
    return row["state"] == "skipped" or (row["state"] == "measured" and all(c["ok"] for c in row["checks"]))


def table(record: dict[str, Any]) -> str:
    """The record as people read it."""
    lines = [f"\n{record['card']}, torch {record['torch']}, driver {record.get('driver') or 'none'}"]
    for part, row in record["parts"].items():
        lines.append(f"\n{part}: {row['state']}, {row['seconds']:.0f} s")
        if row["state"] != "measured":
            lines.append(f"    {row.get('reason', '')}")
        for check in row.get("checks", []):
            lines.append(f"    {'ok ' if check['ok'] else 'BAD'} {check['name']}: {check['reason']}")
    return "\n".join(lines)


def asked(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; what names nothing is refused."""
    parser = argparse.ArgumentParser(prog="check.py", description=(__doc__ or "").partition("\n")[0])
    listed: Any = lambda text: [word for word in text.split(",") if word]  # noqa: E731
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: does the check itself work?")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts together")
    parser.add_argument("--parts", type=listed, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--studies", type=listed, default=names(), help="some of the studies")
    parser.add_argument("--again", action="store_true", help="measure what is known, too")
    parser.add_argument("--record", type=Path, help="JSON file; by default the committed one of this card")
    parser.add_argument("--work", type=Path, help="where runs and logs are left; outputs/gpu-check")
    parser.add_argument("--walked", action="append", default=[], help="STUDY=OUTPUTS that hold a finished smoke run")
    found = parser.parse_args(arguments)
    for kind, given, known in (("part", found.parts, PARTS), ("study", found.studies, names())):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"no {kind} {unknown[0]!r}: {', '.join(known)}")
    found.walked = dict(pair.split("=", 1) for pair in found.walked)
    return found


def main() -> None:
    """Check, record, print."""
    options = asked()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    work = (options.work or ROOT / "outputs" / "gpu-check" / options.device).resolve()
    sys.exit(Checker(options, work).run())


if __name__ == "__main__":
    main()
