"""Deciding with money: each decision by itself, then together on a fake market."""

import math
import subprocess
import sys

import pytest

from stepladder.cost.offers import best_interval, preemption_loss
from stepladder.launch import policy
from stepladder.launch.job import Job
from stepladder.launch.policy import Account, Hazard, Machine, Work
from tests.conftest import ROOT
from tests.launch import market


def test_a_hazard_starts_at_what_is_said_and_follows_what_is_seen():
    said = Hazard(6.0)
    assert said.between == 6.0
    assert said.seen(18.0).between == 24.0  # it held
    assert said.seen(2.0, 3).between == 2.0  # it did not
    assert said.seen(1e4, 1000).between == pytest.approx(10.0, rel=0.01)  # much seen outweighs what was said


def test_what_is_never_lost_has_no_interval_until_it_is_lost():
    assert policy.interval(30, 600, Hazard(None).seen(100.0)) is None
    refuted = Hazard(None).seen(1.0, 1)
    assert refuted.between is not None
    assert policy.interval(30, 600, refuted) is not None


def test_the_interval_is_the_one_that_loses_least():
    step = policy.interval(20, 300, Hazard(4.0))
    assert step == best_interval(20, 300, 4 * 3600)
    loss = {share: preemption_loss(20, 300, 4 * 3600, share * step) for share in (0.8, 1.0, 1.25)}
    assert min(loss, key=loss.__getitem__) == 1.0
    assert policy.interval(0.0, 0.0, Hazard(4.0)) > 0


def test_a_job_stops_before_its_budget_is_passed():
    account = Account(budget=10.0, spent=9.0)
    assert policy.may_go_on(account, price=2.0, ending=600, heartbeat=60) == ""
    why = policy.may_go_on(account, price=2.0, ending=1800, heartbeat=60)
    assert why.startswith("budget") and "$9.00 of $10.00" in why
    assert policy.may_go_on(Account(spent=1e6), 2.0, 1800, 60) == ""


def test_a_job_stops_before_its_hours_are_passed_also_where_nothing_is_paid():
    account = Account(hours=12.0, used=11.9)
    assert policy.may_go_on(account, 0.0, ending=60, heartbeat=60) == ""
    assert policy.may_go_on(account, 0.0, ending=600, heartbeat=60).startswith("hours")


def test_asked_every_heartbeat_it_never_passes_the_budget():
    heartbeat, ending, price, spent = 60.0, 45.0, 3.0, 0.0
    while not policy.may_go_on(Account(budget=1.0, spent=spent), price, ending, heartbeat):
        spent += price * heartbeat / 3600
    assert spent + price * ending / 3600 <= 1.0
    assert spent + price * (ending + 2 * heartbeat) / 3600 > 1.0  # and does not stop early


def test_a_machine_ends_itself_by_whichever_limit_comes_first():
    assert Account(budget=10.0, spent=4.0, hours=12.0).lasts(2.0) == 3.0
    assert Account(budget=10.0, hours=12.0, used=11.0).lasts(2.0) == 1.0
    assert Account(budget=10.0).lasts(0.0) is None and Account().lasts(2.0) is None


FREE = [Machine("box1/a"), Machine("box1/b"), Machine("box1/c")]


def test_own_machines_are_taken_in_the_order_of_the_hosts():
    assert policy.choose(FREE, Work()).machine.name == "box1/a"
    assert policy.choose(FREE, Work(1e6)).machine.name == "box1/a"


def test_the_one_lost_just_now_comes_last_and_a_bad_one_never():
    assert policy.choose(FREE, Work(), lost="box1/a").machine.name == "box1/b"
    assert policy.choose(FREE[:1], Work(), lost="box1/a").machine.name == "box1/a"
    bad = [Machine("box1/a", bad="found bad 2 h ago: no disk"), Machine("box1/b")]
    machine, why = policy.choose(bad, Work())
    assert machine.name == "box1/b" and "box1/a is left out (found bad 2 h ago: no disk)" in why
    machine, why = policy.choose(bad[:1], Work())
    assert machine is None and "no disk" in why


def test_among_own_machines_of_known_speed_the_fast_one_wins():
    fast = [Machine("box1/a", rate=10.0), Machine("box1/b", rate=30.0)]
    assert policy.choose(fast, Work(1e6)).machine.name == "box1/b"


def test_the_fewest_dollars_to_finish_win_not_the_lowest_price():
    slow = Machine("m/3090", price=0.2, rate=10.0)
    fast = Machine("m/h100", price=1.5, rate=100.0)
    machine, why = policy.choose([slow, fast], Work(3.6e6))
    assert machine is fast and "10 h and $15.00" in why


def test_what_is_lost_often_is_not_cheap():
    spot = Machine("m/spot", price=1.0, rate=10.0, hazard=Hazard(0.5), setup=900)
    steady = Machine("m/steady", price=1.6, rate=10.0, setup=900)
    assert policy.choose([spot, steady], Work(1e6)).machine is steady
    assert policy.choose([Machine("m/spot", 1.0, Hazard(24.0), 10.0, 900), steady], Work(1e6)).machine.name == "m/spot"


def test_a_cheap_one_that_cannot_finish_in_the_hours_gives_way():
    slow, fast = Machine("m/slow", price=0.1, rate=10.0), Machine("m/fast", price=2.0, rate=100.0)
    assert policy.choose([slow, fast], Work(3.6e6)).machine is slow
    assert policy.choose([slow, fast], Work(3.6e6), Account(hours=20.0)).machine is fast


