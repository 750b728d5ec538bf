"""Which rows of a list are asked for: steps in a fixed order, each of which a row passes or not.

Decisions:
- A row falls at the first step it does not pass, so the funnel adds up. The order is that of cost: what a row says of
  itself, then whether it was seen before, then the cap. Of equal rows the first that passes the steps before is kept.
- `basic` is the basic filter of DataComp's paper as its code has it (`baselines/apply_filter.py`): English, more than 2
  words, more than 5 characters, smallest side of 200 and more, sides within 3 to 1. Its language test is `english`.
- A step that needs a column which a list lacks is refused: a threshold that silently lets all pass is none. A row whose
  value is not told does not pass.
- Duplicates by `uid`, `url` and `sha256` always fall, where a list has these columns (`seen`: bounded memory).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import lists
from stepladder.studies.captions.data.english import english
from stepladder.studies.captions.data.seen import WORDS, Seen
from stepladder.studies.captions.params import CaptionsParams

WORDS_BASIC, LETTERS_BASIC, SIDE_BASIC, ASPECT_BASIC = 2, 5, 200, 3.0
SIDES = ("original_width", "original_height")
SCORE = "clip_l14_similarity_score"
KEYS = ("uid", "url", "sha256")
ADDRESS, NEW, CAP = "an address", "new {}", "the first {:,}"


@dataclass(frozen=True)
class Step:
    """One question asked of every row.

    Attributes:
        name: what the rows that pass have.
        needs: the columns it reads.
        passes: batch -> (N,) bool.
        way_out: what to set where a list lacks a column.
    """

    name: str
    needs: tuple[str, ...]
    passes: Callable[[pa.RecordBatch], np.ndarray]
    way_out: str = ""


def steps(params: CaptionsParams) -> list[Step]:
    """What is asked of a row for itself, in order."""
    data, basic = params.data, params.data.basic
    and_basic = " and data.basic" if basic else ""
    least = max(data.least_side, SIDE_BASIC if basic else 0)
    shapes = [value for value in (data.most_aspect, ASPECT_BASIC if basic else None) if value is not None]
    score = -np.inf if data.least_clip is None else data.least_clip
    most = min(shapes, default=np.inf)
    asked = (
        (True, Step(ADDRESS, ("url",), _has_address)),
        (basic or data.english, Step("English", ("text",), lambda rows: english(rows["text"]))),
        (basic, Step(f"more than {WORDS_BASIC} words", ("text",), lambda rows: words(rows) > WORDS_BASIC)),
        (
            basic,
            Step(f"more than {LETTERS_BASIC} characters", ("text",), lambda rows: characters(rows) > LETTERS_BASIC),
        ),
        (
            least > 0,
            Step(
                f"{least} pixels a side", SIDES, lambda rows: least_side(rows) >= least, f"data.least_side{and_basic}"
            ),
        ),
        (
            bool(shapes),
            Step(f"sides within {most:g}:1", SIDES, lambda rows: aspect(rows) <= most, f"data.most_aspect{and_basic}"),
        ),
        (
            data.least_clip is not None,
            Step(f"CLIP L/14 of {score:g}", (SCORE,), lambda rows: numbers(rows, SCORE) >= score, "data.least_clip"),
        ),
    )
    return [step for is_asked, step in asked if is_asked]


# What a row says of itself -------------------------------------------------------------------------------------------


def words(rows: pa.RecordBatch) -> np.ndarray:
    """(N,) words of the texts, divided by white space as Python divides them."""
    return pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(rows["text"]))).to_numpy()


def characters(rows: pa.RecordBatch) -> np.ndarray:
    """(N,) characters of the texts."""
    return pc.utf8_length(rows["text"]).to_numpy()


def least_side(rows: pa.RecordBatch) -> np.ndarray:
    """(N,) the smaller side in pixels; nan where it is not told."""
    return np.minimum(*(numbers(rows, name) for name in SIDES))


def aspect(rows: pa.RecordBatch) -> np.ndarray:
    """(N,) the larger side over the smaller one; nan where one is not told, or none."""
    short, long = least_side(rows), np.maximum(*(numbers(rows, name) for name in SIDES))
    return np.divide(long, short, out=np.full(len(short), np.nan), where=short > 0)


def numbers(rows: pa.RecordBatch, name: str) -> np.ndarray:
    """(N,) a column of numbers; nan where there is none."""
    return pc.cast(rows[name], pa.float64()).to_numpy(zero_copy_only=False)


def _has_address(rows: pa.RecordBatch) -> np.ndarray:
    return pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(rows["url"]), ""), False).to_numpy(zero_copy_only=False)


# Sifting -------------------------------------------------------------------------------------------------------------


class Sieve:
    """The steps over lists, one batch after the other; `left` counts the rows that were left after each."""

    def __init__(self, params: CaptionsParams, words: int = WORDS):
        self.params, self.steps, self.seen = params, steps(params), Seen(words)
        self.names = ["in the list", *(step.name for step in self.steps), *(NEW.format(key) for key in KEYS)]
        self.names += [CAP.format(params.data.rows)] if params.data.rows else []
        self.left = np.zeros(len(self.names), np.int64)

    @property
    def full(self) -> bool:
        """Whether the cap is reached, so that no further row can pass."""
        return bool(self.params.data.rows and self.left[-1] >= self.params.data.rows)

    def needs(self, path: Path) -> set[str]:
        """The columns of a list that deciding takes.

        Raises:
            StudyError: it lacks one that a filter needs.
        """
        there = lists.columns(path)
        for step in self.steps:
            if lost := [name for name in step.needs if name not in there]:
                raise StudyError(
                    f"{path}: the filter {step.name!r} needs the column {lost[0]}, and there are "
                    f"{', '.join(there)}; leave out {step.way_out}"
                )
        return {name for step in self.steps for name in step.needs} | (set(KEYS) & set(there))

    def passes(self, rows: pa.RecordBatch) -> np.ndarray:
        """(N,) which rows of the next batch pass every step."""
        alive, left = np.ones(rows.num_rows, bool), [rows.num_rows]
        for step in self.steps:
            alive &= step.passes(rows)
            left.append(int(alive.sum()))
        keys = [key for key in KEYS if key in rows.schema.names]
        for key in KEYS:
            if key in keys:
                alive &= ~self.seen.before(rows[key], key, alive)
            left.append(int(alive.sum()))
        for key in keys:
            self.seen.add(rows[key], key, alive)
        if self.params.data.rows:
            alive &= np.cumsum(alive) <= self.params.data.rows - self.left[-1]
            left.append(int(alive.sum()))
        self.left += left
        return alive


def chosen(
    paths: Sequence[Path], params: CaptionsParams, broken: Counter[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows to ask for, in the order of the lists, with all columns they have; the same whenever it is asked.

    Args:
        paths: lists, in their order.
        params: of which `data` says the filters.
        broken: takes the number of broken lines by kind, as of `lists.rows`; None leaves them out unseen, for who has
            shown the funnel.

    Raises:
        StudyError: as of `lists.rows` and `Sieve.needs`.
    """
    sieve, counted = Sieve(params), Counter[str]() if broken is None else broken
    for path in paths:
        sieve.needs(path)
        for rows in lists.rows(path, broken=counted):
            if sieve.full:
                return
            yield from rows.filter(pa.array(sieve.passes(rows))).to_pylist()
