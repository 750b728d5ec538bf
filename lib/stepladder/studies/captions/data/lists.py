"""Lists of pictures: parquet, csv, tsv and jsonl files with a column of addresses and one of texts, read in pieces.

Decisions:
- A list is never read whole: parquet by pieces of its row groups and only the columns asked for, the others line by
  line. Memory is that of a piece, whatever the length.
- Columns go by DataComp's names; `NAMES` says which other names are taken for them, in that order, in any case. Columns
  of other names keep theirs. Without an address and a text a list is refused, and the error names what it has.
- CC12M and CC3M come without a header: where the first line of a csv or tsv is an address and one more field, that is
  what its columns are. A tsv has no quotes, as theirs have none.
- Broken lines are counted by kind in `broken`; who passes no counter gets an error that names the first one. Text that
  is no UTF-8 keeps its row, with the unreadable bytes marked; a line of another width or half a JSON object loses it.
- A parquet file that is cut or damaged is an error that names it: what else it would have held nobody knows.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stepladder.core.types import StudyError

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl")
PIECE = 1 << 15  # rows of a batch
BLOCK = 16 << 20  # bytes of a csv that are parsed at once; also the longest quoted field

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
OTHER_LAYOUTS = ({"identifier", "sentence"},)  # columns of files that are no lists: NLVR's statements

NOT_UTF8, RAGGED, HALF, NO_NUMBER = "not UTF-8", "of another width", "no JSON object", "no number"
UNCLOSED = "of a quote that is not closed"
SWALLOWED = r"\n[^\n]*https?://"  # in a field of a csv: the lines after a quote that is not closed


def find(raw: Sequence[Path]) -> list[Path]:
    """The lists at or below `raw`, in order of their paths.

    Raises:
        StudyError: one of them cannot be opened.
    """
    files = [path for place in raw for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return [path for path in files if path.suffix.lower() in ENDINGS and path.is_file() and _is_list(path)]


def _is_list(path: Path) -> bool:
    return not any(layout <= set(_own_columns(path)) for layout in OTHER_LAYOUTS)


def columns(path: Path) -> dict[str, str]:
    """What a list has: name here -> name in the file, `url` and `text` first.

    Raises:
        StudyError: it cannot be read, or has no address or text; it names the columns there are.
    """
    own = _own_columns(path)
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
        path: a file with one of `ENDINGS`.
        wanted: names of columns as in `columns`; those that the list lacks are left out. None: all there are.
        broken: takes the number of broken lines and values by kind; without it the first one is an error.

    Yields:
        Batches of at most `PIECE` rows. Strings have no nulls but `url`, sizes and scores are numbers or null,
        `face_bboxes` lists of lists of four numbers (x0, y0, x1, y1 as shares of the sides) or null.

    Raises:
        StudyError: the file is cut or damaged, has no address or text, or a broken line that nobody counts.
    """
    known = columns(path)
    taken = {name: own for name, own in known.items() if wanted is None or name in wanted}
    counted: Counter[str] = Counter()
    for batch in _READERS[path.suffix.lower()](path, taken, counted):
        names = list(taken)
        arrays = [_normal(name, batch.column(own), counted) for name, own in taken.items()]
        _tell(path, counted, broken)
        yield pa.RecordBatch.from_arrays(arrays, names=names)
    _tell(path, counted, broken)


def _tell(path: Path, counted: Counter[str], broken: Counter[str] | None) -> None:
    """Hand what was counted to the caller, or refuse it."""
    if broken is None and counted:
        kind, count = next(iter(counted.items()))
        raise StudyError(f"{path}: {count} rows or values are {kind}; mend them, or pass a counter for them")
    if broken is not None:
        broken.update(counted)
        counted.clear()


# Readers of the four formats -----------------------------------------------------------------------------------------


