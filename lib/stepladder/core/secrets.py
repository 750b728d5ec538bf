"""Secrets: `find` tells which kinds a text holds, `redact` takes them out; nothing else knows what they look like.

Decisions:
- What leaves a run (errors, events, pages, saved outputs, W&B, artifacts) passes here; parameters that hold one are
  refused. The kinds stand in `secret_kinds`; the value of an environment variable whose name tells that it is secret is
  one wherever it stands.
- A text is read as it is, then decoded (`%3A`, `\\u003a`, `&amp;`, `\\n`, colours of a terminal), then with its lines
  joined, as YAML and narrow windows break them; what is found is taken out of the text as it was.
- Where a key names the value (`{"password": ...}`) the key decides: `redacted` and `held` look at nested values.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, cast

from stepladder.core.secret_kinds import KINDS, TOKENS, Kind, blank

HIDDEN = "(hidden)"
LEAST = 12  # characters of a variable's value that is looked for; shorter ones are in many texts by chance
ROUNDS = 3  # times a text is decoded: an address within an address within an address
VARIABLE_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
KEY = re.compile(
    r"(?i)(?:.*[._-])?(?:pass(?:word|wd|phrase)|pwd|secret|credentials?|client[._-]?secret"
    r"|(?:api|access|account|private|secret|auth)[._-]?(?:key|token))"
)
ENCODED = re.compile(
    r"%[0-9A-Fa-f]{2}|\\u00[0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2}|\\[nrt/]|&(?:amp|quot|lt|gt|#\d{2,3}|#x[0-9A-Fa-f]{2});"
    r"|\x1b\[[0-9;]*[A-Za-z]"
)
NAMED = {"\\n": "\n", "\\r": "\n", "\\t": "\t", "\\/": "/", "&amp;": "&", "&quot;": '"', "&lt;": "<", "&gt;": ">"}
DATA = re.compile(r"(?<![A-Za-z0-9+/.=_-])[A-Za-z0-9+/]{4096,}+={0,2}")  # a picture's bytes
DATA_LEAST = 8192  # characters of a text that may hold such data
BEFORE = 16  # characters before a match that a kind may ask for
BREAK = re.compile(r"\\?\r?\n[ \t]*")
Span = tuple[int, int]


def _tree(words: Iterable[str]) -> str:
    """A pattern that matches any of the words, written as a tree of their beginnings: ten times as fast as a list."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(first) + ("" if "" in rest else _tree(rest)) for first, rest in sorted(groups.items())]
    return f"(?:{'|'.join(branches)})"


@cache
def hint() -> re.Pattern[str]:
    """What finds the hints of all kinds in a text of lower case."""
    return re.compile(_tree(hint for kind in KINDS for hint in kind.hints))


