"""Rivals: they read shards as training does, see pictures where they say so, and are fitted without what they tell."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stepladder.core.types import Baseline, Batch, StudyError
from stepladder.studies.captions.evaluation import scoring
from stepladder.studies.captions.models.baselines import examples
from stepladder.studies.captions.models.baselines.eyes import Bags, Look, Words
from stepladder.studies.captions.models.baselines.neighbour import Neighbour
from stepladder.studies.captions.models.baselines.rivals import baselines
from stepladder.studies.captions.params import CaptionsParams
from tests.studies.captions.models.baselines.drawn_shards import batch, shard, words

pytest.importorskip("tokenizers")
TRAIN, TEST = range(80), range(100, 130)


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Baseline]:
    folder = tmp_path_factory.mktemp("rivals")
    paths = [shard(folder / "one.h5", range(40)), shard(folder / "two.h5", range(40, 80))]
    params = CaptionsParams.model_validate({"study": "captions", "profile": "quick", "run": "test"})
    return baselines(params, paths)


@pytest.fixture(scope="module")
def cases() -> Batch:
    return batch(TEST)


def _mean(cases: Batch, rival: Baseline, metric: str) -> float:
    records = scoring.score(cases, rival(cases), None)  # pyright: ignore[reportArgumentType]
    values = [record.numerator for record in records if record.metric == metric and record.support]
    return float(np.mean(values))


def test_trivial_rivals_come_first_and_the_strongest_last(rivals: dict[str, Baseline], cases: Batch) -> None:
    assert list(rivals) == ["commonest", "n-gram", "neighbour", "words"]
    likely = [_mean(cases, rival, "token probability") for rival in rivals.values()]
    assert likely[0] < likely[1] < min(likely[2:])


@pytest.mark.parametrize("name", ["commonest", "n-gram", "neighbour", "words"])
def test_every_rival_answers_every_metric(rivals: dict[str, Baseline], cases: Batch, name: str) -> None:
    prediction = rivals[name](cases)
    records = scoring.score(cases, prediction, None)  # pyright: ignore[reportArgumentType]
    assert {record.metric for record in records if record.support} == set(scoring.METRICS)
    assert torch.isfinite(prediction["likelihood_BC"][prediction["tokens_BC"] > 0]).all()
    assert torch.isinf(prediction["likelihood_BC"][prediction["tokens_BC"] == 0]).all()


def test_who_sees_says_the_colour_and_who_reads_text_alone_cannot(rivals: dict[str, Baseline], cases: Batch) -> None:
    said = {name: [scoring.text_of(row) for row in rival(cases)["text_BS"]][::2] for name, rival in rivals.items()}
    truth = [scoring.text_of(row) for row in cases["reference_S"]][::2]
    right = {name: np.mean([one == two for one, two in zip(texts, truth, strict=True)]) for name, texts in said.items()}
    assert right["neighbour"] > 0.9 and right["words"] > 0.9
    assert len(set(said["n-gram"])) == 1 and right["n-gram"] < 0.6


def test_the_commonest_answer_is_that_of_its_kind_of_question(rivals: dict[str, Baseline], cases: Batch) -> None:
    said = [scoring.text_of(row) for row in rivals["commonest"](cases)["text_BS"]]
    assert set(said[1::2]) == {"no"}
    assert len(set(said[::2])) == 1 and said[0].endswith(" ball.")


def test_a_rival_says_the_same_of_a_case_whatever_stands_beside_it(rivals: dict[str, Baseline], cases: Batch) -> None:
    whole = rivals["words"](cases)["likelihood_BC"]
    alone = rivals["words"]({name: value[3:4] for name, value in cases.items()})["likelihood_BC"]
    assert torch.equal(whole[3:4], alone)


def test_likelihoods_of_all_first_tokens_sum_to_one(tmp_path: Path) -> None:
    learnt = examples.read([shard(tmp_path / "a.h5", range(12))])
    rival = Neighbour(learnt, words(), Look(learnt))
    near = rival._near(rival._eye.of(learnt.pooled_IG[0]), rival._questions_IV[0])  # pyright: ignore
    weight_I = near.weights(rival.strength)
    one = [
        rival._likelihood([token], weight_I, rival.strength, rival._everybody) for token in range(words().vocabulary)
    ]
    assert np.exp(one).sum() == pytest.approx(1)


def test_words_are_not_misled_by_what_no_caption_tells(tmp_path: Path) -> None:
    """Families differ loudly in channels that captions never speak of: looks go by them, foretold words do not."""
    learnt = examples.read([shard(tmp_path / "loud.h5", TRAIN, mark=3.0)])
    cases = batch(TEST, mark=3.0)
    look, told = (Neighbour(learnt, words(), eye) for eye in (Look(learnt), Words(learnt, words().vocabulary)))
    assert _mean(cases, told, "ROUGE-L") > _mean(cases, look, "ROUGE-L") + 0.03
    assert _mean(cases, told, "token probability") > _mean(cases, look, "token probability") + 0.03


def test_strengths_are_chosen_by_other_families() -> None:
    """Features tell the family alone: its own copies promise much, and a new family keeps nothing of it."""
    rng, families = np.random.default_rng(0), np.repeat(np.arange(40), 3)
    marks, colours = rng.normal(size=(40, 30)), rng.integers(100, 108, 40)
    said = [(int(colours[family]), 120) for family in families]
    kinds, texts = [0] * len(said), ["-"] * len(said)
    honest, fooled = (
        Neighbour(one, words(), Look(one))
        for names in (families, np.arange(len(said)))
        for one in [examples.Examples([(5,)] * len(said), said, texts, kinds, names, marks[families])]
    )
    assert honest.strength.picture > 10 * fooled.strength.picture


def test_a_shard_in_int8_is_read_with_its_scale(tmp_path: Path) -> None:
    whole, coarse = (examples.read([shard(tmp_path / f"{int8}.h5", range(6), int8=int8)]) for int8 in (False, True))
    assert np.allclose(whole.pooled_IG, coarse.pooled_IG, atol=0.02)
    assert whole.answers == coarse.answers


def test_of_many_items_some_are_drawn_from_all_shards_and_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [shard(tmp_path / "a.h5", range(10)), shard(tmp_path / "b.h5", range(10, 20))]
    monkeypatch.setattr(examples, "MOST", 8)
    learnt = examples.read(paths)
    assert len(learnt) == len(learnt.pooled_IG) == 8
    assert len(set(learnt.families) & {f"family {number}" for number in range(5)}) >= 2, "both shards are in it"
    assert len(set(learnt.families) & {f"family {number}" for number in range(5, 10)}) >= 2
    assert set(learnt.kinds) == {0, 2}, "captions and questions"
    assert [words().decode(answer) for answer in learnt.answers] == learnt.texts


def test_shards_without_items_are_refused() -> None:
    with pytest.raises(StudyError, match="no item in 0 training shards"):
        examples.read([])


def test_pooled_features_keep_where_things_are() -> None:
    grid = np.zeros((4, 4, 1))
    grid[0, 0] = 16
    whole, *quarters = examples.pooled(grid.reshape(16, 1))
    assert (whole, quarters) == (1, [4, 0, 0, 0])
    assert examples.pooled(np.ones((49, 3))).shape == (15,)


def test_rare_words_weigh_more_and_an_empty_text_weighs_nothing() -> None:
    bags = Bags([[1, 2], [1, 3], [1, 4]], 6)([[1, 2], []]).toarray()
    assert bags[0, 2] > bags[0, 1]
    assert np.linalg.norm(bags, axis=1) == pytest.approx([1, 0])
