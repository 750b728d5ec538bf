"""`stepladder launch` and its verbs: a run on another machine, or here under the same watch.

Ctrl-C only stops looking: the job goes on, and the same command looks again.
"""

import re
import sys
import time
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from stepladder import api
from stepladder.cli.console import COLOURS, console
from stepladder.cli.options import Force, Named, Profile, RunName, Settings, Stages, Walked
from stepladder.core import config
from stepladder.core.config import ParameterError
from stepladder.core.paths import command, outputs_root, project_root
from stepladder.core.run import EXIT_CODES, Run
from stepladder.launch import hosts, launching, ledger, overview, survey, targets
from stepladder.launch import job as jobs
from stepladder.launch.attempt import KNOWN_HOSTS
from stepladder.launch.job import FOLDER, Job, State

On = Annotated[str, typer.Option("--on", metavar="TARGET", help="Where, as in params/targets.yaml; `local` is here.")]
Budget = Annotated[float | None, typer.Option(help="Most dollars that it may cost.")]
Hours = Annotated[float | None, typer.Option(help="Most hours of machines that it may take.")]
Restarts = Annotated[int | None, typer.Option(help="Losses in a row without a new checkpoint that are tried again.")]
Stuck = Annotated[
    float | None, typer.Option("--stuck", help="Minutes without progress after which a machine is given up.")
]
QUIET = 30.0  # seconds after which a line comes again though only numbers have changed
BoxLog = f"{FOLDER}/box.log"


def launch(
    name: Walked,
    on: On,
    profile: Profile = None,
    run_name: RunName = None,
    stages: Stages = "1-7",
    budget: Budget = None,
    hours: Hours = None,
    restarts: Restarts = None,
    stuck: Stuck = None,
    settings: Settings = None,
    force: Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not look on.")] = False,
) -> None:
    """Run stages of a study on another machine, as the same run; the same command again comes back to it.

    Records, figures and notebooks appear in the local run as they are made. When a machine is lost the run goes on on
    the next one. Ctrl-C stops looking, not the job.

    Example: `stepladder launch pde --profile quick --stages 4-7 --on box1 --budget 5`.
    """
    run, used = api.meant(name, profile, run_name)
    target = targets.target(run.root, on)
    given = config.merge(*(config.parse_assignment(text) for text in settings or []))
    usual = run.resolve(used, given)[0].launch
    job = Job(
        study=run.study,
        run=run.name,
        profile=used,
        target=on,
        stages=tuple(api.select(stages)),
        settings=dict(config.flat(given)),
        force=force,
        budget=_first(budget, usual.budget, target.budget),
        hours=_first(hours, usual.hours, target.hours),
        restarts=usual.restarts if restarts is None else restarts,
        stuck_minutes=usual.stuck_minutes if stuck is None else stuck,
        secrets=tuple(target.secrets),
    )
    for line in launching.plan(run, job):
        _say(escape(line))
    if dry_run:
        return
    state = launching.launch(run, job)
    if state.is_claim and not detach:
        _look_on(run)
    _say(_line(run))


def list_jobs(name: Annotated[str | None, typer.Argument(metavar="[STUDY/RUN]", help="One in full.")] = None) -> None:
    """List what was launched from here: where it runs, how far it is, what it has cost; or one job in full."""
    root = project_root()
    if name:
        _print_job(api.find(name))
        return
    rows = overview.rows(root)
    if not rows:
        _say(f"nothing was launched from here yet: `{command()} launch --help` shows how")
        return
    table = Table(*overview.COLUMNS)
    for row in rows:
        run_name, state, *cells = (escape(cell) for cell in row.cells())
        table.add_row(run_name, f"[{COLOURS.get(row.state, 'yellow')}]{state}[/]", *cells)
    console.print(table)


def logs(
    name: Named,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    errors: Annotated[bool, typer.Option("--errors", help="Only what went wrong, from all records.")] = False,
) -> None:
    """Print what a launched job has printed on its machine, or what went wrong in it."""
    run = api.find(name)
    if errors:
        from stepladder.launch import errors as faults

        found = jobs.of(run)
        for fault in faults.errors(run, found.created if found else ""):
            _say(escape(str(fault)))
        return
    path, place = run.folder / BoxLog, 0
    while True:
        state = launching.watched(run)
        if path.exists():
            with path.open("rb") as file:
                file.seek(place if place <= path.stat().st_size else 0)
                sys.stdout.write(file.read().decode(errors="replace"))
                sys.stdout.flush()
                place = file.tell()
        if not follow or not state.is_claim:
            return
        time.sleep(launching.POLL)


def fetch(name: Named) -> None:
    """Bring a launched run's newest checkpoint home now, and say what is here; records come by themselves."""
    run = api.find(name)
    _say(escape(launching.fetch(run)))


