"""Where a part of the check works, and how it says that it cannot: what every part shares.

Decisions:
- Runs lie in one folder for all parts, so the shards of a study are made once, by whoever needs them first.
- On a card networks are as large as a rented card is rented for; on the CPU, where only the check itself is
  checked, they are those of the smoke profiles.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.core.config import check, merge
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.data import loading
from stepladder.ladder.measure.study_job import StudyJob

ROOT = Path(__file__).resolve().parents[2]
# Networks for a card, on the shards of the smoke profiles, and the samples of one pass.
SIZES: dict[str, dict[str, Any]] = {
    "plateau": {"window": [48, 48, 8], "width": 64, "levels": 3},
    "scroll": {"patch": [48, 48, 48], "width": 32, "levels": 3},
    "pde": {"width": 128, "channels": 64, "modes": 32, "before": 2, "after": 2, "depth": 2, "heads": 4},
}
BATCH = {"plateau": 16, "scroll": 4, "pde": 128}
TINY_BATCH = 2
LAST_LINES = 15


class Skipped(Exception):
    """A part that cannot be measured here; the text is the reason."""


@dataclass(frozen=True)
class Check:
    """One thing a part asserts: its name, whether it holds, and what was seen."""

    name: str
    ok: bool
    reason: str


@dataclass
class Place:
    """What a part is given.

    Attributes:
        device: cuda or cpu.
        seconds: what it may take; it is killed soon after.
        folder: its own.
        outputs: where runs are kept, for all parts.
        studies: names of the studies it looks at.
        walked: study -> outputs that hold its finished smoke run, where there are any.
    """

    device: str
    seconds: float
    folder: Path
    outputs: Path
    studies: list[str]
    walked: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    done: dict[str, str] = field(default_factory=dict)  # study -> stages walked here

    @property
    def cuda(self) -> bool:
        """Whether there is a card."""
        return self.device == "cuda"

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.began + self.seconds - time.monotonic()

    def need_card(self, why: str) -> None:
        """Go no further without a card."""
        if not self.cuda:
            raise Skipped(f"needs CUDA: {why}")

    def in_time(self, names: list[str]) -> Iterator[str]:
        """Names of what is measured in turn, until an equal share of the time is not left for the next."""
        longest = 0.0
        for name in names:
            begin = time.monotonic()
            if self.left < longest:
                print(f"no time left for {name}", flush=True)
                return
            yield name
            longest = max(longest, time.monotonic() - begin)

    def shards(self, study: str, stages: str = "1-2") -> Run:
        """The smoke run of a study with these stages done, walked where it was not."""
        outputs = Path(self.walked.get(study) or self.outputs)
        if study not in self.walked and self.done.get(study, "") < stages:
            walk(study, outputs, stages)
            self.done[study] = stages
        return Run(outputs / study / "smoke", ROOT)

    def job(self, study: str) -> StudyJob:
        """The training of a study on the shards of its smoke run, with a network in the size of a card."""
        import torch

        run, found = self.shards(study), find(study)
        values = merge(run.values(), {"model": SIZES[study]} if self.cuda else {})
        params = check(found.Params, values)
        train, *_ = loading.datasets(run, found, params)
        return StudyJob(found, params, train, torch.device(self.device))

    def batch(self, study: str) -> int:
        """Samples of one pass."""
        return BATCH[study] if self.cuda else TINY_BATCH


def walk(study: str, outputs: Path, stages: str, profile: str = "smoke", device: str = "", **more: str) -> None:
    """Walk stages of a profile in a process of its own; `device` is "cpu" to hide the card.

    Raises:
        RuntimeError: it did not end well, with its last lines.
    """
    finish(begin(study, outputs, stages, profile, device, **more), f"{study}/{profile} {stages} {device}".strip())


def begin(
    study: str, outputs: Path, stages: str, profile: str = "smoke", device: str = "", **more: str
) -> "subprocess.Popen[str]":
    """Begin such a walk; see `finish`."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    environment = {**os.environ, "STEPLADDER_OUTPUTS": str(outputs), "STEPLADDER_ROOT": str(ROOT), **hidden}
    settings = [word for key, value in more.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]
    command = [sys.executable, "-m", "stepladder.cli", "run", study, "--profile", profile, "--stages", stages]
    return subprocess.Popen(
        [*command, *settings], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(child: "subprocess.Popen[str]", name: str) -> None:
    """Wait for a process; `RuntimeError` with its last lines where it did not end well."""
    said, _ = child.communicate()
    if child.returncode:
        last = "\n".join(said.splitlines()[-LAST_LINES:])
        raise RuntimeError(f"{name} ended with code {child.returncode}:\n{last}")
