"""The four formats of lists, read in pieces: parquet by row groups, csv and tsv by blocks, jsonl by lines.

Decisions:
- A list is never read whole: memory is that of a piece, whatever the length, and of parquet only the columns asked for.
- Columns keep the names and values of the file; all but those of parquet are text. `lists` gives them meaning.
- CC12M and CC3M come without a header: where the first line of a csv or tsv is an address and one more field, that is
  what its columns are. A tsv has no quotes, as theirs have none.
- Broken lines are counted by kind. Text that is no UTF-8 keeps its row (`lists` mends it); a line of another width or
  half a JSON object loses it, and so does a csv's row that swallowed others because a quote of its is not closed.
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

NOT_UTF8, RAGGED, HALF, UNCLOSED = "not UTF-8", "of another width", "no JSON object", "of a quote that is not closed"
SWALLOWED = r"\n[^\n]*https?://"  # in a field of a csv: the lines after a quote that is not closed


def names(path: Path) -> list[str]:
    """The names of the columns as the file has them.

    Raises:
        StudyError: no whole parquet file.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _opened(path).schema_arrow.names
    return list(next(_objects(path, Counter()), {})) if ending == ".jsonl" else _header(path)[0]


def read(path: Path, columns: Sequence[str], counted: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Batches of at most `PIECE` rows with these columns; broken lines are added to `counted`.

    Raises:
        StudyError: the file is cut or damaged.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path, columns)
    return _jsonl(path, columns, counted) if ending == ".jsonl" else _csv(path, columns, counted)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # what is read ahead stays in memory as long as the file is open
    except (pa.ArrowException, OSError) as error:
        raise StudyError(f"{path}: no whole parquet file ({_first_line(error)}); fetch it again") from error


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _opened(path) as file:
        done = 0
        pieces = file.iter_batches(PIECE, columns=list(columns), use_threads=False)
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


def _csv(path: Path, columns: Sequence[str], counted: Counter[str]) -> Iterator[pa.RecordBatch]:
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
    convert = pa_csv.ConvertOptions(column_types=types, include_columns=list(columns), check_utf8=False)
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


def _jsonl(path: Path, columns: Sequence[str], counted: Counter[str]) -> Iterator[pa.RecordBatch]:
    piece: list[dict[str, Any]] = []

    def batch() -> pa.RecordBatch:
        arrays = [pa.array([_as_text(row.get(name)) for row in piece], pa.string()) for name in columns]
        piece.clear()
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

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


def _as_text(value: Any) -> str | None:
    """A text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # JSON knows halves of characters
    return None if value is None else json.dumps(value)


def _cut(batch: pa.RecordBatch) -> Iterable[pa.RecordBatch]:
    return (batch.slice(start, PIECE) for start in range(0, batch.num_rows, PIECE))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
