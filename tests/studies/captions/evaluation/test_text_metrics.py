"""Caption metrics: equal to what nlg-eval's own tests print, and what must hold of every corpus."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.captions.evaluation import text_metrics as tm

NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")
WORDS = ("a", "cat", "dog", "sits", "on", "the", "mat", "red", "blue")
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
corpora = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=3)), min_size=2, max_size=6)


def test_a_corpus_scores_as_nlg_eval_prints(shared_data: Path) -> None:
    folder = shared_data / "captions" / "Maluuba__nlg-eval" / "examples"
    answers, first, second = ((folder / name).read_text().splitlines() for name in ("hyp.txt", "ref1.txt", "ref2.txt"))
    scores = tm.corpus(answers, list(zip(first, second, strict=True)))
    expected = dict(zip(NAMES, (0.55, 0.428174, 0.284043, 0.201143, 0.522104, 1.242192), strict=True))
    assert scores == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        (
            "this is a good test",
            ["this is a test", "this is also a test"],
            (0.799999, 0.632455, 0.5108729, 0.0000903602, 0.9070631, 0),
        ),
        (
            "Le test est en français.",
            ["Test en français.", "Le test en français."],
            (0.799999, 0.632455, 0.0000051, 0, 0.9070631, 0),
        ),
        ("テスト", ["テスト"], (0.99999999, None, None, None, 1, 0)),
    ],
)
def test_single_answers_score_as_nlg_eval_prints(answer: str, references: list[str], expected: tuple) -> None:
    scores = tm.corpus([answer], [references])
    for name, value in zip(NAMES, expected, strict=True):
        assert value is None or scores[name] == pytest.approx(value, abs=5e-6), name


@given(corpora)
def test_every_metric_is_within_its_bounds(pairs: list[tuple[str, list[str]]]) -> None:
    scores = tm.corpus([answer for answer, _ in pairs], [others for _, others in pairs])
    assert all(0 <= scores[name] <= (10 if name == "CIDEr-D" else 1) + 1e-9 for name in NAMES)


@given(corpora, st.randoms())
def test_the_order_of_pictures_and_of_references_does_not_matter(pairs: list, random) -> None:
    scores = tm.corpus([answer for answer, _ in pairs], [others for _, others in pairs])
    mixed = [(answer, random.sample(others, len(others))) for answer, others in random.sample(pairs, len(pairs))]
    assert tm.corpus([answer for answer, _ in mixed], [others for _, others in mixed]) == pytest.approx(scores)


def test_captions_of_people_that_repeat_a_reference_are_perfect(shared_data: Path) -> None:
    references = _people(shared_data)
    scores = tm.corpus([others[0] for others in references], [[others[0]] for others in references])
    assert scores == pytest.approx(dict(zip(NAMES, (1, 1, 1, 1, 1, 10), strict=True)), abs=0.15)
    assert scores["ROUGE-L"] == pytest.approx(1)


def test_a_person_is_nearer_to_other_people_than_the_captions_of_another_sound(shared_data: Path) -> None:
    references = _people(shared_data)
    own = tm.corpus([others[0] for others in references], [others[1:] for others in references])
    another = tm.corpus(
        [others[0] for others in references], [others[1:] for others in references[1:] + references[:1]]
    )
    assert all(own[name] > another[name] for name in NAMES)
    assert own["CIDEr-D"] > 5 * another["CIDEr-D"]


def _people(shared_data: Path) -> list[list[str]]:
    with (shared_data / "captions" / "Labbeti__aac-metrics" / "data" / "example_1.csv").open(encoding="utf-8") as file:
        return [[row[f"caption_{number}"] for number in range(1, 6)] for row in csv.DictReader(file)][:120]


def test_case_and_punctuation_do_not_matter_but_an_apostrophe_keeps_a_word_whole() -> None:
    assert tm.words("A dog's bed, (red) - isn't it?") == ["a", "dog's", "bed", "red", "isn't", "it"]


def test_a_word_said_over_and_over_gains_nothing() -> None:
    assert tm.bleu(["the the the the"], [["the cat"]])[0] == pytest.approx(0.25)


def test_empty_and_repetitive_answers_are_seen() -> None:
    habits = tm.habits(["", "a a a a a a", "a cat sits on a mat", "a dog"])
    assert (habits["empty"], habits["repetitive"]) == (0.25, 0.25)
    assert tm.repetition("a cat sits") == 0 and tm.repetition("go " * 8, 2) == pytest.approx(6 / 7)


def test_an_answer_without_a_reference_is_refused_with_both_counts() -> None:
    with pytest.raises(ValueError, match="1 answers, 2 lists"):
        tm.bleu(["a cat"], [["a cat"], ["a dog"]])
