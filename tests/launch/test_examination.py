import os
import sys
from pathlib import Path

import pytest

from stepladder.core.config import ParameterError
from stepladder.cost.offers import read_prices
from stepladder.launch import examination
from stepladder.launch.hosts import HostError, LocalHost
from stepladder.launch.targets import Target

ROOT = Path(__file__).parents[2]
PRICES = read_prices(ROOT / "params" / "gpu_prices.yaml")
CARD = {"name": "NVIDIA GeForce RTX 4090", "memory": 25.3e9, "free": 25e9, "tflops": 150.0, "error": ""}
GOOD = {
    "torch": "2.13.0+cu130",
    "driver": "580.95.05",
    "cards": [CARD],
    "used": [400e6],
    "cpus": 16.0,
    "memory": 64e9,
    "disk_free": 100e9,
    "disk_write": 1e9,
    "disk_read": 2e9,
    "clock_ahead": 0.4,
}


def faults(found, disk=0.0, memory=0.0, **promises) -> dict[str, str]:
    """Name -> reason of the checks that fail."""
    target = Target(hosts=["one"], **{"gpu": "RTX 4090", **promises})
    checks = examination.judge({**GOOD, **found}, target, PRICES, disk, memory)
    return {check.name: check.reason for check in checks if not check.ok}


def card(**facts):
    return {"cards": [{**CARD, **facts}]}


def test_a_box_that_is_as_promised_passes():
    assert faults({}, disk=5e9, memory=10e9) == {}
    assert faults({"cards": [], "tflops": 0.05, "used": []}, gpu=None) == {}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (card(name="NVIDIA GeForce RTX 3090", tflops=60.0), "RTX 3090"),
        (card(memory=12e9), "12.0 GB"),  # a part of the card
        ({"cards": []}, "CUDA finds none with driver 580.95.05"),
        ({"cards": [], "driver": None}, "no driver"),
        ({"torch": None, "torch_error": "libcudart is missing", "cards": []}, "libcudart"),
    ],
)
def test_a_card_that_was_not_promised_is_refused(found, words):
    assert words in faults(found)["card is as promised"]


def test_a_neighbour_of_the_promised_card_is_another_one():
    ti = card(name="NVIDIA GeForce RTX 3090 Ti")
    assert "card is as promised" in faults(ti, gpu="RTX 3090")
    assert "card is as promised" not in faults(ti, gpu="RTX 3090 Ti")


def test_all_the_promised_cards_must_be_there():
    one = {**CARD, "name": "NVIDIA A100-SXM4-40GB", "memory": 42e9, "tflops": 250.0}
    assert faults({"cards": [one] * 4}, gpu="4 x A100") == {}
    assert "3 x NVIDIA A100" in faults({"cards": [one] * 3}, gpu="4 x A100")["card is as promised"]


def test_a_card_that_does_not_compute_is_refused_whatever_was_promised():
    name = "it computes as it should"
    assert "20 of 165" in faults(card(tflops=20.0))[name]
    assert faults(card(tflops=20.0), matmul_share=0.1) == {}
    assert "fell off" in faults(card(tflops=0.0, error="it fell off the bus"), gpu=None)[name]
    unknown = card(name="NVIDIA Something", tflops=0.5)
    assert faults(unknown, gpu=None) == {}
    slow = {"cards": [CARD, {**CARD, "tflops": 1.0}]}
    assert name in faults(slow)


def test_a_card_that_somebody_uses_is_refused():
    name = "nobody else is on the card"
    assert "8.0 GB" in faults({"used": [400e6, 8e9]})[name]
    assert name in faults({"used": [], **card(free=10e9)})  # the driver's own tool is not there


def test_disk_and_memory_must_hold_the_job():
    assert "100.0 GB there, 200.0 GB needed" in faults({}, disk=200e9)["disk has room"]
    assert "disk has room" in faults({"disk_write": 0.0})
    assert "memory is enough" in faults({}, memory=65e9)


def test_a_wrong_clock_is_told_and_harms_nothing():
    found = {**GOOD, "clock_ahead": -3600.0}
    clock = next(c for c in examination.judge(found, Target(hosts=["one"]), PRICES) if c.name == "clock")
    assert clock.ok and "3600 s behind" in clock.reason


def test_the_clock_of_a_machine_is_compared_with_ours(tmp_path, monkeypatch):
    (tmp_path / "date").write_text("#!/bin/sh\necho $(($(/bin/date +%s) - 3600))\n")
    (tmp_path / "date").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = examination.of(LocalHost("here/one", tmp_path / "box"), sys.executable, str(ROOT))
    assert -3900 < found["clock_ahead"] < -3300


def test_an_unknown_promise_is_named_with_the_nearest():
    with pytest.raises(ParameterError, match="RTX 4090"):
        faults({}, gpu="RTX4090")


def test_a_machine_tells_what_it_is(tmp_path):
    host = LocalHost("here/one", tmp_path / "box")
    found = examination.of(host, sys.executable, str(ROOT))
    assert found["torch"].startswith("2.") and found["cpus"] > 0 and found["memory"] > 1e8
    assert found["disk_free"] > 0 and found["disk_write"] > 0 and found["disk_read"] > 0
    assert max([found["tflops"] or 0, *(card["tflops"] for card in found["cards"])]) > 0
    assert abs(found["clock_ahead"]) < 300
    assert list((tmp_path / "box").iterdir()) == []
    judged = {check.name: check.ok for check in examination.judge(found, Target(hosts=["one"]), PRICES)}
    assert judged["disk has room"] and judged["it computes as it should"]


def test_a_machine_that_cannot_be_examined_says_why(tmp_path):
    (tmp_path / "box").write_text("a file where a folder should be")
    with pytest.raises(HostError, match=r"(?s)cannot be examined.*FileExists"):
        examination.of(LocalHost("here/one", tmp_path / "box"), sys.executable, str(ROOT))
