"""Limits of hosts, on a clock that is only ever told."""

import heapq
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.download.outcomes import Answer
from stepladder.data.download.policy import Policy, PolicyError
from stepladder.data.download.polite import UNTOLD_PAUSE_S, Polite

OK = Answer("ok", body=b"x")


def policy(**changes: object) -> Policy:
    return Policy("us@here.example", **changes)  # type: ignore[arg-type]


def polite(rows: dict[str, int], **changes: object) -> Polite:
    """Rows of hosts, numbered through."""
    waiting, number = Polite(policy(**changes)), 0
    for host, count in rows.items():
        for _ in range(count):
            waiting.add(host, number, number, 0.0)
            number += 1
    return waiting


def play(
    waiting: Polite, takes_s: list[float], answers: dict[int, Answer] | None = None
) -> list[tuple[float, str, int]]:
    """Ask everything on a clock of ours: when what was asked. The answers take the seconds given, in turn."""
    now, begun, flying, given_up = 0.0, [], [], []
    while True:
        while taken := waiting.take(now):
            begun.append((now, *taken))
            heapq.heappush(flying, (now + takes_s[len(begun) % len(takes_s)], *taken))
        times = [time for time in (flying[0][0] if flying else None, waiting.wakes()) if time is not None]
        if not times:
            assert not waiting.waiting, "rows wait, and nothing will wake them"
            return begun
        now = max(now, min(times))
        while flying and flying[0][0] <= now:
            _, host, number = heapq.heappop(flying)
            given_up += waiting.done(host, (answers or {}).get(number, OK), now)[0]


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 3),
    st.sampled_from([0.5, 1.0, 3.0, 5.0]),
    st.lists(st.sampled_from([0.01, 0.1, 1.0]), min_size=1, max_size=7),
)
def test_limits_hold_at_every_moment_and_everything_is_asked(
    sizes: list[int], per_host: int, rate: float, takes_s: list[float]
):
    rows = {f"h{index}": size for index, size in enumerate(sizes)}
    begun = play(polite(rows, per_host=per_host, per_second=rate), takes_s)
    assert sorted(number for _, _, number in begun) == list(range(sum(sizes)))
    by_host: dict[str, list[float]] = defaultdict(list)
    for time, host, _ in begun:
        by_host[host].append(time)
    for times in by_host.values():
        for first, began in enumerate(times):  # a bucket of one second's worth, refilled at the rate
            for last in range(first, len(times)):
                assert last - first + 1 <= max(rate, 1) + rate * (times[last] - began) + 1e-6
    ends = {}
    for order, (time, host, _) in enumerate(begun):
        ends[host] = [end for end in ends.get(host, []) if end > time]
        assert len(ends[host]) < per_host
        ends[host].append(time + takes_s[(order + 1) % len(takes_s)])


def test_a_host_at_its_limit_holds_up_nobody():
    waiting = polite({"slow": 10, "a": 1, "b": 1}, per_host=1)
    assert [waiting.take(0.0) for _ in range(4)] == [("slow", 0), ("a", 10), ("b", 11), None]


def test_retry_after_holds_for_the_whole_host():
    begun = play(polite({"h": 3}, per_host=1), [0.1], {0: Answer("too_many", retry_after=7.0)})
    assert [round(time, 3) for time, _, _ in begun] == [0.0, 7.1, 7.2]


def test_a_pause_holds_also_where_the_next_row_was_about_to_be_asked():
    waiting = polite({"h": 3}, per_host=2)
    waiting.take(0.0)
    waiting.done("h", Answer("too_many", retry_after=10.0), 1.0)
    assert waiting.take(1.0) is None and waiting.take(10.9) is None and waiting.take(11.0) == ("h", 1)


def test_a_host_that_asks_for_no_certain_pause_gets_one():
    begun = play(polite({"h": 2}, per_host=1), [0.1], {0: Answer("too_many")})
    assert begun[1][0] == pytest.approx(0.1 + UNTOLD_PAUSE_S)


def test_a_pause_longer_than_a_pass_waits_gives_the_host_up():
    waiting = polite({"h": 5}, longest_wait_s=60)
    waiting.take(0.0)
    given_up, left = waiting.done("h", Answer("too_many", retry_after=3600.0), 1.0)
    assert given_up == [1, 2, 3, 4] and "3600 s" in left.reason and waiting.take(99.0) is None
    assert waiting.resting("h", 99.0) and not waiting.resting("h", 3590.0)


@pytest.mark.parametrize("outcome", ["connect", "timeout", "dns", "server"])
def test_a_host_that_fails_in_a_row_is_left_alone_for_the_pass(outcome: str):
    waiting = polite({"down": 9, "up": 2}, per_host=1, per_second=1000, failures=3)
    asked = play(waiting, [0.01], {number: Answer(outcome) for number in range(9)})
    assert [host for _, host, _ in asked].count("down") == 3
    waiting.add("down", 0, 100, 50.0)
    waiting.add("down", 1, 101, 50.0)
    assert waiting.take(50.0) == ("down", 100)
    assert waiting.done("down", Answer(outcome), 50.1)[0] == [101]  # the next pass asks once


def test_failures_of_files_are_not_failures_of_their_host():
    asked = play(polite({"h": 30}, per_second=1000), [0.01], {number: Answer("gone") for number in range(30)})
    assert len(asked) == 30


def test_one_success_is_taken_for_a_recovery():
    answers = {number: Answer("server") for number in range(20) if number % 3}
    asked = play(polite({"h": 20}, per_host=1, per_second=1000, failures=3), [0.01], answers)
    assert len(asked) == 20


def test_rows_without_a_host_wait_for_nobody():
    assert len({time for time, _, _ in play(polite({"": 40}), [0.01], {n: Answer("bad_url") for n in range(40)})}) == 1


def test_idle_hosts_are_forgotten_but_not_their_pauses():
    waiting = polite({"a": 1, "b": 1})
    for _ in range(2):
        waiting.take(0.0)
    waiting.done("a", OK, 1.0)
    waiting.done("b", Answer("too_many", retry_after=30.0), 1.0)
    waiting.forget(10.0)
    waiting.add("b", 0, 7, 10.0)
    assert list(waiting._hosts) == ["b"] and waiting.take(30.0) is None and waiting.take(31.0) == ("b", 7)


@pytest.mark.parametrize(
    "changes", [{"contact": ""}, {"contact": "a\nb"}, {"block": 0}, {"per_second": -1.0}, {"passes": 0}]
)
def test_a_policy_no_host_should_meet_is_refused_by_name(changes: dict[str, object]):
    with pytest.raises(PolicyError, match=next(iter(changes))):
        Policy(**{"contact": "us@here.example", **changes})  # type: ignore[arg-type]
