"""The stage that takes the time of a sample is named, as a person knows it, with its line and its share."""

import inspect
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from stepladder.ladder.measure import profiler
from stepladder.ladder.measure.profiler import Node, public_name


class Reader:
    """Decodes for one part of the time, filters for three."""

    def __getitem__(self, key):
        return self.filtered(self.decoded(key))

    def decoded(self, key):
        time.sleep(0.008)
        return key

    def filtered(self, key):
        time.sleep(0.024)
        return key


class MedianReader:
    def __getitem__(self, key):
        return patch(np.zeros((40, 40, 40), np.uint8))


def patch(volume):
    smooth = ndimage.median_filter(volume, size=3)
    return smooth[:8]


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def test_own_functions_are_named_with_their_shares():
    seen = profiler.profile(Reader(), [1, 2, 3], seconds=0.6)
    assert seen.hot == f"Reader.filtered in test_profiler.py:{line_of(Reader.filtered, 'sleep')}"
    assert seen.hot_share == pytest.approx(0.75, abs=0.12)
    assert seen.stages["Reader.decoded"] == pytest.approx(0.25, abs=0.12)
    assert sum(seen.stages.values()) == pytest.approx(1.0)


def test_a_library_is_named_by_its_public_name_and_the_users_line():
    seen = profiler.profile(MedianReader(), [0], seconds=0.3)
    assert seen.hot == f"scipy.ndimage.median_filter in test_profiler.py:{line_of(patch, 'median')}"
    assert seen.hot_share > 0.8
    assert len(seen.samples) >= 1


def test_a_sample_too_quick_to_be_seen_names_nothing():
    seen = profiler.profile([0], [0], seconds=0.0)
    assert (seen.hot, seen.stages) == ("", {"other": 1.0})


def test_public_names_hide_private_modules_and_wrappers():
    assert public_name(inspect.unwrap(ndimage.median_filter).__code__) == "scipy.ndimage.median_filter"
    assert public_name(np.median.__wrapped__.__code__) == "numpy.median"
    assert public_name(ndimage._filters._rank_filter.__code__) is None
    assert public_name((lambda: 0).__code__) is None


CODES = [function.__code__ for function in (Reader.__getitem__, Reader.decoded, Reader.filtered, patch)]


@settings(max_examples=50)
@given(st.lists(st.lists(st.tuples(st.sampled_from(CODES), st.integers(1, 3)), min_size=1, max_size=5), min_size=1))
def test_no_time_is_lost_or_counted_twice(stacks):
    tree = Node()
    for stack in stacks:
        tree.add([(CODES[0], 1), *stack], 1.0)
    assert tree.seconds == len(stacks)

    def check(node):
        assert sum(callee.seconds for callee in node.callees.values()) <= node.seconds
        assert sum(node.lines.values()) == (node.seconds if node.code else 0)
        for callee in node.callees.values():
            check(callee)

    check(tree)
    shares = profiler._stages(tree)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= -1e-9


class Compiled:
    """Like a function that is compiled just in time: the first sample of each of two kinds waits for it."""

    def __init__(self):
        self.known = set()

    def __getitem__(self, key):
        if key % 2 not in self.known:
            self.compiled(key % 2)
        return self.cut(key)

    def compiled(self, kind):
        time.sleep(0.4)
        self.known.add(kind)

    def cut(self, key):
        time.sleep(0.01)
        return key


def test_what_is_paid_once_is_not_to_blame():
    seen = profiler.profile(Compiled(), range(8), seconds=1.0)
    assert seen.hot.startswith("Compiled.cut in test_profiler.py")
    assert not [name for name in seen.stages if "compiled" in name]
    assert seen.samples and seen.hot_share > 0.8


def test_a_sample_that_takes_all_the_time_is_seen_all_the_same():
    seen = profiler.profile(Reader(), [1], seconds=0.001)
    assert len(seen.samples) == 1 and seen.hot.startswith("Reader.filtered")