def stop(name: Named) -> None:
    """Ask a run to save and stop: the job that was launched, or the training that a notebook began here."""
    run = api.find(name)
    state = jobs.state_of(run)
    if state and state.is_claim:
        _say(f"{name}: asked to save and stop; its records come home, its machine is given back ...")
        launching.stop(run)
        _say(_line(run))
        return
    from stepladder.training import process  # slow to import: a name that is not there is said before

    running = process.stop(run)
    _say(f"{name}: training has saved and stopped" if running else f"{name}: no training is running here")


def machines(
    forget: Annotated[
        str | None, typer.Option(metavar="TARGET/HOST", help="Forget the host key and the faults of a machine.")
    ] = None,
) -> None:
    """List every machine that was used and may still cost something, and ask each target what runs there."""
    root = project_root()
    if forget:
        known = hosts.forget(forget, outputs_root(root).absolute() / KNOWN_HOSTS)
        if not known and forget not in {use.machine for use in ledger.uses(root)}:
            targets.target(root, forget.partition("/")[0])  # one that nobody can mean is refused
        ledger.note(root, "checked", forget, "", facts={})
        _say(f"{forget}: what was wrong with it is forgotten; its host key {'is too' if known else 'was not known'}")
        return
    told: dict[str, ledger.Answer] = {}
    silent: dict[str, str] = {}
    for name, target in targets.read_targets(root).items():
        found = survey.ask(root, name, target)
        told, silent = told | found.answers, silent | found.silent
    table = Table("machine", "jobs there", "in the ledger", "remark")
    living = {use.machine: use for use in ledger.living(root)}
    bad = {key: why for name in targets.read_targets(root) for key, why in ledger.known_bad(root, name).items()}
    for machine, answer in told.items():
        there = ", ".join(f"{job.name} ({job.state})" for job in answer) if isinstance(answer, list) else "?"
        wrong = answer if isinstance(answer, str) else silent.get(machine) or bad.get(machine, "")
        use = living.get(machine)
        table.add_row(machine, there or "none", use.words() if use else "-", escape(wrong))
    for use in living.values():
        if use.machine not in told:
            table.add_row(use.machine, "?", use.words(), "its target is not in params/targets.yaml any more")
    console.print(table)
    differences = ledger.compare(root, told)
    for machine, job in differences.unknown:
        _say(f"[red]{machine} runs {job.name} ({job.id}) since {job.since}, which was not launched from here[/]")
    if differences.unknown or differences.wrong:
        raise typer.Exit(1)


def _first(*values: float | None) -> float | None:
    """The first that was said."""
    return next((value for value in values if value is not None), None)


def _look_on(run: Run) -> None:
    """Tell how the job goes on until it ends or a person has seen enough."""
    try:
        with _Looking(run) as looking:
            state = launching.follow(run, looking.look)
    except KeyboardInterrupt:
        name = f"{run.study}/{run.name}"
        _say(f"\nthe job goes on. Look again: `{command()} jobs {name}`; end it: `{command()} stop {name}`")
        raise typer.Exit(0) from None
    _say(_line(run))
    raise typer.Exit(EXIT_CODES.get(state.state, 1))


class _Looking:
    """A line that stays in its place on a terminal; elsewhere a new one when something but numbers has changed."""

    def __init__(self, run: Run) -> None:
        self.run, self.told, self.since = run, "", 0.0
        self.status = console.status("")

    def __enter__(self) -> "_Looking":
        self.status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.status.stop()

    def look(self, state: State) -> None:
        """Tell how it stands now."""
        line = _line(self.run)
        self.status.update(line)
        words = re.sub(r"[\d.]+", "", line)
        if words != self.told or time.monotonic() - self.since > QUIET:
            self.told, self.since = words, time.monotonic()
            if not console.is_terminal:
                _say(line)


def _line(run: Run) -> str:
    """How the job of a run stands, in a line."""
    job, state = jobs.of(run), jobs.state_of(run)
    if job is None or state is None:
        raise ParameterError(f"run {run.study}/{run.name} was never launched")
    colour = COLOURS.get(state.state, "yellow")
    return f"[{colour}]{job.name}[/]: {escape(overview.sentence(run, job, state))}"


def _print_job(run: Run) -> None:
    """One job in full: how it stands, its attempts, its bill."""
    from stepladder.launch import costs

    _say(_line(run))
    job = jobs.of(run)
    if job:
        limits = {"budget $": job.budget, "hours": job.hours, "restarts": job.restarts, "stuck min": job.stuck_minutes}
        _say(escape("limits: " + ", ".join(f"{k} {v if v is not None else 'none'}" for k, v in limits.items())))
    bill = costs.readable(costs.table(run))
    for title, found in (("bill", bill), ("beside the forecast of 04", costs.beside_forecast(run))):
        if len(found):
            table = Table(*(str(column) for column in found.columns), title=title)
            for row in found.itertuples(index=False):
                table.add_row(*("-" if cell is None else escape(str(cell)) for cell in row))
            console.print(table)


def _say(text: str) -> None:
    console.print(text, soft_wrap=True)
