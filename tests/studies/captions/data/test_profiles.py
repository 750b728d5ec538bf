"""The plan's profiles load, hold the plan's numbers, and count steps by the links that live."""

from pathlib import Path

import pytest

from stepladder.core import profiles
from stepladder.studies.captions.data import survival

ROOT = Path(__file__).resolve().parents[4]
ALL = 12_800_000
AGE = 3.6  # years of DataComp's list in late 2026, of which the profiles speak


@pytest.mark.parametrize(
    ("name", "epochs", "every"),
    [("datacomp_10k", 5, 25), ("datacomp_100k", 3, 50), ("datacomp_12.8M", 1, 500), ("stage2", 1, 50)],
)
def test_a_profile_of_the_plan_has_its_numbers(name: str, epochs: int, every: int) -> None:
    params = profiles.load(ROOT, "captions", name)
    training = params.training
    assert (training.warmup, training.weight_decay, training.clip_norm) == (500, 0.01, 1.0)
    assert (training.schedule, training.precision, training.batch) == ("linear", "bfloat16", 16)
    assert (training.checkpoint_every, training.keep) == (every, 3)
    living = survival.expected(AGE).expected * (params.data.rows or ALL)
    assert training.steps == pytest.approx(living * epochs / training.batch, rel=0.01)
