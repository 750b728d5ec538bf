"""What is known of lists before anything moves: one pass over their columns, counting.

Decisions:
- Every figure is of two things at once: all rows of the lists, and those that pass the filters, which are asked for.
- Nothing here grows with the lists. Hosts are counted exactly up to `HOSTS` of them at once; beyond that after Misra
  and Gries (1982), merged as by Agarwal et al. (2012): a count is too small by no more than `hosts_error`. How many
  hosts there are is estimated by linear counting (Whang et al., 1990), within 1 % up to ten million.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stepladder.studies.captions.data import filters, lists
from stepladder.studies.captions.data.seen import WORDS
from stepladder.studies.captions.params import CaptionsParams

HOSTS = 100_000  # counted at once
MARKS = 1 << 24  # places in which hosts leave a mark, one byte each
HOST = r"^\s*[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@\\]*@)?(?P<host>[^/?#:\\]+)"
CLIP_B, CLIP_L = "clip_b32_similarity_score", filters.SCORE

EDGES: Mapping[str, np.ndarray] = {
    "CLIP L/14 similarity": np.linspace(0, 0.5, 51),
    "CLIP B/32 similarity": np.linspace(0, 0.5, 51),
    "smaller side (pixels)": np.geomspace(16, 8192, 55),
    "longer side over shorter": np.geomspace(1, 10, 41),
    "words of the text": np.arange(0, 51) - 0.5,
    "characters of the text": np.geomspace(1, 2048, 45),
}


@dataclass(frozen=True)
class Funnel:
    """What one pass over lists counted.

    Attributes:
        steps: table of `step, left, lost, share`: rows left after each step, lost at it, left as a share of all.
        hosts: table of `host, rows`, of the rows that are asked for, most first.
        hosts_error: rows by which a count of `hosts` may be too small.
        distinct_hosts: estimated number of hosts that are asked.
        histograms: name of `EDGES` -> counts (2, bins): of all rows, and of those that are asked for. Values outside
            are in the first and the last bin; rows that do not tell are in none.
        with_faces: rows asked for that name boxes of faces.
        broken: broken lines and values by kind.
        false_duplicates: share of new rows that the last of the list lost for a duplicate without being one.
        columns: the columns that every list has.
    """

    steps: pd.DataFrame
    hosts: pd.DataFrame
    hosts_error: int
    distinct_hosts: int
    histograms: Mapping[str, np.ndarray]
    with_faces: int
    broken: Mapping[str, int]
    false_duplicates: float
    columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of the lists."""
        return int(self.steps["left"].iloc[0])

    @property
    def asked(self) -> int:
        """Rows that pass every step."""
        return int(self.steps["left"].iloc[-1])


def funnel(paths: Sequence[Path], params: CaptionsParams, words: int = WORDS) -> Funnel:
    """One pass over lists.

    Args:
        paths: lists, in their order.
        params: of which `data` says the filters.
        words: memory for duplicates, in words of 8 bytes.

    Raises:
        StudyError: as of `lists.rows` and `filters.Sieve.needs`.
    """
    sieve, hosts, broken = filters.Sieve(params, words), Hosts(), Counter[str]()
    histograms = {name: np.zeros((2, len(edges) - 1), np.int64) for name, edges in EDGES.items()}
    faces, common = 0, [lists.columns(path) for path in paths]
    for path in paths:
        wanted = {"url", "text", *filters.SIDES, CLIP_B, CLIP_L, lists.BOXES, *sieve.needs(path)}
        for rows in lists.rows(path, sorted(wanted), broken):
            passes_N = sieve.passes(rows)
            for name, values in measured(rows).items():
                histograms[name] += binned(values, EDGES[name], passes_N)
            asked = rows.filter(pa.array(passes_N))
            hosts.add(host(asked["url"]))
            faces += _with_faces(asked)
    return Funnel(
        steps=_table(sieve, {name for one in common for name in one}),
        hosts=hosts.table(),
        hosts_error=hosts.error,
        distinct_hosts=hosts.distinct(),
        histograms={name: counts for name, counts in histograms.items() if counts.any()},
        with_faces=faces,
        broken=dict(broken),
        false_duplicates=sieve.seen.false_rate(),
        columns=tuple(name for name in (common[0] if common else ()) if all(name in one for one in common)),
    )


