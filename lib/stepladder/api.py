"""What a script uses: walk the road, find runs and studies. `import stepladder` offers these functions by name.

    import stepladder

    outcome = stepladder.run("plateau", settings={"training.steps": 200})
    found = stepladder.find("plateau/quick")
    print(outcome.state, found.result("06_evaluation")["metrics"])

Decisions:
- The command `stepladder run` is a call of `run`: what one can do the other can, under the same names.
- Nothing here is imported by a stage, so an edit of it makes no result stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stepladder.core import config
from stepladder.core.config import ParameterError, nearest
from stepladder.core.errors import Damaged
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.run import Run
from stepladder.core.run import runs as all_runs
from stepladder.core.stages import STAGES
from stepladder.core.stages import stage as find_stage
from stepladder.core.study import Study, schema
from stepladder.core.study import find as find_study

if TYPE_CHECKING:
    from stepladder.notebooks.outcome import Outcome

USUAL = "quick"  # the profile of a run that has none yet


def run(
    study: str,
    profile: str | None = None,
    run: str | None = None,
    settings: Mapping[str, Any] | None = None,
    stages: str = "1-7",
    force: bool = False,
    forget: bool = False,
    on_event: Callable[..., None] | None = None,
) -> Outcome:
    """Walk the road: run the notebooks of a study, skipping what is done.

    Args:
        study: name of the study, or STUDY/RUN.
        profile: `params/<study>/<profile>.yaml`; the run's own if not given, `quick` where it has none.
        run: folder in `outputs/<study>/`; the profile's name if not given.
        settings: parameters that differ from the profile, as `{"training.steps": 200}`; kept for the run.
        stages: which notebooks: `4`, `1-4` or `5,6`.
        force: run stages even when nothing they read has changed.
        forget: forget what was set earlier in this run.
        on_event: called as `on_event(kind, **fields)` for progress.

    Returns:
        How it ended: `state` (`done` or not), `reason`, `exit_code`.

    Raises:
        ParameterError: something cannot be used, or a stage that is built on is missing; nothing has been started.
    """
    opened, used = meant(study, profile, run)
    given = config.merge(*(config.nested(key, value) for key, value in (settings or {}).items()))
    checked, overrides = opened.resolve(used, given, forget)
    wanted = select(stages)

    from stepladder.notebooks import runner

    return runner.run_pipeline(opened, wanted, checked, opened.root, force, on_event, overrides=overrides)


def meant(study: str, profile: str | None = None, run: str | None = None) -> tuple[Run, str]:
    """The run that STUDY or STUDY/RUN, `--profile` and `--run` mean together, begun or not, and its profile.

    Raises:
        ParameterError: no such study, or two different runs are named.
    """
    name, _, own = study.partition("/")
    if own and run not in (None, own):
        raise ParameterError(f"{study!r} and --run {run} name two different runs: leave one out")
    schema(name)  # a misspelt study is refused before its folder is looked for
    root = project_root()
    opened = Run(outputs_root(root) / name / (own or run or profile or USUAL), root)
    begun: dict[str, Any] = {}
    with suppress(Damaged):  # who reads its parameters says so, and `forget` does without them
        begun = opened.values()
    return opened, profile or begun.get("profile") or USUAL


def find(name: str) -> Run:
    """The run called STUDY/RUN, as `plateau/quick`; `ParameterError` with the nearest name."""
    known = {f"{found.study}/{found.name}": found for found in runs()}
    if name not in known:
        raise ParameterError(f"no run {name!r}{nearest(name, known)}")
    return known[name]


def runs(study: str | None = None) -> list[Run]:
    """All runs of the project, or those of one study, newest first."""
    return all_runs(project_root(), study)


def study(name: str) -> Study[Any]:
    """The study called `name`; `ParameterError` with the nearest name."""
    return find_study(name)


def select(text: str) -> list[str]:
    """Stage names of `4`, `1-4`, `5,6` or full names, in the order of the road."""
    chosen: set[str] = set()
    for part in text.split(","):
        first, dash, last = (
            part.strip().partition("-") if part.strip()[:1].isdigit() and "_" not in part else (part.strip(), "", "")
        )
        low = find_stage(first).name
        high = find_stage(last).name if dash else low
        chosen |= {stage.name for stage in STAGES if low <= stage.name <= high}
    return [stage.name for stage in STAGES if stage.name in chosen]
