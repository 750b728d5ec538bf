"""Opening a stage from its notebook: the values of its parameters cell, checked, and kept for the run.

Decisions:
- A name that the cell sets in vain is refused. What it leaves empty takes the value set in this run before.
- A value that makes an earlier stage stale is refused, with the notebook that has to run first.
- `launch` is no parameter of a stage, and a job under way keeps its own. While one has the run, another `launch` is not
  kept, and the way out is said; Run All attaches all the same.
- The form in a person's JupyterLab keeps its values by the same road.
"""

import ast
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepladder.core import claim, config, study
from stepladder.core.paths import command, outputs_root, project_root
from stepladder.core.run import Run
from stepladder.core.schema import Parameters
from stepladder.core.stages import before

if TYPE_CHECKING:
    from stepladder.notebooks.form import Form


def resolve(namespace: Mapping[str, Any]) -> tuple[Run, Parameters, dict[str, Any], dict[str, Any]]:
    """The run that a notebook's names ask for, its parameters, how they differ from the profile's, what the cell sets.

    Raises:
        ParameterError: a name that is no parameter, or a value that cannot be used.
    """
    refuse_unknown(namespace)
    values = {name: namespace.get(name) for name in Parameters.model_fields}
    given = {name: value for name, value in values.items() if value not in (None, {}, [], "")}
    name, profile = given.pop("study", ""), given.pop("profile", "quick")
    study.find(name)  # a misspelt study is refused before its folder is looked for
    root = project_root()
    run = Run(outputs_root(root) / name / given.pop("run", profile), root)
    return run, *run.resolve(profile, given), given


def refuse_unknown(namespace: Mapping[str, Any]) -> None:
    """Refuse a name that the parameters cell, or the cell that papermill injects after it, sets in vain.

    Raises:
        ParameterError: naming the nearest parameter.
    """
    cells = [_assigned(source) for source in namespace.get("In", [])]
    own = [names for names, injected in cells if "study" in names and not injected]
    injected = [names for names, injected in cells if injected]
    for names in (*own[-1:], *injected[-1:]):
        for unknown in names - set(Parameters.model_fields):
            known = Parameters.model_fields
            raise config.ParameterError(f"no parameter {unknown!r}{config.nearest(unknown, known)}")


def _assigned(source: str) -> tuple[set[str], bool]:
    """Names that a cell of plain assignments sets, and whether papermill wrote it; no names for any other cell."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set(), False
    assigned = [node.targets[0] for node in body if isinstance(node, ast.Assign)]
    found = [target.id for target in assigned if isinstance(target, ast.Name)]
    names = set(found) if len(found) == len(body) else set()
    return names, bool(names) and source.startswith("# Parameters")


def begin(name: str, run: Run, checked: Parameters, overrides: Mapping[str, Any]) -> None:
    """Save the parameters with which a stage begins, unless they would make a stage before it stale.

    Under an engine the runner has saved them and looked at the stages before.
    """
    values, saved = checked.model_dump(mode="json"), run.values()
    if values == saved:
        return
    if {**values, "launch": saved.get("launch")} == saved and claim.of(run.folder):
        stop = f"{command()} stop {shlex.quote(f'{run.study}/{run.name}')}"
        print(
            f"a job of this run is under way, with the `launch` it began with: another needs `{stop}` first (it saves)"
        )
        return
    states = run.states(values)
    for earlier in (states[part.name] for part in before(name)):
        if earlier.state != "done":
            raise config.ParameterError(f"{name} cannot begin with these parameters: {run.refusal(earlier)}")
    with run.locked():
        run.begin(checked, overrides)


def form_of(name: str, run: Run, checked: Parameters, overrides: Mapping[str, Any], given: Mapping[str, Any]) -> "Form":
    """The form of what a stage decides; what is set there is kept as what the parameters cell sets, `given`."""
    from stepladder.notebooks.form import Form

    def keep(values: dict[str, Any]) -> None:
        begin(name, run, *run.resolve(checked.profile, config.merge(dict(given), values)))

    return Form(name, checked, overrides, given, keep)
