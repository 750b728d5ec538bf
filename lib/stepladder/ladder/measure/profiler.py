"""Where the time of a sample goes, for any dataset and without touching its code.

Decisions:
- A second thread looks at the call stack of the one that draws samples, every 2 ms or so, and gives the whole time
  since its last look to the stack it finds. Nothing is slowed down call by call, so nothing needs to be corrected for,
  and a C function that keeps the interpreter to itself for seconds is weighed rightly: the first look after it finds
  its caller.
- A function is named as a person knows it: code of installed packages by its public name, `scipy.ndimage.median_filter`
  and not `_filters._rank_filter`; own code by its qualified name. C functions are part of the Python function that
  calls them. Beside the name stands the line of the user's own code that is to blame.
- The first samples of a process also pay for what is paid once, such as compiling just in time and opening files. They
  are drawn before anybody looks: else a compiler is to blame that never runs again.
- The hot function is found by walking down from the sample while one callee takes at least half of the caller's time,
  and ends at the first function of an installed package.
"""

import contextlib
import itertools
import sys
import sysconfig
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from torch.utils.data import Dataset

from stepladder.ladder.measure.job import Key

SECONDS = 1.0  # of looking, unless one sample takes longer
FIRST = 4  # samples of a process that may still compile: each kind of sample can do so once
TICK = 0.002  # seconds between looks
DOMINATES = 0.5  # share of its caller's time from which a callee is followed
PASSES_ON = 0.9  # share from which a function only hands on to its callee
SHOWN, LEAST_SHOWN = 5, 0.03  # rows of the stage table, and the smallest share that gets one
INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


@dataclass(frozen=True)
class Seen:
    """What a profile shows. Shares are of the time of a sample."""

    stages: dict[str, float]  # callee of the sample function -> share; the rest is `other`
    hot: str  # `scipy.ndimage.median_filter in reader.py:41`
    hot_share: float
    samples: list[Any]  # a few of the samples drawn


@dataclass
class Node:
    """A place in the call tree: seconds in it and below, by callee."""

    code: Any = None  # a `CodeType`; None of the root
    line: int = 0  # where its caller calls it
    seconds: float = 0.0
    lines: dict[int, float] = field(default_factory=lambda: defaultdict(float))  # its own lines, callees included
    callees: dict[tuple[CodeType, int], "Node"] = field(default_factory=dict)

    def add(self, stack: Sequence[tuple[CodeType, int]], seconds: float) -> None:
        """Give `seconds` to the stack of (code, current line) below this node, outermost first."""
        node, line = self, 0
        node.seconds += seconds
        for code, current in stack:
            node = node.callees.setdefault((code, line), Node(code, line))
            node.seconds += seconds
            node.lines[current] += seconds
            line = current

    def heaviest(self) -> "Node | None":
        """The callee that takes most of the time."""
        return max(self.callees.values(), key=lambda node: node.seconds, default=None)


def profile(dataset: Dataset, keys: Sequence[Key], seconds: float = SECONDS) -> Seen:
    """Draw samples from `keys`, over and over if they are quick, for about `seconds`; see where the time goes.

    Up to `FIRST` samples, and as much time, come before that and are not looked at.
    """
    samples: list[Any] = []
    endless = itertools.cycle(keys)
    for key in _for_about(seconds, itertools.islice(endless, FIRST)):
        _draw(dataset, key)
    with _Watcher() as watcher:
        for key in _for_about(seconds, endless):
            samples = [*samples, _draw(dataset, key)][-4:]
    tree = watcher.tree
    if not tree.callees:  # too quick to be seen
        return Seen({"other": 1.0}, "", 0.0, samples)
    hot, line = _hot(tree)
    return Seen(_stages(tree), _said(hot, line), hot.seconds / tree.seconds, samples)


def _for_about(seconds: float, keys: Iterator[Key]) -> Iterator[Key]:
    """The first of `keys`, and more until `seconds` are over."""
    begin = time.perf_counter()
    for key in keys:
        yield key
        if time.perf_counter() - begin >= seconds:
            return


def _draw(dataset: Dataset, key: Key) -> Any:
    """Stacks are cut below this function."""
    return dataset[key]


