"""Filters leave what their published definitions leave, the funnel adds up, and duplicates fall in bounded memory."""

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import filters
from stepladder.studies.captions.data.english import english
from stepladder.studies.captions.data.funnel import Hosts, funnel, host
from stepladder.studies.captions.data.seen import Seen
from stepladder.studies.captions.params import CaptionsParams

SAMPLE = "captions/rom1504__img2dataset/tests/test_files/test_1000.parquet"
WORDS = 1 << 12  # of memory for duplicates: tests have few


def params(**data: Any) -> CaptionsParams:
    return CaptionsParams.model_validate({"study": "captions", "data": data})


def listed(folder: Path, **columns: list[Any]) -> Path:
    """A list with these columns; addresses and texts are made up where they are not given."""
    rows = len(next(iter(columns.values())))
    made = {"url": [f"http://a{n % 3}.example/{n}.jpg" for n in range(rows)], "text": ["a dog on the beach"] * rows}
    pq.write_table(pa.table({**made, **columns}), folder / "list.parquet")
    return folder / "list.parquet"


def left(path: Path, **data: Any) -> list[str]:
    return [row["url"] for row in filters.chosen([path], params(**data))]


@settings(max_examples=60)
@given(texts=st.lists(st.text(max_size=12) | st.text(" \t\u3000\na", max_size=12), min_size=1, max_size=8))
def test_words_and_characters_are_counted_as_python_does(texts: list[str]) -> None:
    rows = pa.RecordBatch.from_pydict({"text": texts})
    long = [len(text.split()) > filters.WORDS_BASIC for text in texts]
    assert (filters.words(rows) > filters.WORDS_BASIC).tolist() == long
    assert filters.characters(rows).tolist() == [len(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "width", "height", "kept"),
    [
        ("a dog on the beach", 200, 600, True),  # the smallest and the longest that pass
        ("a dog on the beach", 600, 200, True),
        ("a dog on the beach", 199, 400, False),
        ("a dog on the beach", 200, 601, False),
        ("dog beach", 400, 400, False),  # two words
        ("a b c", 400, 400, False),  # five characters
        ("a b cd", 400, 400, True),
        ("ein Hund am Strand mit dem Ball", 400, 400, False),
        ("a dog on the beach", 0, 0, False),
    ],
)
def test_the_basic_filter_is_datacomps(tmp_path: Path, text: str, width: int, height: int, kept: bool) -> None:
    """`baselines/apply_filter.py`: English, words > 2, characters > 5, least side >= 200, sides <= 3.0."""
    path = listed(tmp_path, text=[text], original_width=[width], original_height=[height])
    assert bool(left(path, basic=True)) is kept


def test_thresholds_keep_what_reaches_them_and_what_is_not_told_does_not(tmp_path: Path) -> None:
    scores = pa.array([0.25, 0.3, None, 0.31], pa.float32())
    path = listed(tmp_path, clip_l14_similarity_score=scores)
    assert left(path, least_clip=0.3 - 1e-6) == ["http://a1.example/1.jpg", "http://a0.example/3.jpg"]
    sides = listed(tmp_path, original_width=[100, 300, None], original_height=[400, 200, 200])
    assert left(sides, least_side=200) == ["http://a1.example/1.jpg"]
    assert left(sides, most_aspect=1.5) == ["http://a1.example/1.jpg"]


@pytest.mark.parametrize(
    ("data", "column", "way_out"),
    [
        ({"least_clip": 0.3}, "clip_l14_similarity_score", "data.least_clip"),
        ({"basic": True}, "original_width", "data.basic"),
        ({"most_aspect": 2.0}, "original_width", "data.most_aspect"),
    ],
)
def test_a_filter_that_a_list_cannot_answer_is_refused(
    shared_data: Path, data: dict[str, Any], column: str, way_out: str
) -> None:
    with pytest.raises(StudyError, match=f"needs the column {column}.*leave out .*{way_out}"):
        left(shared_data / SAMPLE, **data)


@pytest.mark.parametrize("key", filters.KEYS)
def test_of_equal_rows_the_first_that_passes_is_kept(tmp_path: Path, key: str) -> None:
    keys = [f"http://{name}" for name in "abacab"]
    columns = {key: keys, "number": list(range(6)), "original_width": [9, 500, 500, 500, 500, 500]}
    path = listed(tmp_path, original_height=[500] * 6, **columns)
    chosen = filters.chosen([path, path], params(least_side=100))
    assert [row["number"] for row in chosen] == [1, 2, 3], "the first of a is too small"


def test_empty_keys_are_no_duplicates(tmp_path: Path) -> None:
    assert len(left(listed(tmp_path, sha256=[None, "", None, ""]))) == 4


def test_the_cap_takes_the_first_rows_and_the_same_ones_again(shared_data: Path) -> None:
    path = shared_data / SAMPLE
    whole = left(path, english=True)
    assert left(path, english=True, rows=200) == whole[:200] == left(path, english=True, rows=200)


def test_rows_without_an_address_fall_first(tmp_path: Path) -> None:
    path = listed(tmp_path, url=["http://a/1", None, "", " ", "http://a/2"])
    found = funnel([path], params(), WORDS)
    assert found.steps.set_index("step").loc[filters.ADDRESS, "lost"] == 3 and found.asked == 2


