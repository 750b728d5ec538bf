"""What a step takes is told before it is tried."""

import pytest

from stepladder.studies.roofs.models import memory
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.models.batches import params


def of(batch, crop=64, **training):
    section = {"batch": batch, **training}
    return RoofsParams.model_validate({**params(crop=crop).model_dump(exclude_none=True), "training": section})


def test_one_tensor_of_the_plans_heads_needs_34_gigabytes():
    assert memory.stride_one_bytes(1024, 16) == pytest.approx(34.4e9, rel=0.01)


def test_memory_grows_with_the_crops_and_is_divided_by_accumulation():
    two, four = memory.step_bytes(of(2)), memory.step_bytes(of(4, precision="bfloat16"))
    assert memory.step_bytes(of(4, accumulate=2)) == two < four < 2 * two


def test_the_sentence_names_both():
    said = memory.sentence(of(2))
    assert "64 x 64, 2 at a time" in said and "16.8 MB" in said and "stride 4" in said
