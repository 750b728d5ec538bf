"""Was it the memory? Evidence for calling a dead process `oom` rather than `failed`.

Decisions:
- Linux tells the parent of a process it kills for memory nothing but signal 9, the same as `kill -9`. So the state
  `oom` needs evidence: the cgroup's out-of-memory counter rose, the dead child had grown close to the limit, or it
  said so.
- Allocators say it in many ways: `SAID` knows those of torch on CPU, CUDA and HIP, of cuDNN and cuBLAS, of numpy and
  Python, and of full shared memory, in the process itself or passed on from a loader process.
"""

import re
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stepladder.machine import limits

SAID = re.compile(
    r"out of memory|outofmemory|MemoryError|bad_alloc"
    r"|can(?:no|')t allocate memory|not enough memory|unable to allocate (?:array|[\d.]+ \w?i?B)"
    r"|(?:CUDNN|CUBLAS|HIPBLAS|MIOPEN)\w*_ALLOC_FAILED"
    r"|out of shared memory|unable to \w+ (?:shared memory|to file </torch_)",
    re.IGNORECASE,
)
FIRST_TO_GO = "900"  # of 1000
NEAR = 0.9  # share of the limit from which a child's peak counts as evidence


def go_first() -> None:
    """Be what Linux takes when memory runs out, before whoever started this process, such as a notebook."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)


def said(text: str) -> str | None:
    """The last line of `text` (a log, a traceback) that says memory ran out; None where none does."""
    return next((line.strip() for line in reversed(text.splitlines()) if SAID.search(line)), None)


@dataclass(frozen=True)
class Memory:
    """One reading: out-of-memory kills in this cgroup, and the largest child waited for so far, in bytes.

    Take one before starting a child, and ask it afterwards: `before.evidence(limit)`.
    """

    kills: int
    peak_child: int

    @classmethod
    def read(cls) -> "Memory":
        """The reading of this moment."""
        return cls(limits.oom_kills(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * limits.MAXRSS)

    def killed_since(self, now: "Memory | None" = None) -> str | None:
        """Whether the out-of-memory killer struck between this reading and `now`, in words; None when it did not."""
        count = (now or Memory.read()).kills - self.kills
        return f"Linux killed {count} process{'es' if count > 1 else ''} here for lack of memory" if count > 0 else None

    def evidence(self, limit: int, now: "Memory | None" = None) -> str | None:
        """Why memory is to blame for a child that died between this reading and `now`; None without evidence.

        Args:
            limit: the memory limit in bytes.
            now: the later reading, this moment's when not given.
        """
        now = now or Memory.read()
        if killed := self.killed_since(now):
            return killed
        if now.peak_child > self.peak_child and now.peak_child >= NEAR * limit:
            return f"it had grown to {now.peak_child / 1e9:.1f} GB of the {limit / 1e9:.1f} GB allowed"
        return None