def test_the_funnel_adds_up_to_what_is_chosen(shared_data: Path) -> None:
    paths, asked = [shared_data / SAMPLE] * 2, params(english=True, rows=900)
    found = funnel(paths, asked, WORDS)
    rows = list(filters.chosen(paths, asked))
    steps = found.steps
    assert found.rows == 2000 and found.asked == len(rows) == 900
    assert (steps["left"].to_numpy()[:-1] - steps["lost"].to_numpy()[1:] == steps["left"].to_numpy()[1:]).all()
    assert steps.set_index("step").loc["new url", "lost"] >= 977
    assert found.histograms["words of the text"].sum(axis=1).tolist() == [2000, 900]
    assert found.hosts["rows"].sum() == 900 and found.distinct_hosts == len(found.hosts)


def test_the_funnel_names_no_column_that_no_list_has(shared_data: Path) -> None:
    assert "new uid" not in funnel([shared_data / SAMPLE], params(), WORDS).steps["step"].tolist()


# Language ------------------------------------------------------------------------------------------------------------

OTHERS = [
    "Ein Hund im Garten mit einem Ball", "Une femme avec un chapeau rouge dans la rue", "Kot na stole w kuchni",
    "El perro en la playa con su dueño", "Il gatto sul tavolo della cucina", "O gato em cima da mesa com uma flor",
    "De hond van mijn buurman", "красная машина", "一只猫在桌子上", "En hund på stranden med en boll",
    "Bir kedi masanın üzerinde", "Seekor kucing di atas meja", "Con mèo trên bàn và con chó",
]  # fmt: skip


def test_languages_that_the_web_writes_are_told_from_english() -> None:
    assert not english(pa.array(OTHERS)).any()


def test_english_texts_of_people_pass(shared_data: Path) -> None:
    path = shared_data / "captions/cambridgeltl__visual-spatial-reasoning/data/splits/zeroshot/dev.jsonl"
    texts = [row["text"] for row in filters.chosen([path], params())]
    assert english(pa.array(texts)).mean() > 0.99
    web = [row["text"] for row in filters.chosen([shared_data / SAMPLE], params())]  # LAION-400M: English by cld3
    assert english(pa.array(web)).mean() > 0.95


def test_names_and_marks_do_not_make_a_text_foreign() -> None:
    texts = ["Nike Air Max 90", "Women’s café dress – the “new” one", "It's a dog", ""]
    assert english(pa.array(texts)).tolist() == [True, True, True, False]


# Memory --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(keys=st.lists(st.text("ab", max_size=3), max_size=40), cut=st.integers(1, 7), asked=st.integers(0, 2**40))
def test_seen_is_a_set(keys: list[str], cut: int, asked: int) -> None:
    seen, known, found, expected = Seen(1 << 14), set[str](), [], []
    for start in range(0, len(keys), cut):
        piece = keys[start : start + cut]
        asked_N = np.array([bool(asked >> (start + place) & 1) for place in range(len(piece))])
        found += seen.before(pa.array(piece, pa.string()), "url", asked_N).tolist()
        seen.add(pa.array(piece, pa.string()), "url", asked_N)
        for key, is_asked in zip(piece, asked_N.tolist(), strict=True):
            expected.append(bool(key) and is_asked and key in known)
            known |= {key} if is_asked else set()
    assert found == expected


def test_the_rate_of_false_duplicates_is_what_is_said() -> None:
    seen, every, count = Seen(1 << 12), np.ones(20_000, bool), 20_000
    old, new = (pa.array([f"{name} {n}" for n in range(count)]) for name in ("old", "new"))
    seen.add(old, "url", every)
    false = seen.before(new, "url", every).mean()
    assert false == pytest.approx(seen.false_rate(), rel=0.25) and 0.001 < false < 0.2
    assert seen.before(old, "url", every).all(), "never the other way round"
    assert seen.before(old, "uid", every).mean() < 0.2, "kinds do not meet"


# Hosts ---------------------------------------------------------------------------------------------------------------


def test_hosts_of_real_addresses_are_those_the_standard_library_sees(shared_data: Path) -> None:
    urls = pq.read_table(shared_data / SAMPLE)["URL"].combine_chunks()
    seen = [(urlsplit(url.strip()).hostname or "") if "://" in url else "" for url in urls.to_pylist()]
    assert host(urls).to_pylist() == seen


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("HTTP://User:pw@A.Example:80/x", "a.example"),
        ("http:\\\\a.example", ""),
        ("//a.example/x", ""),
        ("data:image/png;base64,xx", ""),
        ("http://a.example?x=http://b.example", "a.example"),
    ],
)
def test_hosts_of_odd_addresses(url: str, name: str) -> None:
    assert host(pa.array([url])).to_pylist() == [name]


@settings(max_examples=30)
@given(names=st.lists(st.integers(0, 40).map(lambda n: f"h{int(n**2 / 40)}"), max_size=200), cut=st.integers(1, 50))
def test_counts_of_hosts_err_by_no_more_than_is_said(names: list[str], cut: int) -> None:
    few, true = Hosts(most=3, marks=1 << 12), Counter(names)
    for start in range(0, len(names), cut):
        few.add(pa.array(names[start : start + cut]))
    counted = dict(zip(few.table()["host"], few.table()["rows"], strict=True))
    for name, count in true.items():
        assert count - few.error <= counted.get(name, 0) <= count
    assert abs(few.distinct() - len(true)) <= 1


def test_many_hosts_are_estimated() -> None:
    few = Hosts(most=100, marks=1 << 16)
    few.add(pa.array([f"h{n}" for n in range(20_000)]))
    assert few.error and few.distinct() == pytest.approx(20_000, rel=0.02)
