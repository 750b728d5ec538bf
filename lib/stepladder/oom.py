"""Was it the memory? Evidence for calling a dead kernel `oom` rather than `failed`.

Linux tells the parent of a process it kills for memory nothing but signal 9, the same as `kill -9`. So the state
`oom` needs evidence: the cgroup's out-of-memory counter rose, or the dead child had grown close to the limit.
"""

import resource
from dataclasses import dataclass

from stepladder.ladder import limits

NEAR = 0.9  # share of the limit from which a child's peak counts as evidence


@dataclass(frozen=True)
class Memory:
    """One reading: out-of-memory kills in this cgroup, and the largest child waited for so far, in bytes."""

    kills: int
    peak_child: int

    @classmethod
    def read(cls) -> "Memory":
        """The reading of this moment."""
        return cls(limits.oom_kills(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)

    def killed_since(self, before: "Memory") -> str | None:
        """Whether the out-of-memory killer struck since `before`, in words."""
        count = self.kills - before.kills
        return f"Linux killed {count} process{'es' if count > 1 else ''} here for lack of memory" if count > 0 else None

    def evidence(self, before: "Memory", limit: int) -> str | None:
        """Why memory is to blame for a child that died since `before`, in words; None without evidence.

        Args:
            before: a reading taken before the child started.
            limit: the memory limit in bytes.
        """
        if self.peak_child > before.peak_child and self.peak_child >= NEAR * limit:
            grown = f"it had grown to {self.peak_child / 1e9:.1f} GB of the {limit / 1e9:.1f} GB allowed"
            return self.killed_since(before) or grown
        return self.killed_since(before)
