"""Rows of rented machines."""

from collections.abc import Callable

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import CLEAR, Record, Row


def _market(key: str, sign: int) -> Callable[[Record], bool]:
    """Whether ours is clearly above (sign 1) or below (-1) every other strategy on the fake market."""

    def met(record: Record) -> bool:
        ours, *others = (row[key] for row in record["strategies"].values())
        return all(sign * ours > sign * value * (1 + sign * CLEAR) for value in others)

    return met


ROWS = (
    Row(
        "launch",
        "ten machines that vanish at a random step: final weights bit for bit those of an undisturbed run",
        "10 of 10",
        "{deaths[identical]} of 10; at most {deaths[repeated_most]} steps made twice (checkpoints every "
        "{deaths[interval]})",
        lambda r: r["deaths"]["identical"] == 10,
    ),
    Row(
        "launch",
        "... each",
        "≤ 60 s",
        "{deaths[seconds_most]:.0f} s at most",
        lambda r: r["deaths"]["seconds_most"] <= 60,
        absolute=True,
    ),
    Row(
        "launch",
        "how old the newest line of the curve is here",
        "≤ 5 s",
        "median {follow[lag_median]:.1f} s, at most {follow[lag_max]:.1f} s",
        lambda r: r["follow"]["lag_max"] <= 5,
    ),
    Row(
        "launch",
        "processor time that following costs there, of one core",
        "≤ 1 %",
        "{follow[cost]:.2%}",
        lambda r: r["follow"]["cost"] <= 0.01,
    ),
    Row(
        "launch",
        "bytes of a shard sent twice after a supervisor was killed while sending",
        "0",
        "{twice[twice]:.1%} of it",
        lambda r: r["twice"]["twice"] < 0.01 and not any(r["twice"]["sent_again"]),
    ),
    Row(
        "launch",
        "from `launch` to the first step, warm and cold (48 wheels sent and installed)",
        "no target",
        "{first_step[warm]:.0f} s, {first_step[cold]:.0f} s",
        None,
        absolute=True,
    ),
    Row(
        "launch_market",
        "200 jobs on a fake market (prices move, machines vanish): beyond the budget, in heartbeats' cost",
        "≤ 1, for every job",
        m.market("heartbeats_over_budget", "{:.2g}"),
        lambda r: r["strategies"]["stepladder"]["heartbeats_over_budget"] <= 1,
    ),
    Row(
        "launch_market",
        "... finished within the budget",
        "clearly more than the best fixed policy",
        m.market("finished", more="knowing the future at most {finishable:.0%}"),
        _market("finished", sign=1),
    ),
    Row(
        "launch_market",
        "... dollars spent a finished job",
        "clearly below the best fixed policy",
        m.market("dollars_a_finished_job", "${:.2f}"),
        _market("dollars_a_finished_job", sign=-1),
    ),
    Row(
        "launch_market",
        "... dollars over ours, of the jobs that both finish (ours finishes more, hardly cheaper)",
        "clearly above 1",
        m.market("dollars_over_ours", "{:.2f}"),
        lambda r: min(row["dollars_over_ours"] for row in list(r["strategies"].values())[1:]) > 1 + CLEAR,
    ),
    Row(
        "launch_market",
        "... dollars of finished jobs above a lower bound that knows the future, median",
        "no target",
        m.market("median_gap_to_hindsight"),
        None,
    ),
    Row(
        "launch_market",
        "... were a running machine left for a cheaper one (not built: hosts of one target have one price)",
        "no target",
        "{leaving_for_cheaper[finished]:.0%} finished, ${leaving_for_cheaper[dollars_a_finished_job]:.2f} each",
        None,
    ),
)