def test_where_the_budget_pays_for_no_end_the_one_that_gets_furthest_is_taken():
    slow, fast = Machine("m/slow", price=0.1, rate=1.0), Machine("m/fast", price=1.0, rate=20.0)
    machine, why = policy.choose([slow, fast], Work(3.6e6), Account(budget=5.0))
    assert machine is fast and "gets furthest" in why


def test_where_it_pays_for_no_start_nothing_is_taken():
    machine, why = policy.choose([Machine("m/a", price=2.0, setup=1800)], Work(1e6), Account(budget=5.0, spent=4.5))
    assert machine is None and "$0.50" in why
    assert policy.choose([], Work()).machine is None


def test_setting_up_and_traffic_count_when_little_is_left():
    cold = Machine("m/cold", price=1.0, rate=100.0, setup=1800, fee=2.0)
    warm = Machine("m/warm", price=1.0, rate=50.0, setup=30)
    assert policy.choose([cold, warm], Work(1e5)).machine is warm
    assert policy.choose([cold, warm], Work(1e8)).machine is cold


def test_waiting_doubles_and_has_an_end():
    assert [policy.backoff(n) for n in range(4)] == [0.0, 2.0, 4.0, 8.0]
    assert policy.backoff(10_000) == policy.LONGEST_WAIT


@pytest.mark.parametrize("ending", ["failed", "oom", "budget", "hours", "stopped"])
def test_what_the_job_did_itself_is_not_tried_again(ending):
    decided = policy.what_next(ending, losses=0, restarts=5)
    assert decided.what == "give up" and decided.why


@pytest.mark.parametrize("ending", ["preempted", "lost", "stuck", "bad machine", "never started"])
def test_what_the_machine_did_is_tried_on_the_next_so_many_times(ending):
    assert policy.what_next(ending, losses=5, restarts=5).what == "next"
    decided = policy.what_next(ending, losses=6, restarts=5)
    assert decided.what == "give up" and "5 restarts" in decided.why


def test_done_is_done_and_an_unknown_ending_is_an_error():
    assert policy.what_next("done", 0, 0).what == "done"
    with pytest.raises(ValueError, match="'asleep'"):
        policy.what_next("asleep", 0, 5)


def attempts(restarts, progress):
    """Machines that are paid for until it gives up, where each attempt won a checkpoint or not; at most a hundred."""
    losses, tried = 0, 1
    while tried < 100:
        losses = policy.count(losses, progress)
        if policy.what_next("lost", losses, restarts).what == "give up":
            break
        tried += 1
    return tried


def test_only_losses_in_a_row_that_won_nothing_end_a_job():
    assert attempts(5, progress=False) == 6
    assert attempts(1, progress=False) == 2  # one restart is one restart
    assert attempts(0, progress=True) == 1
    assert attempts(5, progress=True) == 100  # money and hours end it, or its last step
    assert policy.count(5, progressed=True) == 1  # and it waits but shortly for the next machine


def test_the_policy_imports_nothing_heavy():
    code = "import sys, stepladder.launch.policy, stepladder.launch.ledger; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"torch", "pandas", "numpy", "scipy", "matplotlib"} & set(done.stdout.split())


def test_nothing_is_infinite_by_accident():
    told = policy.estimate(Machine("m/a", 1.0, Hazard(0.01), 5.0, 600), Work(1e6, save=60), 5.0)
    assert math.isfinite(told.dollars) and told.dollars > 0


# On a fake market ----------------------------------------------------------------------------------------------------

STRATEGIES = {"ours": market.OURS, "cheapest": market.CHEAPEST_FIRST, "on demand": market.ON_DEMAND_ONLY}


@pytest.fixture(scope="module")
def fates():
    """Forty jobs with a budget each, done by every strategy."""
    jobs = [market.Job.draw(seed) for seed in range(40)]
    return jobs, {name: [market.walk(job, strategy) for job in jobs] for name, strategy in STRATEGIES.items()}


def test_no_job_passes_its_budget_by_more_than_a_heartbeat(fates):
    for found in fates[1].values():
        assert max(fate.over - fate.beat for fate in found) <= 0
        assert any(fate.ending == "budget" for fate in found)  # it was reached, or nothing is shown


def test_the_policy_finishes_more_for_less_than_the_lowest_price(fates):
    found = fates[1]
    finished = {name: sum(fate.finished for fate in rows) for name, rows in found.items()}
    dollars = {name: sum(fate.spent for fate in rows) / finished[name] for name, rows in found.items()}
    assert finished["ours"] >= max(finished.values())
    assert dollars["ours"] == min(dollars.values())


def test_what_is_lost_goes_on_elsewhere(fates):
    again = [fate for fate in fates[1]["ours"] if fate.losses and fate.finished]
    assert again and all(fate.machines == fate.losses + 1 for fate in again)


def test_work_of_thirty_hours_ends_well_on_a_machine_that_lasts_for_five():
    assert Job.restarts == market.RESTARTS
    gone = tuple((5.0 * n, 5.0 * n + 0.2) for n in range(1, 14))
    spot = market.Offer("m/spot", (1.0,), 10.0, 10.0, 6.0, gone, 600.0)
    fate = market.walk(market.Job(10.0 * 30 * 3600, 30.0, 100.0, (spot,), (0.0,)), market.OURS)
    assert fate.finished and fate.losses > Job.restarts


def test_nobody_is_cheaper_than_hindsight(fates):
    jobs, found = fates
    bounds = [market.hindsight(job) for job in jobs[:12]]
    for rows in found.values():
        assert all(fate.spent >= bound for fate, bound in zip(rows, bounds, strict=False) if fate.finished)
