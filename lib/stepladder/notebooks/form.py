"""The parameters a stage decides, as a form in a person's JupyterLab, made from the study's own schema.

Decisions:
- The form is no second place for values. `Set for this run` does what the parameters cell does when the stage is
  opened: the schema checks the value and the run keeps it among its overrides. The cells are run again to use it.
- It offers what no earlier stage reads; what an earlier one reads is changed in that one's notebook.
- What the parameters cell itself sets is shown and locked: the cell would win.
"""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Literal, get_args, get_origin

import ipywidgets
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stepladder.core import config
from stepladder.core.config import ParameterError
from stepladder.core.schema import Parameters
from stepladder.core.stages import before, visible

MOST = 2**31 - 1  # of a number field without bounds
ERROR, DONE = "#b91c1c", "#166534"
WIDE = {"layout": {"width": "420px"}, "style": {"description_width": "190px"}}
Save = Callable[[dict[str, Any]], None]


class Form:
    """Fields for what a stage decides, and the button that sets them.

    Attributes:
        box: the widget to display.
        fields: the field of every parameter, by name, as `training.steps`.
    """

    def __init__(
        self, stage: str, params: Parameters, changed: Mapping[str, Any], given: Mapping[str, Any], save: Save
    ):
        """Build the form.

        Args:
            stage: name of the stage.
            params: the run's parameters.
            changed: where they differ from the profile's.
            given: what the parameters cell sets.
            save: checks values and keeps them for the run; raises `ParameterError`.
        """
        self._save, self._kept = save, own(stage, params)
        marked = {name for name, _ in config.flat(changed)}
        locked = {name for name, _ in config.flat(given)}
        self.fields = {
            name: _field(name, described(type(params), name), value, name in marked, name in locked)
            for name, value in self._kept.items()
        }
        self._text, self._told = "", ipywidgets.HTML()
        self._button = ipywidgets.Button(description="Set for this run", icon="check", disabled=True)
        self._button.on_click(lambda button: self.set())
        for field in self.fields.values():
            field.observe(lambda change: self._look(), "value")
        self.box = ipywidgets.VBox([_grouped(self.fields), ipywidgets.HBox([self._button, self._told])])

    def wanted(self) -> dict[str, Any]:
        """What the fields say that differs from what is kept, flat."""
        values = {name: _value(field, self._kept[name]) for name, field in self.fields.items()}
        return {name: value for name, value in values.items() if value != self._kept[name]}

    def _look(self) -> None:
        """Say what the button would set."""
        try:
            wanted = self.wanted()
        except yaml.YAMLError as error:
            self._button.disabled = True
            return self._say(f"what is typed cannot be read: {error}", ERROR)
        self._button.disabled = not wanted
        self._say(", ".join(f"{name} = {value!r}" for name, value in wanted.items()))

    def told(self) -> str:
        """What stands beside the button."""
        return self._text

    def set(self) -> None:
        """Keep what the fields say, or say why it cannot be."""
        try:
            wanted = self.wanted()
            self._save(config.merge(*(config.nested(name, value) for name, value in wanted.items())))
        except (ParameterError, OSError, yaml.YAMLError) as error:
            return self._say(str(error), ERROR)
        self._kept |= wanted
        self._button.disabled = True
        self._say("set for this run: run this cell again, and those below", DONE)

    def _say(self, text: str, colour: str = "inherit") -> None:
        self._text = text
        self._told.value = f'<span style="color: {colour}">{escape(text)}</span>'


def own(stage: str, params: Parameters) -> dict[str, Any]:
    """The parameters that `stage` is the first to read, flat."""
    values = params.model_dump(mode="json")
    earlier = [part.name for part in before(stage)][-1:]
    known = {name for part in earlier for name in visible(part, values)}
    flat = dict(config.flat(values))
    return {name: flat[name] for name in visible(stage, values) if name not in known}


def described(schema: type[BaseModel], name: str) -> FieldInfo | None:
    """The field of the schema called so, as `training.steps`; None inside free mappings."""
    head, _, rest = name.partition(".")
    field = schema.model_fields.get(head)
    if field is None or not rest:
        return field
    inner = type(field.default) if isinstance(field.default, BaseModel) else field.annotation
    found = [kind for kind in (inner, *get_args(inner)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return described(found[0], rest) if found else None


def _grouped(fields: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    """The fields of each section on a page of their own."""
    pages: dict[str, list[ipywidgets.Widget]] = {}
    for name, field in fields.items():
        pages.setdefault(name.partition(".")[0], []).append(field)
    boxes = [ipywidgets.Box(page, layout={"flex_flow": "row wrap"}) for page in pages.values()]
    return ipywidgets.Accordion(boxes, titles=tuple(pages), selected_index=0 if len(fields) < 12 else None)


def _field(name: str, field: FieldInfo | None, value: Any, marked: bool, locked: bool) -> Any:
    """The widget that fits a parameter."""
    made = _kind(field, value)
    made.description = ("● " if marked else "") + name.partition(".")[2] or name
    meaning = field.description if field and field.description else "a value, as YAML"
    made.tooltip = f"{name}: {meaning}{' (differs from the profile)' if marked else ''}"
    made.disabled = locked
    if locked:
        made.tooltip += ". The parameters cell sets it: change it there"
    return made


def _kind(field: FieldInfo | None, value: Any) -> Any:
    kind = field.annotation if field else None
    if kind is bool:
        return ipywidgets.Checkbox(value, **WIDE)
    if get_origin(kind) is Literal:
        return ipywidgets.Dropdown(options=get_args(kind), value=value, **WIDE)
    low, high = _bounds(field)
    if kind in (int, float) and low <= value <= high:
        made = ipywidgets.BoundedIntText if kind is int else ipywidgets.BoundedFloatText
        return made(value, min=low, max=high, **WIDE)
    return ipywidgets.Text(_written(value), continuous_update=False, **WIDE)


def _bounds(field: FieldInfo | None) -> tuple[float, float]:
    """Least and greatest value by the schema; what lies on an open end is refused when it is set."""
    bounds: list[Any] = field.metadata if field else []
    lowest = [getattr(bound, name) for bound in bounds for name in ("ge", "gt") if hasattr(bound, name)]
    highest = [getattr(bound, name) for bound in bounds for name in ("le", "lt") if hasattr(bound, name)]
    return max(lowest, default=-MOST), min(highest, default=MOST)


def _written(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _value(widget: Any, kept: Any) -> Any:
    """What a field says; text is YAML, as on the command line."""
    if not isinstance(widget, ipywidgets.Text):
        return widget.value
    return kept if widget.value == _written(kept) else yaml.safe_load(widget.value)
