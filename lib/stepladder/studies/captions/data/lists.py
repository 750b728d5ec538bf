"""Lists of pictures: parquet, csv, tsv and jsonl files with a column of addresses and one of texts, read in pieces.

Decisions:
- Columns go by DataComp's names; `NAMES` says which other names are taken for them, in that order, in any case. Columns
  of other names keep theirs. Without an address and a text a list is refused, and the error names what it has.
- What is broken is counted by kind in `broken` (see `formats`); who passes no counter gets an error that names the
  first one. Nothing is left out unseen.
- Files of statements that may be false (NLVR, VSR) are no lists, though they have texts: half are no captions.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import formats
from stepladder.studies.captions.data.formats import ENDINGS, NOT_UTF8

NAMES = {
    "url": ("url", "image_url", "img_url", "image_link", "link", "src"),
    "text": ("text", "caption", "txt", "alt", "alt_text", "title", "description"),
    "uid": ("uid", "key", "sample_id"),
    "original_width": ("original_width", "width"),
    "original_height": ("original_height", "height"),
    "clip_b32_similarity_score": ("clip_b32_similarity_score", "clip_similarity_vitb32", "similarity"),
    "clip_l14_similarity_score": ("clip_l14_similarity_score", "clip_similarity_vitl14"),
    "face_bboxes": ("face_bboxes", "bboxes"),
    "sha256": ("sha256", "sha256hash"),
}
NUMBERS = ("original_width", "original_height", "clip_b32_similarity_score", "clip_l14_similarity_score")
BOXES = "face_bboxes"
OTHER_LAYOUTS = (  # columns of files that are no lists: NLVR's and VSR's statements, which may be false
    {"sentence", "label", "image", "identifier"},
    {"caption", "label", "image", "relation"},
)

NO_NUMBER, NO_BOXES = "no number", "no boxes of faces"


def find(raw: Sequence[Path]) -> list[Path]:
    """The lists at or below `raw`, in order of their paths.

    Raises:
        StudyError: one of them cannot be opened.
    """
    files = [path for place in raw for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return [path for path in files if path.suffix.lower() in ENDINGS and path.is_file() and _is_list(path)]


def _is_list(path: Path) -> bool:
    return not any(layout <= set(formats.names(path)) for layout in OTHER_LAYOUTS)


def columns(path: Path) -> dict[str, str]:
    """What a list has: name here -> name in the file, `url` and `text` first.

    Raises:
        StudyError: it cannot be read, or has no address or text; it names the columns there are.
    """
    own = formats.names(path)
    lower = {name.lower(): name for name in reversed(own)}
    found = {}
    for name, others in NAMES.items():
        if known := next((lower[other] for other in others if other in lower), None):
            found[name] = known
    for name, what in (("url", "addresses"), ("text", "texts")):
        if name not in found:
            raise StudyError(
                f"{path}: no column of {what} among {', '.join(own) or 'no columns at all'}; call it one of "
                f"{', '.join(NAMES[name])} (in a csv or tsv: in its first line), or take the file away"
            )
    return found | {name: name for name in own if name not in found.values() and name not in found}


def rows(
    path: Path, wanted: Sequence[str] | None = None, broken: Counter[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a list in its order, in batches.

    Args:
        path: a file with one of `formats.ENDINGS`.
        wanted: names of columns as in `columns`; those that the list lacks are left out. None: all there are.
        broken: takes the number of broken lines and values by kind; without it the first one is an error.

    Yields:
        Batches of at most `formats.PIECE` rows. Strings have no nulls but `url`, sizes and scores are numbers or null,
        `face_bboxes` lists of lists of four numbers (x0, y0, x1, y1 as shares of the sides) or null.

    Raises:
        StudyError: the file is cut or damaged, has no address or text, or a broken line that nobody counts.
    """
    known = columns(path)
    taken = {name: own for name, own in known.items() if wanted is None or name in wanted}
    counted: Counter[str] = Counter()
    for batch in formats.read(path, list(taken.values()), counted):
        arrays = [_normal(name, batch.column(own), counted) for name, own in taken.items()]
        _tell(path, counted, broken)
        yield pa.RecordBatch.from_arrays(arrays, names=list(taken))
    _tell(path, counted, broken)


def _tell(path: Path, counted: Counter[str], broken: Counter[str] | None) -> None:
    """Hand what was counted to the caller, or refuse it."""
    found = +counted
    counted.clear()
    if broken is not None:
        broken.update(found)
    elif found:
        kind, count = next(iter(found.items()))
        raise StudyError(f"{path}: {count} rows or values are {kind}; mend them, or pass a counter for them")


def _normal(name: str, column: pa.Array, counted: Counter[str]) -> pa.Array:
    """A column in the type that its name has here."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    textual = textual or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    if textual:
        column = _text(column, counted)
        if name in NUMBERS:
            return _numbers(column, counted)
        if name == BOXES:
            return _all_boxes(column, counted)
        return column if name == "url" else pc.fill_null(column, "")
    if name in ("url", "text", "uid", "sha256"):
        return pc.fill_null(column.cast(pa.string()), "")
    return column


def _text(column: pa.Array, counted: Counter[str]) -> pa.Array:
    """Strings; bytes that are no UTF-8 become U+FFFD and their row is counted."""
    try:
        strings = column.cast(pa.string()) if not pa.types.is_string(column.type) else column
        strings.validate(full=True)
    except pa.ArrowInvalid:
        values = column.cast(pa.binary()).to_pylist()
        repaired = [None if value is None else value.decode(errors="replace") for value in values]
        counted[NOT_UTF8] += sum(
            was is not None and now is not None and now.encode() != was
            for was, now in zip(values, repaired, strict=True)
        )
        return pa.array(repaired, pa.string())
    return strings


def _numbers(column: pa.Array, counted: Counter[str]) -> pa.Array:
    """Numbers of texts; empty ones are null, and so is what is no number, which is counted."""
    trimmed = pc.utf8_trim_whitespace(column)
    bare = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
    try:
        return pc.cast(bare, pa.float64())
    except pa.ArrowInvalid:
        values = [_number(value) for value in bare.to_pylist()]
        counted[NO_NUMBER] += sum(v is None for v in values) - bare.null_count
        return pa.array(values, pa.float64())


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _all_boxes(column: pa.Array, counted: Counter[str]) -> pa.Array:
    """Boxes of the JSON texts of a column; a text that holds none is null and counted."""
    texts = column.to_pylist()
    boxes = [_boxes(text) for text in texts]
    counted[NO_BOXES] += sum(box is None and bool(text) for box, text in zip(boxes, texts, strict=True))
    return pa.array(boxes, pa.list_(pa.list_(pa.float64())))


def _boxes(text: str | None) -> list[list[float]] | None:
    """Boxes of faces of their JSON text; None where there are none."""
    try:
        boxes = [[float(side) for side in box] for box in json.loads(text or "")]
    except (ValueError, TypeError, RecursionError):
        return None
    return boxes if all(len(box) == 4 for box in boxes) else None