def find(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The kinds of secrets that a text holds, never the secrets themselves; empty where it holds none.

    Args:
        text: any text.
        environment: variables whose values are secret where their names say so; this process's where None.
    """
    return list(dict.fromkeys(kind for _, kind in _found(text, environment)))


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text with every secret replaced by `(hidden)`; see `find`."""
    while spans := sorted({span for span, _ in _found(text, environment)}):
        pieces: list[str] = []
        end = 0
        for start, stop in spans:
            if start >= end:
                pieces += [text[end:start], HIDDEN]
            end = max(end, stop)
        text = "".join([*pieces, text[end:]])
    return text


def redacted(value: Any) -> Any:
    """Nested values with every secret in them replaced: in texts, in bytes, in keys, and what stands under a key that
    names a secret; tuples become lists."""
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value).items()
        return {redacted(key): HIDDEN if _named(key, item) else redacted(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in cast(list[Any], value)]
    if isinstance(value, bytes):
        return redact(value.decode("latin-1")).encode("latin-1")
    return redact(value) if isinstance(value, str) else value


def held(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(`training.note`, kind of secret) for every text of nested values that holds one."""
    if isinstance(value, Mapping):
        for key, item in cast(Mapping[Any, Any], value).items():
            inner = f"{place}.{key}" if place else str(key)
            yield from ((place or "a key", kind) for kind in find(str(key))[:1])
            yield from [(inner, "secret beside its name")] if _named(key, item) else held(item, inner)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast(list[Any], value)):
            yield from held(item, f"{place}.{number}")
    elif isinstance(value, str):
        yield from ((place, kind) for kind in find(value)[:1])


def _named(key: Any, value: Any) -> bool:
    """Whether a key says that its value is secret, and the value is one."""
    return isinstance(value, str) and isinstance(key, str) and bool(KEY.fullmatch(key)) and not blank(value)


def _found(text: str, environment: Mapping[str, str] | None) -> list[tuple[Span, str]]:
    """Where in a text which secret stands, as it is and through every way of writing it."""
    values = _values(os.environ if environment is None else environment)
    view = _View(text)
    if len(text) > DATA_LEAST:
        view = view.replaced(DATA, _nothing) or view
    found = _plain(view, KINDS, values)
    for _ in range(ROUNDS):
        if (decoded := view.replaced(ENCODED, _decoded)) is None:
            break
        view = decoded
        found += _plain(view, KINDS, values)
    if (joined := view.replaced(BREAK, _nothing)) is not None:
        seen = [span for span, _ in found]
        found += [(span, kind) for span, kind in _plain(joined, TOKENS, {}) if not _meets(span, seen)]
    return found


def _plain(view: "_View", kinds: tuple[Kind, ...], values: Mapping[str, str]) -> list[tuple[Span, str]]:
    """What one view of a text holds, by its place in the original."""
    text, hinted = view.text, set(hint().findall(view.text.lower()))
    found: list[tuple[Span, str]] = []
    for kind in kinds if hinted else ():
        if hinted.isdisjoint(kind.hints):
            continue
        group = "s" if "s" in kind.regex.groupindex else 0
        for match in kind.regex.finditer(text):
            secret, start = match[group], match.start()
            if secret != HIDDEN and (kind.fits is None or kind.fits(secret, text[max(0, start - BEFORE) : start])):
                found.append((view.place(*match.span(group)), kind.name))
    for value, name in values.items():
        start = text.find(value)
        while start >= 0:
            found.append((view.place(start, start + len(value)), f"value of the environment variable {name}"))
            start = text.find(value, start + len(value))
    return found


def _values(environment: Mapping[str, str]) -> dict[str, str]:
    """Value -> name of the variables that are secret by their names; not paths, nor words too short to be told."""
    values = {environment[name]: name for name in environment if VARIABLE_NAME.search(name)}
    return {value: name for value, name in values.items() if len(value) >= LEAST and value[0] not in "/~."}


def _meets(span: Span, others: list[Span]) -> bool:
    """Whether a span overlaps one of the others, which are sorted."""
    return any(start < span[1] and span[0] < stop for start, stop in others)


def _nothing(match: re.Match[str]) -> str:
    return ""


def _decoded(match: re.Match[str]) -> str:
    """The character that an escape stands for; nothing for a colour."""
    code = match[0]
    if code in NAMED:
        return NAMED[code]
    if code.startswith("\x1b"):
        return ""
    if code.startswith("&#"):
        digits = code[2:-1]
        return chr(int(digits[1:], 16) if digits.startswith("x") else int(digits))
    return chr(int(code[-2:], 16))


class _View:
    """A text in another writing, every character of which knows its place in the original.

    `starts` are the places in this text where a piece begins, `spans` the place of each piece in the original; a piece
    as long as its original is copied character by character, any other stands for all of it.
    """

    def __init__(self, text: str, starts: list[int] | None = None, spans: list[Span] | None = None):
        self.text, self._starts, self._spans = text, starts or [0], spans or [(0, len(text))]

    def place(self, start: int, stop: int) -> Span:
        """Where characters `start` to `stop` stand in the original."""
        return self._at(start)[0], self._at(stop - 1)[1] if stop > start else self._at(start)[0]

    def replaced(self, pattern: re.Pattern[str], become: Callable[[re.Match[str]], str]) -> "_View | None":
        """This text with every match of `pattern` replaced; None where there is none."""
        pieces: list[str] = []
        starts: list[int] = []
        spans: list[Span] = []
        length = end = 0

        def keep(text: str, begin: int, stop: int) -> None:
            nonlocal length
            if text:
                pieces.append(text)
                starts.append(length)
                spans.append((begin, stop))
                length += len(text)

        for match in pattern.finditer(self.text):
            keep(self.text[end : match.start()], end, match.start())
            keep(become(match), *match.span())
            end = match.end()
        if not end:
            return None
        keep(self.text[end:], end, len(self.text))
        inner = _View("".join(pieces), starts, spans)
        return _Through(inner, self)

    def _at(self, index: int) -> Span:
        """Where one character stands in the original."""
        piece = bisect_right(self._starts, index) - 1
        start, stop = self._spans[piece]
        following = self._starts[piece + 1] if piece + 1 < len(self._starts) else len(self.text)
        if following - self._starts[piece] != stop - start:
            return start, stop
        begin = start + index - self._starts[piece]
        return begin, begin + 1


class _Through(_View):
    """A view of a view."""

    def __init__(self, inner: _View, outer: _View):
        super().__init__(inner.text, inner._starts, inner._spans)
        self._outer = outer

    def place(self, start: int, stop: int) -> Span:
        """Where characters `start` to `stop` stand in the first text of all."""
        return self._outer.place(*super().place(start, stop))
