"""The order of asking: every row once, no host in a burst, none at the end alone."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.data.download.order import interleaved

HOSTS = st.lists(st.sampled_from("aaaaaaaabbbbccdefghijkl"), max_size=200)


@given(HOSTS, st.text(max_size=3))
def test_every_row_is_asked_once_and_those_of_a_host_in_their_order(hosts: list[str], seed: str):
    order = interleaved(hosts, seed)
    assert sorted(order) == list(range(len(hosts)))
    for host in set(hosts):
        mine = [index for index in order if hosts[index] == host]
        assert mine == sorted(mine)


@given(HOSTS, st.integers(1, 60))
def test_no_host_has_more_than_its_share_of_any_stretch(hosts: list[str], length: int):
    order = [hosts[index] for index in interleaved(hosts, "0")]
    for host, count in Counter(hosts).items():
        stretches = (order[start : start + length] for start in range(len(order)))
        assert max(part.count(host) for part in stretches) <= length * count / len(hosts) + 3


@given(HOSTS)
def test_every_row_comes_within_the_span_that_fair_queues_give_it(hosts: list[str]):
    order, seen, count = interleaved(hosts, "0"), Counter[str](), len(hosts)
    for place, index in enumerate(order):
        host, size = hosts[index], hosts.count(hosts[index])
        assert seen[host] * count // size <= place <= -(-(seen[host] + 1) * count // size) - 1
        seen[host] += 1


def test_the_largest_host_of_a_real_list_begins_at_once_and_is_never_alone():
    # 641 of 10,000 rows on one host, as in img2dataset's list, which is sorted by nobody; here by host.
    hosts = ["big"] * 641 + [f"h{index % 4478}" for index in range(9359)]
    places = [place for place, index in enumerate(interleaved(hosts, "0")) if hosts[index] == "big"]
    assert places[0] < 16 and places[-1] > 10_000 - 2 * 16
    assert min(after - before for before, after in pairwise(places)) >= 10


@pytest.mark.parametrize("seeds", [("0", "0"), ("0", "1")])
def test_the_order_is_a_function_of_the_seed(seeds: tuple[str, str]):
    hosts = [f"h{index}" for index in range(50)]
    assert (interleaved(hosts, seeds[0]) == interleaved(hosts, seeds[1])) is (seeds[0] == seeds[1])