def _own_columns(path: Path) -> list[str]:
    """The names of the columns as the file has them."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _opened(path).schema_arrow.names
    if ending == ".jsonl":
        first = next(_objects(path, Counter()), {})
        return list(first)
    return _header(path)[0]


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # what is read ahead stays in memory as long as the file is open
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{path}: no whole parquet file ({_first_line(error)}); fetch it again") from error


def _parquet(path: Path, taken: dict[str, str], counted: Counter[str]) -> Iterator[pa.RecordBatch]:
    with _opened(path) as file:
        done = 0
        pieces = file.iter_batches(PIECE, columns=list(taken.values()), use_threads=False)
        while True:
            try:
                batch = next(pieces, None)
            except (pa.ArrowException, OSError) as error:
                raise StudyError(
                    f"{path}: damaged after row {done:,} of {file.metadata.num_rows:,} ({_first_line(error)}); fetch "
                    "it again"
                ) from error
            if batch is None:
                return
            done += batch.num_rows
            yield batch


def _csv(path: Path, taken: dict[str, str], counted: Counter[str]) -> Iterator[pa.RecordBatch]:
    header, headed = _header(path)
    tabs = path.suffix.lower() == ".tsv"

    def ragged(row: pa_csv.InvalidRow) -> str:
        counted[RAGGED] += 1
        return "skip"

    parse = pa_csv.ParseOptions(
        delimiter="\t" if tabs else ",",
        quote_char=False if tabs else '"',
        newlines_in_values=not tabs,
        invalid_row_handler=ragged,
    )
    read = pa_csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=header, skip_rows=int(headed))
    types = {name: pa.binary() for name in header}
    convert = pa_csv.ConvertOptions(column_types=types, include_columns=list(taken.values()), check_utf8=False)
    try:
        with pa_csv.open_csv(path, read, parse, convert) as reader:
            for batch in reader:
                yield from _cut(_closed(batch, counted))
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return  # a header and nothing else
        raise StudyError(f"{path}: {_first_line(error)}; a quote that is not closed reads like this") from error


def _closed(batch: pa.RecordBatch, counted: Counter[str]) -> pa.RecordBatch:
    """A batch without the rows that swallowed others because a quote of theirs is not closed."""
    swallowing = pa.array([False] * batch.num_rows)
    for column in batch.columns:
        swallowing = pc.or_(swallowing, pc.fill_null(pc.match_substring_regex(column, SWALLOWED), False))
    if found := pc.sum(swallowing).as_py():
        counted[UNCLOSED] += found
        return batch.filter(pc.invert(swallowing))
    return batch


def _header(path: Path) -> tuple[list[str], bool]:
    """Names of a csv's or tsv's columns, and whether they stand in its first line."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        quotes = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        fields = next(csv.reader(file, delimiter=delimiter, quoting=quotes), [])
    addresses = [field.startswith(("http://", "https://")) for field in fields]
    if len(fields) == 2 and sum(addresses) == 1:
        return [("url" if address else "text") for address in addresses], False
    return fields, True


def _jsonl(path: Path, taken: dict[str, str], counted: Counter[str]) -> Iterator[pa.RecordBatch]:
    names = list(taken.values())
    kinds = {own: _json_type(name) for name, own in taken.items()}
    piece: list[dict[str, Any]] = []

    def batch() -> pa.RecordBatch:
        arrays = [pa.array([_json_value(kinds[name], row.get(name)) for row in piece], kinds[name]) for name in names]
        piece.clear()
        return pa.RecordBatch.from_arrays(arrays, names=names)

    for row in _objects(path, counted):
        piece.append(row)
        if len(piece) == PIECE:
            yield batch()
    if piece:
        yield batch()


def _objects(path: Path, counted: Counter[str]) -> Iterator[dict[str, Any]]:
    """The objects of a jsonl file; what is none is counted."""
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError:
                text = line.decode(errors="replace")
                counted[NOT_UTF8] += 1
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row
            else:
                counted[HALF] += 1


def _json_type(name: str) -> pa.DataType:
    return pa.list_(pa.list_(pa.float64())) if name == BOXES else pa.string()


def _json_value(kind: pa.DataType, value: Any) -> Any:
    """A value as text, or as boxes; what is neither text nor a box is written as JSON."""
    if pa.types.is_list(kind):
        return _boxes(value)
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "replace").decode()  # lone surrogates of JSON
    return json.dumps(value)


_READERS = {".parquet": _parquet, ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl}


# What all have in common ---------------------------------------------------------------------------------------------


def _cut(batch: pa.RecordBatch) -> Iterable[pa.RecordBatch]:
    return (batch.slice(start, PIECE) for start in range(0, batch.num_rows, PIECE))


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
            return pa.array([_boxes(value) for value in column.to_pylist()], pa.list_(pa.list_(pa.float64())))
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


def _boxes(value: Any) -> list[list[float]] | None:
    """Boxes of faces, of a list or its JSON text; None where there are none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, list):
        return None
    return [[float(side) for side in box] for box in value if isinstance(box, list) and len(box) == 4]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
