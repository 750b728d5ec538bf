"""Evidence for running out of memory: the counter, or a child close to the limit; never a guess."""

import pytest

from stepladder.machine.oom import Memory, said

GB = 10**9


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (Memory(0, 0), Memory(1, 0), "Linux killed 1 process here for lack of memory"),
        (Memory(2, 0), Memory(5, 0), "Linux killed 3 processes here for lack of memory"),
        (Memory(0, 1 * GB), Memory(0, 15 * GB), "it had grown to 15.0 GB of the 16.0 GB allowed"),
        (Memory(0, 1 * GB), Memory(0, 8 * GB), None),
        (Memory(0, 15 * GB), Memory(0, 15 * GB), None),  # an earlier child was that large, not this one
        (Memory(3, 0), Memory(3, 0), None),
    ],
)
def test_evidence(before: Memory, after: Memory, words: str | None) -> None:
    assert before.evidence(16 * GB, after) == words


def test_reading_this_machine() -> None:
    now = Memory.read()
    assert now.kills >= 0 and now.peak_child >= 0
    assert now.killed_since(now) is None


def test_the_last_line_that_says_so_is_the_evidence() -> None:
    log = "retrying after CUDA out of memory\nstep 3\n  MemoryError: no room  \nafterwards\n"
    assert said(log) == "MemoryError: no room"
    assert said("ValueError: memory_fraction = 2\nOSError: No space left on device: 'a.pt'") is None
