"""BLINK (Fu et al., ECCV 2024): its questions as they are published, shuffled, scored in two ways, averaged as printed.

Decisions:
- Score = unweighted mean over 14 tasks of the accuracy on `val`. Answers of `test` are the word "hidden": such a
  question has none, and asking for its score is refused instead of being 0 %.
- Choices are shown in an order drawn from the question's name, for models favour the first letter. What comes back is
  mapped to the published letter.
- Two scores stand side by side: the choice with the largest likelihood, and the one that the parser reads.
- Published outputs hold answers without their choices. Of 13 tasks these are the same words in every question: `TASKS`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stepladder.core.types import StudyError
from stepladder.studies.captions.evaluation.paired import half_width
from stepladder.studies.captions.evaluation.parser import LETTERS, parse

POINTS = ("Point A", "Point B", "Point C", "Point D")
TWO_IMAGES = ("the second image", "the third image")
TASKS: Mapping[str, tuple[str, ...]] = {  # task -> its choices; of Counting they differ from question to question
    "Art_Style": TWO_IMAGES,
    "Counting": (),
    "Forensic_Detection": ("the first image", "the second image", "the third image", "the fourth image"),
    "Functional_Correspondence": POINTS,
    "IQ_Test": ("picture A", "picture B", "picture C", "picture D"),
    "Jigsaw": TWO_IMAGES,
    "Multi-view_Reasoning": ("left", "right"),
    "Object_Localization": ("Box A", "Box B"),
    "Relative_Depth": ("A is closer", "B is closer"),
    "Relative_Reflectance": ("A is darker", "B is darker", "About the same"),
    "Semantic_Correspondence": POINTS,
    "Spatial_Relation": ("yes", "no"),
    "Visual_Correspondence": POINTS,
    "Visual_Similarity": TWO_IMAGES,
}
MOST_IMAGES = MOST_CHOICES = 4

Parser = Callable[[str, Sequence[str]], int | None]
Ask = Callable[["Question"], tuple[str, Sequence[float]]]


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        idx: its name, such as `val_Counting_1`.
        task: of `TASKS`.
        question: without its choices.
        images: files as bytes, one to four.
        choices: in the order shown.
        answer: the place of the right one; None where it is hidden.
        order: the published place of each choice shown.
    """

    idx: str
    task: str
    question: str
    images: tuple[bytes, ...]
    choices: tuple[str, ...]
    answer: int | None
    order: tuple[int, ...]

    @property
    def prompt(self) -> str:
        """The question with its choices by letter, and how to answer."""
        listed = "\n".join(f"({LETTERS[place]}) {choice}" for place, choice in enumerate(self.choices))
        return f"{self.question}\nSelect from the following choices.\n{listed}\nAnswer with the letter of the choice."

    def published(self, place: int | None) -> str:
        """What the published letter of a shown choice is, `(A)`; `(Z)` where none was read."""
        return "(Z)" if place is None else f"({LETTERS[self.order[place]]})"


def read(path: Path) -> list[Question]:
    """Questions of a parquet, JSON or JSONL file in BLINK's layout.

    Raises:
        StudyError: a column is missing, a task is unknown, or an answer is none of the choices.
    """
    return [_question(row, path) for row in _rows(path)]


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(64):  # never all pictures at once
            yield from batch.to_pylist()
    elif path.suffix == ".jsonl":
        yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    else:
        yield from json.loads(path.read_text(encoding="utf-8"))


def _question(row: Mapping[str, Any], path: Path) -> Question:
    needed = ("idx", "question", "sub_task", "image_1", "choices", "answer")
    if missing := [name for name in needed if name not in row]:
        raise StudyError(f"{path.name}: no column {missing[0]!r}; BLINK has {', '.join(needed)}, image_2 to image_4")
    if (task := row["sub_task"].replace(" ", "_")) not in TASKS:
        raise StudyError(f"{path.name}: {row['idx']} has sub_task {row['sub_task']!r}, none of {', '.join(TASKS)}")
    images = (row.get(f"image_{number}") for number in range(1, MOST_IMAGES + 1))
    held = tuple(_bytes(image, path) for image in images if image is not None)
    choices = tuple(str(choice) for choice in row["choices"])
    answer = _place(row["answer"], len(choices), f"{path.name}: {row['idx']}")
    return Question(row["idx"], task, row["question"], held, choices, answer, tuple(range(len(choices))))


def _bytes(image: Any, path: Path) -> bytes:
    """A picture as it is kept: bytes, a record of bytes (as the datasets library writes), or the name of a file."""
    if isinstance(image, Mapping):
        image = image.get("bytes") or image["path"]
    return image if isinstance(image, bytes) else (path.parent / image).read_bytes()


def _place(answer: str, count: int, told: str) -> int | None:
    if answer == "hidden":
        return None
    match = re.match(r"\(([A-Z])\)", answer)
    if not match or match[1] not in LETTERS[:count]:
        raise StudyError(f"{told} has answer {answer!r}, none of {count} choices from (A)")
    return LETTERS.index(match[1])


def shuffled(question: Question, seed: int) -> Question:
    """The question with its choices in an order drawn from its name and `seed`."""
    rng = np.random.default_rng([seed, *question.idx.encode()])
    order = [int(place) for place in rng.permutation(len(question.choices))]
    return replace(
        question,
        choices=tuple(question.choices[place] for place in order),
        order=tuple(question.order[place] for place in order),
        answer=None if question.answer is None else order.index(question.answer),
    )


