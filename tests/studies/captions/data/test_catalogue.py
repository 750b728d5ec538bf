"""What is published, under which terms, and the way out where a run cannot ask for it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepladder.core.config import ParameterError
from stepladder.data import fetch, inventory
from stepladder.studies.captions import card
from stepladder.studies.captions.data import catalogue
from stepladder.studies.captions.params import CaptionsParams

CONTACT = "someone@university.example"


def params(**data: Any) -> CaptionsParams:
    return CaptionsParams.model_validate({"study": "captions", "data": data})


def test_the_catalogue_is_what_the_inventory_needs(tmp_path: Path) -> None:
    table = catalogue.read(params())
    inventory.save(table, tmp_path)
    inventory.overview(table, card.SIZES, card.PLANNED)
    assert table["quality"].between(0, 1).all() and table["quality"].is_monotonic_decreasing
    assert set(card.SIZES) <= set(table) and set(card.PLANNED) <= set(table["region"])
    for column in ("licence", "terms", "how_to_get", "source"):
        assert table[column].str.len().min() > 3, column


def test_what_fits_a_disk_and_may_be_used_comes_first_and_what_is_withdrawn_last() -> None:
    order = catalogue.read(params())["group"].tolist()
    assert order[0] == "datacomp_small" and order.index("laion5b") > order.index("relaion5b") > order.index("cc12m")


def test_facts_agree_with_what_was_published() -> None:
    table = catalogue.read(params()).set_index("group")
    scales = table.loc[[f"datacomp_{name}" for name in ("small", "medium", "large", "xlarge")]]
    assert scales["rows"].tolist() == [12.8e6, 12.8e7, 12.8e8, 12.8e9]
    assert scales["picture_bytes"].tolist() == [450e9, 4.5e12, 45e12, 450e12]
    assert table.loc["cc12m", "reported"] == 0.623 and table.loc["relaion5b", "rows"] == 5_526_641_167
    untold = table[table["bytes"].isna()]
    assert (untold["missing"].str.len() > 0).sum() >= 4, "what nobody states is named"
    assert pd.isna(table.loc["nlvr", "expected"]), "pictures in a repository do not die"


def test_the_card_says_what_a_card_must() -> None:
    for part in ("**Source.**", "**Licence.**", "**Units.**", "**Known defects.**", "76,290,451", "1,406", "hidden"):
        assert part in card.CARD
    parts = [73_296_659, 2_950_272, 43_520]
    assert sum(parts) == 76_290_451 and all(f"{part:,}" in card.CARD for part in parts)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"source": "mirror"}, "data.mirror is not set"),
        ({"source": "remote", "contact": CONTACT}, "data.lists is empty"),
        ({"source": "remote", "lists": ["file:///a/list.parquet"]}, "data.contact is empty"),
        ({"source": "remote", "lists": ["ftp://a.example/list.csv"], "contact": CONTACT}, "ftp://a.example"),
        ({"source": "remote", "lists": ["file:///a/page.html"], "contact": CONTACT}, "page.html"),
        ({"source": "remote", "lists": ["https://a.example/1.parquet"], "contact": CONTACT}, "fetch a list of the web"),
    ],
)
def test_a_run_that_cannot_begin_is_told_the_way_out(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        catalogue.sources(params(**data))


def test_a_mirror_with_a_list_needs_somebody_to_reach_and_one_with_pictures_does_not(tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(b"")
    [source] = catalogue.sources(params(source="mirror", mirror=str(tmp_path)))
    assert len(fetch.plan(source, tmp_path / "raw").wanted) == 1
    (tmp_path / "list.csv").write_bytes(b"url,text\n")
    with pytest.raises(ParameterError, match=r"data\.contact is empty"):
        catalogue.sources(params(source="mirror", mirror=str(tmp_path)))
    [source] = catalogue.sources(params(source="mirror", mirror=str(tmp_path), contact=CONTACT))
    assert {member.path for member in fetch.plan(source, tmp_path / "raw").wanted} == {"00000.tar", "list.csv"}


def test_an_empty_mirror_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(ParameterError, match=r"holds no list.*\.md"):
        catalogue.sources(params(source="mirror", mirror=str(tmp_path), contact=CONTACT))


def test_lists_of_one_place_are_one_source() -> None:
    lists = ["file:///a/x/2.parquet", "file:///b/1.csv", "file:///a/x/1.parquet"]
    found = catalogue.sources(params(source="remote", lists=lists, contact=CONTACT))
    assert [(one.url, one.members) for one in found] == [
        ("file:///a/x/", ("2.parquet", "1.parquet")),
        ("file:///b/", ("1.csv",)),
    ]
    assert len({one.folder for one in found}) == 2
