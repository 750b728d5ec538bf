"""What exists, what it needs, and the way out where a run cannot fetch it."""

import pytest

from stepladder.core.config import ParameterError
from stepladder.data import inventory
from stepladder.studies.scroll import card
from stepladder.studies.scroll.data import catalogue
from stepladder.studies.scroll.params import ScrollParams


def params(**data) -> ScrollParams:
    return ScrollParams(study="scroll", data=data)


def test_the_catalogue_is_what_the_inventory_needs(tmp_path):
    table = catalogue.read(params())
    inventory.save(table, tmp_path)
    assert table["quality"].between(0, 1).all() and table["quality"].is_monotonic_decreasing
    assert table["url"].str.match(r"https://\S+$").all() and table["needs"].str.len().min() > 10
    figures = inventory.overview(table, card.SIZES, card.PLANNED)
    assert len(figures) == 1, "no map: the scrolls come from one villa"


def test_sums_agree_with_what_the_publishers_state():
    table = catalogue.read(params())
    sums = inventory.totals(table, "region", list(card.SIZES))
    kaggle = table[table["region"] == "Kaggle"]
    assert kaggle["volumes"].sum() == 806 and len(kaggle) == 6, "rows of train.csv, scrolls"
    assert sums.loc["Kaggle", "bytes"] == pytest.approx(26.6e9, rel=0.001)
    scroll_1 = table.set_index("group").loc["scroll1a_tif", "bytes"]
    assert scroll_1 == pytest.approx(14376 * 128e6, rel=0.01), "slices times bytes of a slice"
    assert sums.loc["all", "labelled_bytes"] < 0.01 * sums.loc["all", "bytes"], "almost nothing is labelled"


def test_the_competition_says_which_token_is_missing_and_where_to_get_it():
    with pytest.raises(ParameterError) as caught:
        catalogue.sources(params(source="remote"), environment={})
    for part in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME and KAGGLE_KEY", "kaggle.com/settings", "/rules", "data.mirror"):
        assert part in str(caught.value)


@pytest.mark.parametrize("names", [["KAGGLE_API_TOKEN"], ["KAGGLE_USERNAME", "KAGGLE_KEY"]])
def test_with_a_token_the_command_is_told_and_the_token_is_not(names):
    with pytest.raises(ParameterError, match="the token is there") as caught:
        catalogue.sources(params(source="remote"), environment=dict.fromkeys(names, "SECRET-VALUE"))
    assert "kaggle competitions download" in str(caught.value) and "SECRET-VALUE" not in str(caught.value)


def test_half_a_token_is_none():
    with pytest.raises(ParameterError, match="needs a token"):
        catalogue.sources(params(source="remote"), environment={"KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": ""})


@pytest.mark.parametrize("collection", ["recto_surfaces", "instance_labels", "fiber_skeletons", "full_scrolls"])
def test_the_open_server_says_its_terms_and_an_address(collection):
    with pytest.raises(ParameterError, match=r"accept the terms at https://.*copy https://.*data\.mirror"):
        catalogue.sources(params(source="remote", collection=collection))


def test_a_mirror_is_a_folder_an_archive_or_a_folder_of_archives(tmp_path):
    (source,) = catalogue.sources(params(source="mirror", mirror=str(tmp_path)))
    assert source.url == str(tmp_path) and "*train.csv" in source.members
    (tmp_path / "one.zip").touch()
    assert [s.folder for s in catalogue.sources(params(source="mirror", mirror=str(tmp_path)))] == ["one"]
    (source,) = catalogue.sources(params(source="mirror", mirror=str(tmp_path / "one.zip")))
    assert source.url.endswith("one.zip")
    with pytest.raises(ParameterError, match=r"data\.mirror is not set"):
        catalogue.sources(params(source="mirror"))
