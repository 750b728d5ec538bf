"""All rivals, fitted to shards as the study does it."""

import pickle

import pytest

from stepladder.studies.roofs.evaluation import scoring
from stepladder.studies.roofs.models.baselines import hed
from stepladder.studies.roofs.models.baselines.rivals import baselines
from stepladder.studies.roofs.params import RoofsParams
from tests.studies.roofs.evaluation import gable

PARAMS = RoofsParams(study="roofs", model={"crop": 96})
NAMES = ["nothing", "average", "class_height", "lsd", "hed", "forest"]


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    shards = [gable.shard(folder / "a.h5"), gable.shard(folder / "b.h5", ("line", "height"))]
    return baselines(PARAMS, shards)


def test_trivial_ones_come_first_and_hed_only_where_installed(rivals):
    assert list(rivals) == [name for name in NAMES if name != "hed" or not hed.missing()]


def test_every_rival_scores_and_the_forest_answers_all(rivals):
    batch = gable.batch()
    found = {name: gable.values(scoring.score(batch, rival(batch), PARAMS)) for name, rival in rivals.items()}
    assert all(list(values) == list(found["nothing"]) for values in found.values())
    assert None not in found["forest"].values()
    assert found["lsd"]["line F1"] > 0
    assert found["forest"]["outline IoU"] > found["nothing"]["outline IoU"]


def test_rivals_can_be_sent_to_another_process(rivals):
    batch = gable.batch()
    for name, rival in rivals.items():
        sent = pickle.loads(pickle.dumps(rival))
        assert scoring.score(batch, sent(batch), PARAMS) == scoring.score(batch, rival(batch), PARAMS), name
