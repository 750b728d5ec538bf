"""Processes that are killed, or asked to end: what came is kept, and the next one goes on."""

import signal
from pathlib import Path

import pytest

from stepladder.data.download.walking import BATCH
from tests.benchmarks import bench_download as bench
from tests.data.download.web import agree, attempts


@pytest.mark.slow
@pytest.mark.drill
def test_ten_kills_at_random_moments_lose_what_was_in_hand_and_nothing_else(tmp_path: Path):
    size = bench.Size(600, 60, connections=12)
    drilled = bench.drill(tmp_path, size, kills=10)
    assert drilled.right == size.rows and not drilled.unclassed
    assert not drilled.asked_though_settled and not drilled.tars_differ
    assert sum(hand > 0 for hand in drilled.in_hand) >= 5, "the kills came too late to say anything"
    assert max(drilled.in_hand) <= size.connections + BATCH and drilled.twice <= sum(drilled.in_hand)
    agree(tmp_path / "killed")
    bench.undisturbed(tmp_path, size)
    assert bench.tars_equal(tmp_path)


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_process_asked_to_end_saves_what_came_and_ends_by_the_signal(tmp_path: Path, signum: signal.Signals):
    size, log = bench.Size(200, 20, connections=12), tmp_path / "requests"
    with bench.served(size.rows, log) as port:
        with bench.start(tmp_path / "list", port, size) as process:
            while bench.asked(log).total() < 60:
                assert process.poll() is None
            process.send_signal(signum)
        assert process.returncode == -signum
        requests, known = bench.asked(log).total(), attempts(tmp_path / "list").total()
        assert requests - size.connections <= known < size.rows
        with bench.start(tmp_path / "list", port, size) as process:
            process.wait()
    agree(tmp_path / "list")
    assert bench.asked(log).total() - attempts(tmp_path / "list").total() <= size.connections