def _table(sieve: filters.Sieve, there: set[str]) -> pd.DataFrame:
    """What was left after each step; without looking for duplicates by a column that no list has."""
    left = sieve.left
    table = pd.DataFrame({"step": sieve.names, "left": left, "lost": np.concatenate([[0], left[:-1] - left[1:]])})
    idle = [filters.NEW.format(key) for key in filters.KEYS if key not in there]
    return table.assign(share=left / max(left[0], 1))[~table["step"].isin(idle)].reset_index(drop=True)


def measured(rows: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Name of `EDGES` -> (N,) value of every row, nan where it is not told; without what the list does not have."""
    found = {"words of the text": filters.words(rows), "characters of the text": filters.characters(rows)}
    if set(filters.SIDES) <= set(rows.schema.names):
        found["smaller side (pixels)"] = filters.least_side(rows)
        found["longer side over shorter"] = filters.aspect(rows)
    for name, column in (("CLIP L/14 similarity", CLIP_L), ("CLIP B/32 similarity", CLIP_B)):
        if column in rows.schema.names:
            found[name] = filters.numbers(rows, column)
    return found


def binned(values_N: np.ndarray, edges_E: np.ndarray, passes_N: np.ndarray) -> np.ndarray:
    """(2, E - 1) values in each bin: all of them, and those that pass; the outer bins reach to infinity."""
    told_N = ~np.isnan(values_N)
    bin_N = np.searchsorted(edges_E[1:-1], values_N, side="right")
    return np.stack([np.bincount(bin_N[of_N], minlength=len(edges_E) - 1) for of_N in (told_N, told_N & passes_N)])


def _with_faces(rows: pa.RecordBatch) -> int:
    if lists.BOXES not in rows.schema.names or not rows.num_rows:
        return 0
    return int(pc.sum(pc.greater(pc.list_value_length(rows[lists.BOXES]), 0)).as_py() or 0)


# Hosts ---------------------------------------------------------------------------------------------------------------


def host(urls: pa.Array) -> pa.Array:
    """The hosts of addresses in small letters; an empty string where there is none to see."""
    found = pc.struct_field(pc.extract_regex(urls, HOST), "host")
    return pc.utf8_lower(pc.fill_null(found, ""))


class Hosts:
    """Counts hosts, batch by batch."""

    def __init__(self, most: int = HOSTS, marks: int = MARKS):
        self.most, self.error = most, 0
        self.counts: dict[str, int] = {}
        self.marks = np.zeros(marks, bool)

    def add(self, hosts: pa.Array) -> None:
        """Count the hosts of a batch."""
        table = pc.value_counts(hosts)
        names = table.field("values").to_numpy(zero_copy_only=False)
        self.marks[pd.util.hash_array(names, categorize=False) % np.uint64(len(self.marks))] = True
        for name, count in zip(names.tolist(), table.field("counts").to_pylist(), strict=True):
            self.counts[name] = self.counts.get(name, 0) + count
        if len(self.counts) > 2 * self.most:
            self._prune()

    def _prune(self) -> None:
        """Take as much from every count as leaves `most` of them: what the largest of the others has."""
        counts = np.array(list(self.counts.values()))
        off = int(np.partition(counts, -self.most - 1)[-self.most - 1])
        self.counts = {name: count - off for name, count in self.counts.items() if count > off}
        self.error += off

    def table(self) -> pd.DataFrame:
        """`host, rows`, most first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return pd.DataFrame(ordered, columns=["host", "rows"])

    def distinct(self) -> int:
        """How many hosts there are: exactly while all are counted, else an estimate."""
        if not self.error:
            return len(self.counts)
        return round(-len(self.marks) * np.log1p(-self.marks.mean()))
