"""BLINK: published outputs score as its README prints, its layout is read, and no position is favoured."""

import json
from pathlib import Path

import numpy as np
import pytest

from stepladder.core.types import StudyError
from stepladder.studies.captions.evaluation import blink, parser

README = {"GPT4o": 60.0, "GPT4Turbo": 54.6, "llava_v1.5_7b": 37.1, "MiniGPT-4-v2": 34.2}


@pytest.fixture(scope="module")
def saved(shared_data: Path) -> Path:
    return shared_data / "captions" / "zeyofu__BLINK_Benchmark" / "eval" / "saved_outputs"


@pytest.mark.parametrize(("model", "printed"), README.items())
def test_published_outputs_score_as_the_readme_prints(saved: Path, model: str, printed: float) -> None:
    table = blink.score(*_answers(blink.outputs(saved / model)))
    assert set(table["task"]) == {*blink.TASKS, "mean"}
    assert table["n"].iloc[-1] == 1901
    assert table["accuracy"].iloc[-1] == pytest.approx(printed, abs=0.1)


def test_two_tasks_are_as_the_research_recomputed_them(saved: Path) -> None:
    table = blink.score(*_answers(blink.outputs(saved / "GPT4o"))).set_index("task")
    assert table.loc[["Relative_Depth", "Spatial_Relation"], "accuracy"].tolist() == pytest.approx(
        [74.2, 69.2], abs=0.05
    )
    assert table.loc["Relative_Depth", "half_width"] == pytest.approx(8, abs=0.5)


def _answers(outputs):
    return outputs["task"], list(outputs["prediction"] == outputs["answer"])


def test_the_parser_reads_published_answers_better_than_its_rivals(saved: Path) -> None:
    import pandas as pd

    every = pd.concat([blink.outputs(saved / model) for model in README], ignore_index=True)
    assert len(every) == 7604
    ours, letters = blink.agreement(every, parser.parse), blink.agreement(every, parser.parse, words=False)
    two = blink.agreement(every, lambda text, _: parser.two_rules(text), words=False)
    never = blink.agreement(every, lambda text, _: parser.never_abstains(text), words=False)
    assert two["named"] == pytest.approx(0.776, abs=0.0005)
    assert never["agrees"] == pytest.approx(0.451, abs=0.0005)
    assert ours["agrees"] > 0.96 and letters["agrees"] > 0.94


def test_rules_that_were_written_on_val_read_test_as_well(saved: Path) -> None:
    import pandas as pd

    unseen = pd.concat([blink.outputs(saved / model, "test") for model in README], ignore_index=True)
    assert set(unseen["answer"]) == {"hidden"}
    assert blink.agreement(unseen, parser.parse)["agrees"] > 0.965


def _rows(**changed: object) -> list[dict]:
    row = {
        "idx": "val_Counting_1",
        "question": "How many blue floats are there?",
        "sub_task": "Counting",
        "prompt": "How many blue floats are there?\n(A) 0\n(B) 3\n(C) 2\n(D) 1",
        "image_1": "one.jpg",
        "image_2": None,
        "image_3": None,
        "image_4": None,
        "choices": ["0", "3", "2", "1"],
        "answer": "(D)",
    }
    return [{**row, **changed}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.jpg").write_bytes(b"first")
    return tmp_path


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_the_layout_is_read_in_every_form(folder: Path, ending: str) -> None:
    (folder / "two.jpg").write_bytes(b"second")
    path, rows = folder / f"val.{ending}", _rows(image_2={"bytes": None, "path": "two.jpg"})
    if ending == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rows = _rows(image_1={"bytes": b"first", "path": "x"}, image_2={"bytes": b"second", "path": "y"})
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows if ending == "json" else rows[0]), encoding="utf-8")
    (question,) = blink.read(path)
    assert (question.task, question.images, question.answer) == ("Counting", (b"first", b"second"), 3)
    assert "(D) 1" in question.prompt


