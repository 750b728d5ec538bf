"""Values of parameters: read as YAML, merged, checked against their schema, explained.

Decisions:
- A profile's top-level keys are exactly the names in each notebook's `parameters` cell, so the same file feeds
  `stepladder run`, stock `papermill -f` and a person editing the cell.
- An unknown key, a wrong type or a contradiction is refused with the key, the value and the nearest known name; nothing
  is coerced, with one exception: `3e-4`, which YAML 1.1 reads as text.
- Secrets are never parameters (`secrets` knows them). Only names of environment variables may appear.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError

from stepladder.core import yamls
from stepladder.core.errors import ParameterError as ParameterError
from stepladder.core.files import Json
from stepladder.core.secrets import held

IS_SECRET = (
    "holds what looks like a secret ({}): parameters are saved, shown and published, so take it out and keep it in an "
    "environment variable (user and password of an address: in ~/.netrc)"
)
SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
Schema = TypeVar("Schema", bound=BaseModel)


def check(schema: type[Schema], values: dict[str, Any]) -> Schema:
    """`values` as a frozen instance of `schema`; `ParameterError` for anything that cannot be used, and for secrets."""
    if secrets := dict(held(values)):
        told = (f"parameter {name!r} {IS_SECRET.format(kind)}" for name, kind in secrets.items())
        raise ParameterError("\n".join(told))
    try:
        return schema.model_validate(_numbers(values))
    except ValidationError as error:
        raise ParameterError("\n".join(_explain(schema, item) for item in error.errors())) from None


def parse_assignment(text: str) -> dict[str, Any]:
    """`training.steps=10` as `{"training": {"steps": 10}}`; the value is read as YAML."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ParameterError(f"{text!r} is not an assignment: write section.key=value, as in training.steps=10")
    return nested(key.strip(), yaml.safe_load(value))


def nested(key: str, value: Any) -> dict[str, Any]:
    """`{"training": {"steps": value}}` of the key `training.steps`."""
    section, dot, rest = key.partition(".")
    return {section: nested(rest, value) if dot else value}


def merge(*layers: dict[str, Any]) -> dict[str, Any]:
    """Deep merge of dictionaries, later ones win; lists are replaced whole."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merge(result[key], cast(Json, value)) if both else value
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; `ParameterError` with the place when it is not valid YAML or not a mapping."""
    return yamls.read(path)


def dump(values: dict[str, Any]) -> str:
    """Parameters as YAML, in their order."""
    return yamls.dump(values)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters as (`training.steps`, 100)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(cast(Json, value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changes(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `values` that differs from `usual`, nested alike."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        other = usual.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if inner := changes(cast(Json, value), cast(Json, other)):
                found[key] = inner
        elif value != other or key not in usual:
            found[key] = value
    return found


def table(schema: type[BaseModel], section: str | None = None) -> list[dict[str, str]]:
    """One row per parameter: name, type, default, meaning. `section` limits to one section."""
    rows: list[dict[str, str]] = []
    for name, field in schema.model_fields.items():
        nested = _section_type(field.annotation)
        if section is not None and name != section:
            continue
        if nested is not None:
            default = field.default if isinstance(field.default, BaseModel) else None
            for row in table(type(default) if default is not None else nested):
                rows.append({**row, "name": f"{name}.{row['name']}"})
        else:
            default = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
            kind = re.sub(r"typing\.|<class '|'>", "", str(field.annotation))
            rows.append({"name": name, "type": kind, "default": default, "meaning": field.description or ""})
    if not rows:
        raise ParameterError(f"no section {section!r}{nearest(section or '', schema.model_fields)}")
    return rows


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'? (known: ...)` for an error message, or the list alone when nothing is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"


def _numbers(value: Any) -> Any:
    """Text such as `3e-4` as the number a person meant; everything else unchanged."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in cast(Json, value).items()}
    if isinstance(value, list):
        return [_numbers(item) for item in cast(list[Any], value)]
    if isinstance(value, str) and SCIENTIFIC.fullmatch(value):
        return float(value)
    return value


def _section_type(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model behind an annotation, through `X | None` and `list[X]`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _explain(schema: type[BaseModel], item: Any) -> str:
    """One pydantic error as a sentence that names key, value and the way out."""
    place = ".".join(str(part) for part in item["loc"]) or schema.__name__
    shown = repr(item["input"])
    if item["type"] == "extra_forbidden":
        model: type[BaseModel] = schema
        for part in item["loc"][:-1]:
            field = model.model_fields.get(str(part))  # None at a place in a list
            model = (_section_type(field.annotation) if field else None) or model
        return f"unknown parameter {place!r} = {shown}{nearest(str(item['loc'][-1]), model.model_fields)}"
    return f"parameter {place!r} = {shown}: {item['msg']}"