def likeliest(likelihood_C: Sequence[float]) -> int:
    """The choice with the largest log-likelihood of its whole text, end of turn included."""
    return int(np.argmax(likelihood_C))


def score(task: Sequence[str], right: Sequence[bool], abstained: Sequence[bool] | None = None) -> pd.DataFrame:
    """Accuracy by task in percent, with what could not have been seen, and their unweighted mean as `mean`.

    Returns:
        Columns `task, n, accuracy, half_width` (of the 95 % interval, in points) and `abstained`, where it is given.
    """
    table = pd.DataFrame({"task": task, "right": right, "abstained": [False] * len(right)})
    if abstained is not None:
        table["abstained"] = abstained
    by_task = table.groupby("task")[["right", "abstained"]].agg(["mean", "size"])
    rows = [
        (str(name), int(row["right", "size"]), 100 * row["right", "mean"], 100 * row["abstained", "mean"])
        for name, row in by_task.iterrows()
    ]
    widths = [100 * half_width(accuracy / 100, n) for _, n, accuracy, _ in rows]
    spread = float(np.sqrt(np.sum(np.square(widths)))) / len(rows)  # of a mean of independent tasks
    done = pd.DataFrame(rows, columns=["task", "n", "accuracy", "abstained"])
    mean = {"task": "mean", "n": done["n"].sum(), "accuracy": done["accuracy"].mean()}
    mean["abstained"] = done["abstained"].mean()
    done["half_width"] = widths
    return pd.concat([done, pd.DataFrame([{**mean, "half_width": spread}])], ignore_index=True)


def score_answers(questions: Sequence[Question], places: Sequence[int | None]) -> pd.DataFrame:
    """`score` of the choices that a method took (None: it abstained).

    Raises:
        StudyError: an answer is hidden, as all of `test` are.
    """
    if hidden := [question.idx for question in questions if question.answer is None]:
        raise StudyError(f"{len(hidden)} answers are hidden ({hidden[0]}, ...): score the questions of `val`")
    right = [place == question.answer for question, place in zip(questions, places, strict=True)]
    return score([question.task for question in questions], right, [place is None for place in places])


def evaluate(questions: Sequence[Question], ask: Ask, seed: int = 0) -> pd.DataFrame:
    """Ask a model all questions, their choices shuffled, and score it both ways.

    Args:
        questions: of `read`, with answers.
        ask: the model: a question -> its free answer and the log-likelihood of every choice shown.
        seed: of the order of choices.

    Returns:
        Columns `task, n, likeliest, parsed` (accuracies in percent), `half_width` (of the first), `abstained` and
        `first` (how often the first choice shown was the likeliest, in percent: chance, unless a model favours it).
    """
    shown = [shuffled(question, seed) for question in questions]
    said = [ask(question) for question in shown]
    taken = [likeliest(likelihood_C) for _, likelihood_C in said]
    by_words = score_answers(shown, [parse(text, one.choices) for (text, _), one in zip(said, shown, strict=True)])
    table = score_answers(shown, list(taken)).rename(columns={"accuracy": "likeliest"})
    first = score([question.task for question in shown], [place == 0 for place in taken])
    return table.assign(parsed=by_words["accuracy"], abstained=by_words["abstained"], first=first["accuracy"])[
        ["task", "n", "likeliest", "parsed", "half_width", "abstained", "first"]
    ]


def outputs(folder: Path, split: str = "val") -> pd.DataFrame:
    """One model's published answers to `val` or `test`: columns `task, idx, answer, full_prediction, prediction`.

    What was read from an answer (`prediction`) is told of `test` as well, where only the right answers are hidden.
    """
    rows = []
    for path in sorted(folder.glob("*.json")):
        task = path.stem.replace(" ", "_")
        rows += [{"task": task, **row} for row in json.loads(path.read_text(encoding="utf-8"))[split]]
    if not rows:
        raise StudyError(f"no published outputs in {folder.name}: expected files such as Counting.json")
    return pd.DataFrame(rows)


def agreement(answers: pd.DataFrame, parser: Parser, words: bool = True) -> dict[str, float]:
    """Shares of published `outputs` that a parser reads as they were read for the paper.

    Args:
        answers: of `outputs`, of one model or several.
        parser: answer, choices -> place, or None.
        words: tell it the choices' own words, where a task has the same in every question; else letters alone.

    Returns:
        `agrees`: the same letter, or none where `(Z)`, none, was read; `named`: the same letter, abstaining counts as
        wrong; `abstains`.
    """
    four = tuple(LETTERS[:MOST_CHOICES])
    choices = [(TASKS[task] if words else ()) or four for task in answers["task"]]
    read_as = [parser(text, shown) for text, shown in zip(answers["full_prediction"], choices, strict=True)]
    known = [LETTERS[:MOST_CHOICES].find(prediction[1]) for prediction in answers["prediction"]]
    same = np.array([(-1 if place is None else place) == letter for place, letter in zip(read_as, known, strict=True)])
    none = np.array([place is None for place in read_as])
    return {"agrees": same.mean(), "named": (same & ~none).mean(), "abstains": none.mean()}