def test_hidden_answers_are_no_zero(folder: Path) -> None:
    (folder / "test.json").write_text(json.dumps(_rows(answer="hidden")), encoding="utf-8")
    questions = blink.read(folder / "test.json")
    with pytest.raises(StudyError, match="1 answers are hidden"):
        blink.score_answers(questions, [0])


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"answer": "(E)"}, r"\(E\)"), ({"sub_task": "Guessing"}, "Guessing"), ({"answer": "D"}, "'D'")],
)
def test_a_row_that_cannot_be_is_refused_by_name(folder: Path, changed: dict, told: str) -> None:
    (folder / "val.json").write_text(json.dumps(_rows(**changed)), encoding="utf-8")
    with pytest.raises(StudyError, match=told):
        blink.read(folder / "val.json")


def test_shuffled_choices_keep_the_right_one_and_map_back_to_the_published_letter(folder: Path) -> None:
    (folder / "val.json").write_text(json.dumps(_rows()), encoding="utf-8")
    (question,) = blink.read(folder / "val.json")
    for seed in range(20):
        shown = blink.shuffled(question, seed)
        assert shown.answer is not None and shown.choices[shown.answer] == "1"
        assert shown.published(shown.answer) == "(D)"
        place = parser.parse(f"The answer is ({'ABCD'[shown.choices.index('3')]}).", shown.choices)
        assert shown.published(place) == "(B)"
    assert shown.published(None) == "(Z)"


def test_a_model_that_always_says_the_first_letter_scores_as_chance_once_choices_are_shuffled(folder: Path) -> None:
    (folder / "val.json").write_text(json.dumps(_rows(answer="(A)") * 400), encoding="utf-8")
    questions = [blink.replace(one, idx=str(place)) for place, one in enumerate(blink.read(folder / "val.json"))]
    shown = [blink.shuffled(question, 0) for question in questions]
    table = blink.score_answers(shown, [parser.parse("(A)", one.choices) for one in shown])
    assert table["accuracy"].iloc[-1] == pytest.approx(25, abs=6)


def _asked(folder: Path, count: int = 300) -> list[blink.Question]:
    (folder / "val.json").write_text(json.dumps(_rows()), encoding="utf-8")
    (question,) = blink.read(folder / "val.json")
    tasks = list(blink.TASKS)
    return [blink.replace(question, idx=f"val_{number}", task=tasks[number % 2]) for number in range(count)]


def test_a_model_is_scored_by_likelihood_and_by_what_it_says(folder: Path) -> None:
    def ask(question: blink.Question) -> tuple[str, list[float]]:
        """Finds the right choice likeliest, and says it only where the question's name ends with 0."""
        right = question.choices.index("1")
        said = f"The answer is ({'ABCD'[right]})." if question.idx.endswith("0") else "I cannot tell."
        return said, [0.0 if place == right else -1.0 for place in range(4)]

    mean = blink.evaluate(_asked(folder), ask).iloc[-1]
    assert (mean["task"], mean["likeliest"]) == ("mean", 100)
    assert (mean["parsed"], mean["abstained"]) == pytest.approx((10, 90))
    assert mean["first"] == pytest.approx(25, abs=7)


def test_a_model_that_favours_the_first_choice_is_seen(folder: Path) -> None:
    mean = blink.evaluate(_asked(folder), lambda question: ("(A)", [0.0, -1.0, -1.0, -1.0])).iloc[-1]
    assert mean["first"] == 100
    assert mean["likeliest"] == mean["parsed"] == pytest.approx(25, abs=7)


def test_the_mean_weighs_tasks_not_questions() -> None:
    table = blink.score(["Counting"] * 9 + ["Jigsaw"], [True] * 9 + [False])
    assert table["accuracy"].iloc[-1] == pytest.approx(50)


def test_the_likeliest_choice_is_taken() -> None:
    assert blink.likeliest(np.array([-4.0, -2.5, -np.inf])) == 1
