"""What is expected of a list before anything moves, against what was reported and published, and how it is shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from stepladder.core.types import StudyError
from stepladder.studies.captions.data import survey, survival
from stepladder.studies.captions.data.funnel import Funnel
from stepladder.studies.captions.params import CaptionsParams

SAMPLE = "captions/rom1504__img2dataset/tests/test_files/test_1000.parquet"


def params(**data: Any) -> CaptionsParams:
    return CaptionsParams.model_validate({"study": "captions", "data": data})


def counted(asked: int, largest: int, hosts: int = 100) -> Funnel:
    steps = pd.DataFrame({"step": ["in the list"], "left": [asked], "lost": [0], "share": [1.0]})
    table = pd.DataFrame({"host": ["big.example"], "rows": [largest]})
    return Funnel(steps, table, 0, hosts, {}, 0, {}, 0.0, ())


def test_every_report_lies_in_the_interval_of_its_age() -> None:
    for row in survival.REPORTED.itertuples():
        within = survival.expected(row.years)
        assert within.low <= row.share + 1e-9 and row.share <= within.high + 1e-9, row
        assert 0 < within.low < within.expected < within.high <= 1


def test_older_lists_give_less_and_what_nobody_reported_is_refused() -> None:
    shares = [survival.expected(float(years)).expected for years in range(6)]
    assert shares == sorted(shares, reverse=True)
    for years in (-0.1, survival.OLDEST + 0.1):
        with pytest.raises(ValueError, match="0 to 5 years"):
            survival.expected(years)


def test_bytes_agree_with_what_published_downloads_took() -> None:
    for side, taken in survival.TAKEN:
        size = survival.picture_bytes(params(side=side))
        assert size.low <= taken <= size.high
    assert np.isnan(survival.picture_bytes(params(resize="no")).expected)
    whole = survival.by_age(12_800_000, params(side=512)).iloc[0]
    assert whole["GB at least"] < 450 * 0.9 < whole["GB at most"]


def test_a_large_host_takes_longer_than_all_connections_together() -> None:
    """12.8 million rows of which 6.4 % lie at one host, the share that a list of 10,000 has."""
    found = counted(12_800_000, 820_000, hosts=2_000_000)
    table = survival.hours(found, params())
    assert table["limit"].iloc[0] == "the largest host, big.example"
    first, second = (table.iloc[place] for place in (0, 1))
    assert first["hours"] == pytest.approx(820_000 * 0.6 / 3600), "two connections, 1.2 s each"
    assert second["hours"] == pytest.approx(14_800_000 * 1.2 / 64 / 3600), "robots.txt of every host too"
    assert (table["at least"] < table["hours"]).all() and (table["hours"] < table["at most"]).all()


def test_politeness_is_what_limits_a_host() -> None:
    by_rate = survival.host_hours(3600, params(per_host=50, per_second=2.0))
    assert by_rate.low == by_rate.expected == by_rate.high == pytest.approx(0.5)
    assert survival.host_hours(3600, params(per_host=1)).expected == pytest.approx(1.2)


def test_the_survey_of_real_rows_says_what_will_be_asked(shared_data: Path) -> None:
    shown = survey.survey([shared_data / SAMPLE], params(english=True))
    tables = {title: item for title, item in shown.items() if isinstance(item, pd.DataFrame)}
    figures = {title: item for title, item in shown.items() if isinstance(item, Figure)}
    assert len(tables) == 3 and len(figures) == 4
    [steps] = [table for title, table in tables.items() if "filters leave" in title]
    assert steps["left"].tolist()[0] == 1000 and "new url" in steps["step"].tolist()
    for figure in figures.values():
        for axis in (axis for axis in figure.axes if axis.axison):
            assert axis.get_xlabel()
        figure.canvas.draw()


def test_broken_lines_are_shown(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"url,caption\nhttp://a.example/1.jpg,good\nhttp://a.example/2.jpg,a,b\n")
    shown = survey.survey([tmp_path], params())
    [broken] = [item for title, item in shown.items() if title.startswith("Broken lines")]
    assert isinstance(broken, pd.DataFrame) and broken.to_numpy().tolist() == [["of another width", 1]]


def test_a_folder_without_a_list_has_nothing_to_survey(tmp_path: Path) -> None:
    (tmp_path / "pictures.tar").write_bytes(b"")
    assert survey.survey([tmp_path], params()) == {}


def test_a_list_of_nothing_and_one_of_which_nothing_is_left_are_drawn(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"url": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    pq.write_table(pa.table({"url": [None], "text": ["t"]}), tmp_path / "b.parquet")
    for path in ([tmp_path / "a.parquet"], [tmp_path / "b.parquet"]):
        for item in survey.survey(path, params()).values():
            if isinstance(item, Figure):
                item.canvas.draw()


def test_a_list_that_cannot_be_read_stops_the_survey(tmp_path: Path) -> None:
    (tmp_path / "list.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(StudyError, match=r"list\.parquet"):
        survey.survey([tmp_path], params())