class _Watcher:
    """Looks at the stack of the thread that entered it, until it leaves."""

    def __init__(self) -> None:
        self.tree, self._thread, self._over = Node(), threading.get_ident(), threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._interval = sys.getswitchinterval()

    def __enter__(self) -> "_Watcher":
        sys.setswitchinterval(TICK / 4)
        self._watching.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watching.join()
        sys.setswitchinterval(self._interval)

    def _watch(self) -> None:
        last = time.perf_counter()
        while not self._over.wait(TICK):
            stack = _stack(sys._current_frames().get(self._thread))
            now = time.perf_counter()
            if stack:
                self.tree.add(stack, now - last)
            last = now


def _stack(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    """(code, current line) of the frames below `_draw`, outermost first; empty when no sample is being drawn."""
    stack = []
    while frame is not None:
        if frame.f_code is _draw.__code__:
            return stack[::-1]
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return []


def _hot(tree: Node) -> tuple[Node, tuple[CodeType, int]]:
    """The function that dominates, and the (code, line) of the user's code that is to blame."""
    node = tree.heaviest()
    assert node is not None, "nothing was seen"
    blamed = node.code, _hottest_line(node)
    while not (_installed(node.code) and public_name(node.code)):
        callee = node.heaviest()
        if callee is None or callee.seconds < DOMINATES * node.seconds:
            break
        if not _installed(node.code):
            blamed = node.code, callee.line
        node = callee
    if not _installed(node.code):
        blamed = node.code, _hottest_line(node)
    return node, blamed


def _stages(tree: Node) -> dict[str, float]:
    """Shares of the callees of the first function that does more than hand on; own lines where they weigh."""
    node = tree.heaviest()
    assert node is not None, "nothing was seen"
    while (callee := node.heaviest()) and callee.seconds > PASSES_ON * node.seconds and not _installed(callee.code):
        node = callee
    shares: dict[str, float] = defaultdict(float)
    own = dict(node.lines)
    for callee in node.callees.values():
        shares[_known_as(callee)] += callee.seconds / tree.seconds
        own[callee.line] = own.get(callee.line, 0.0) - callee.seconds
    for line, seconds in own.items():
        shares[f"{Path(node.code.co_filename).name}:{line}"] += seconds / tree.seconds
    rows = sorted(((share, name) for name, share in shares.items() if share >= LEAST_SHOWN), reverse=True)[:SHOWN]
    return {**{name: share for share, name in rows}, "other": max(0.0, 1 - sum(share for share, _ in rows))}


def _known_as(node: Node) -> str:
    """Public name of an installed function, looked for below it where it is only a wrapper; else its qualified name."""
    while node.code and _installed(node.code):
        if name := public_name(node.code):
            return name
        callee = node.heaviest()
        if callee is None or callee.seconds < DOMINATES * node.seconds:
            break
        node = callee
    return _plain(node.code)


def _said(hot: Node, blamed: tuple[CodeType, int]) -> str:
    """`name in file:line`."""
    code, line = blamed
    return f"{_known_as(hot)} in {Path(code.co_filename).name}:{line}"


def _hottest_line(node: Node) -> int:
    return max(node.lines, key=lambda line: node.lines[line], default=node.code.co_firstlineno)


def _plain(code: CodeType) -> str:
    """The qualified name of a function, without the functions it is nested in."""
    return code.co_qualname.replace(".<locals>", "")


def _installed(code: CodeType) -> bool:
    """Whether code belongs to the standard library or an installed package."""
    return code.co_filename.startswith((*INSTALLED, "<frozen"))


def public_name(code: CodeType) -> str | None:
    """The shortest dotted name under which an installed package offers the function of `code`; None for a private one.

    A wrapper made inside another function (`functools.wraps` does not rename code) has no public name of its own.
    """
    if "<" in code.co_qualname or any(part.startswith("_") and not part.endswith("__") for part in _parts(code)):
        return None
    module = next((m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == code.co_filename), None)
    if module is None:
        return None
    packages = module.__name__.split(".")
    for length in range(1, len(packages) + 1):
        name = ".".join(packages[:length])
        if "._" not in f".{name}" and callable(_find(sys.modules.get(name), _parts(code))):
            return f"{name}.{code.co_qualname}"
    return None


def _parts(code: CodeType) -> list[str]:
    return code.co_qualname.split(".")


def _find(thing: Any, names: Sequence[str]) -> Callable | None:
    with contextlib.suppress(AttributeError):
        for name in names:
            thing = getattr(thing, name)
        return thing
    return None
