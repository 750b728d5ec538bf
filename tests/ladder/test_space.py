"""What 04 may choose is always what 05 accepts: the same optimizer step, in any number of processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core.config import ParameterError
from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.data.sampling import Order, StepBatches
from stepladder.ladder.space import space
from stepladder.training.setting import Setting

ORDER = Order(np.array(["all"] * 7), {}, seed=0)


def micros(training: TrainingParams) -> list[list[int]]:
    """Sizes of the micro-batches of every process, as 05_training divides a step."""
    ranks = range(training.processes)
    cut = (StepBatches(ORDER, training.batch, 0, 1, r, training.processes, training.accumulate) for r in ranks)
    return [[len(micro) for micro in own] for own in cut]


@given(
    total=st.integers(1, 64),
    batches=st.lists(st.integers(1, 16), min_size=1, max_size=4),
    processes=st.integers(1, 8),
    keep=st.booleans(),
)
def test_every_setting_is_accepted_and_does_what_it_says(total, batches, processes, keep):
    training = TrainingParams(batch=total, processes=processes, accumulate=3)
    ladder = LadderParams(batch=batches, keep_global_batch=keep, workers=[0])
    try:
        settings = space(ladder, training)
    except ParameterError as error:
        assert keep and all(total % (batch * processes) for batch in batches)
        assert f"training.batch = {total}" in str(error)
        return
    for setting in settings:
        found = setting.applied(training)
        assert micros(found) == [[setting.batch] * setting.accumulate] * processes
        assert setting.batch in batches and (found.batch == total or not keep)
        alone = setting.of_one(training)
        assert micros(alone) == [[setting.batch] * setting.accumulate]


@given(batch=st.integers(1, 8), accumulate=st.integers(1, 8), measured=st.integers(1, 8), processes=st.integers(1, 8))
def test_other_processes_than_measured_take_the_same_step_in_no_larger_passes(batch, accumulate, measured, processes):
    setting = Setting(batch=batch, accumulate=accumulate, processes=measured)
    found = setting.applied(TrainingParams(processes=processes))
    assert found.batch == batch * accumulate * measured
    if found.batch >= processes:
        parts = [size for own in micros(found) for size in own]
        assert sum(parts) == found.batch and min(parts) >= 1
        assert max(parts) <= batch or found.accumulate == found.batch // processes


def test_what_cannot_be_divided_is_named_with_the_processes():
    with pytest.raises(ParameterError, match=r"none divides training.batch = 4 among training.processes = 2"):
        space(LadderParams(batch=[4]), TrainingParams(batch=4, processes=2))
    assert str(Setting(batch=2, accumulate=2, processes=2)).endswith("accumulate 2, in each of 2 processes")
