"""YAML files of a person or of ours: read by libyaml where it is there, and told by their name where they are damaged.

A file may be any text: what a few lines of aliases would blow up to millions of values is refused before it is built.
"""

from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

import yaml

from stepladder.core.errors import Damaged
from stepladder.core.files import Json

Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MOST_NODES = 1_000_000  # of a file, with its aliases spelt out
SHORT = 8192  # characters: what is no longer cannot be nested so deeply that libyaml's recursion kills the process
DEEPEST = 100


def read(path: Path) -> Json:
    """A YAML file's mapping.

    Raises:
        Damaged: it cannot be read, is not valid YAML (with the place), or no mapping.
    """
    try:
        values = parse(path.read_bytes().decode())
    except FileNotFoundError:
        raise Damaged(path, "is missing", "write it, or name another") from None
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError) as error:  # a text that is no UTF-8, a date that there is not
        raise Damaged(path, f"is not valid YAML: {_sentence(error)}") from None
    except RecursionError:
        raise Damaged(path, "is nested too deeply") from None
    if not isinstance(values, dict):
        raise Damaged(path, f"must be a mapping of section names, found {type(values).__name__}")
    return cast(Json, values)


def parse(text: str) -> Any:
    """The value that a YAML text holds, built anew at every call, though read only once."""
    return deepcopy(_parsed(text))


def dump(values: Json) -> str:
    """Values as YAML, in their order."""
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _sentence(error: Exception) -> str:
    """What is wrong and where, in one line and without the text itself, which may hold what nobody should read."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{said}, line {mark.line + 1}" if mark else said


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    if len(text) > SHORT and _depth(text) > DEEPEST:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} deep")
    loader = cast(Any, Loader(text))  # half of it has no types
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if "*" in text and _size(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_NODES:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _depth(text: str) -> int:
    """How deeply a text is nested, as far as it is no deeper than wanted; read event by event."""
    depth = deepest = 0
    for event in cast(Iterator[yaml.Event], cast(Any, yaml).parse(text, Loader=Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            deepest = max(deepest, depth := depth + 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if deepest > DEEPEST:
            break
    return deepest


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Number of nodes with aliases spelt out; infinite where one holds itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")
        known[id(node)] = 1 + sum(_size(part, known) for part in _inside(node))
    return known[id(node)]


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from chain.from_iterable(cast(list[tuple[yaml.Node, yaml.Node]], node.value))
    elif isinstance(node, yaml.SequenceNode):
        yield from cast(list[yaml.Node], node.value)
