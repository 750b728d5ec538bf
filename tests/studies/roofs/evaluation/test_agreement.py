"""Annotators of the 18 RID images given agree as often as measured by the paper's rule, to a thousandth."""

import numpy as np
import pytest

from stepladder.core.types import StudyError
from stepladder.studies.roofs.evaluation import agreement

PUBLISHED = {
    "pvmodule": 0.643, "dormer": 0.661, "window": 0.178, "ladder": 0.144, "chimney": 0.415, "shadow": 0.317,
    "tree": 0.427, "unknown": 0.164, "background": 0.988,
}  # fmt: skip


def test_annotators_of_rid_agree_as_measured_elsewhere(shared_data):
    folder = shared_data / "roofs" / "rid"
    if not folder.is_dir():
        pytest.skip("the folder roofs/rid of real files is absent")
    found = agreement.of_rid(folder)
    assert found.classes == pytest.approx(PUBLISHED, abs=1e-3)
    assert (found.mean, found.any_class, found.outline) == pytest.approx((0.474, 0.694, 0.953), abs=1e-3)


def test_people_agree_less_on_the_roof_than_on_roof_and_lawn(shared_data):
    """Background is easy on the lawn; "any superstructure" lies on the roof and hardly changes."""
    folder = shared_data / "roofs" / "rid"
    if not folder.is_dir():
        pytest.skip("the folder roofs/rid of real files is absent")
    everywhere, inside = agreement.of_rid(folder), agreement.of_rid(folder, inside=True)
    assert inside.classes["background"] < everywhere.classes["background"] - 0.05
    assert inside.mean < everywhere.mean
    assert inside.any_class == pytest.approx(everywhere.any_class, abs=0.02)


def test_pairs_are_counted_once_and_a_class_only_where_one_of_two_drew_it():
    empty, left, right = (np.zeros((2, 2), dtype=np.uint8) for _ in range(3))
    left[:, 0], right[0] = 1, 1
    found_NC = agreement.pairwise([[empty, left, right], [empty, empty]], 2)
    assert found_NC[:, 1] == pytest.approx([0, 0, 1 / 3, np.nan], nan_ok=True)


def test_folder_without_annotators_is_named(tmp_path):
    with pytest.raises(StudyError, match="holds no"):
        agreement.of_rid(tmp_path)
