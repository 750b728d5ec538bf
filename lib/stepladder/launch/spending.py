"""What the supervisor of a job knows when it decides about money: what was used, what is left to do, what machines do.

Decisions:
- Facts are gathered here, from the ledger, the run's records and the target; what to do with them `policy` says.
- Dollars and hours are the ledger's: a machine that was given up counts until it ends itself.
"""

from dataclasses import dataclass

from stepladder.core.files import Json
from stepladder.core.run import Run
from stepladder.cost.offers import read_prices
from stepladder.launch import history, ledger, policy, survey
from stepladder.launch.job import Job
from stepladder.launch.mirror import saved
from stepladder.launch.policy import Account, Hazard
from stepladder.launch.targets import Target


@dataclass(frozen=True)
class Spending:
    """The money of one job."""

    run: Run
    job: Job
    target: Target

    @property
    def price(self) -> float:
        """Dollars per hour of a machine, its disk included."""
        return self.target.dollars_per_hour + self.target.disk_dollars_per_hour

    def account(self) -> Account:
        """What the job may use, and has used, on all machines."""
        uses = [use for use in ledger.uses(self.run.root) if use.job == self.job.id]
        spent, hours = sum(use.cost() for use in uses), sum(use.counted() for use in uses)
        return Account(self.job.budget, self.job.hours, spent, hours)

    def choose(self, last: str, ask_it: bool = True) -> tuple[policy.Choice, bool]:
        """The machine to take next, and whether any of them did not answer.

        Args:
            last: the machine that was lost just now; empty where none was.
            ask_it: ask it too; a machine that has just died is waited for in vain, where there are others.

        Raises:
            ParameterError: something unknown runs on a machine, or what it says cannot be believed.
        """
        told = survey.ask(self.run.root, self.job.target, self.target, "" if ask_it else last)
        ledger.refuse_unknown(self.run.root, told.answers)
        bad = told.silent | ledger.known_bad(self.run.root, self.job.target)
        rates, times = history.rates(self.run), history.times(self.run, read_prices().save_seconds, restart=0.0)
        offered = [
            policy.Machine(name, self.price, self._hazard(name), rates.get(name), times.restart, bad=bad.get(name, ""))
            for name in told.answers
        ]
        choice = policy.choose(offered, policy.Work(self._left(), times.save), self.account(), last)
        return choice, bool(told.silent)

    def taken(self, machine: str) -> None:
        """From now on a machine costs."""
        hours = self.account().lasts(self.price)
        told = {"run": self.job.name, "price": self.price, "hours": hours}
        ledger.note(self.run.root, "taken", machine, self.job.id, **told)

    def terms(self, machine: str) -> Json:
        """On what terms a machine works (see `agent.Terms`); saving and starting again as measured where they were."""
        account, target, prices = self.account(), self.target, read_prices()
        times = history.times(self.run, prices.save_seconds, 60 * prices.restart_minutes)
        own = str(self.run.folder.parent.parent.absolute()) if target.kind == "local" else None
        return {
            "price": self.price,
            "budget": None if self.job.budget is None else account.dollars_left,
            "hours": None if self.job.hours is None else account.hours_left,
            "stuck_minutes": self.job.stuck_minutes,
            "between": self._hazard(machine).between,
            "save": times.save,
            "restart": times.restart,
            "on_end": target.on_end,
            "fetch_minutes": target.fetch_minutes,
            "outputs": own,
        }

    def _hazard(self, machine: str) -> Hazard:
        """How often a machine is lost, by its target's word and by what was seen."""
        said = self.target.interruption_hours
        return ledger.hazards(self.run.root, {self.job.target: said}).get(machine, Hazard(said))

    def _left(self) -> int | None:
        """Optimizer steps left, which speeds are counted in too; None before the training has said how many it has."""
        total = max((event.get("total") or 0 for event in self.run.events("training_stage")), default=0)
        return max(1, total - saved(self.run.folder)) if total else None
