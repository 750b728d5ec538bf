"""Inventory: sums, costs and files a person can rely on, and figures that show every group."""

import pandas as pd
import pytest

from stepladder.core.config import ParameterError
from stepladder.data import inventory


@pytest.fixture
def catalogue() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "group": ["a", "b", "c", "d"],
            "name": ["Alpha", "Beta", "Gamma", "Delta"],
            "region": ["north", "south", "south", "north"],
            "bytes": [4e9, 1e9, 2e9, float("nan")],
            "small": [1e8, 2e8, 3e8, 4e8],
            "year": [2020, 2021, 2022, 2023],
            "quality": [0.5, 0.9, float("nan"), 0.1],
            "lat": [43.0, 33.0, 33.0, 41.0],
            "lon": [141.0, 130.0, 130.0, 140.0],
        }
    )


def test_totals_add_up_and_say_what_is_unknown(catalogue):
    table = inventory.totals(catalogue, columns=["bytes", "small"])
    assert list(table.index) == ["north", "south", "all"]
    assert table.loc["south", ["groups", "bytes", "small", "unknown"]].tolist() == [2, 3e9, 5e8, 0]
    assert table.loc["north", "unknown"] == 1
    assert table.loc["all", ["groups", "bytes", "small", "unknown"]].tolist() == [4, 7e9, 1e9, 1]


def test_saving_orders_by_quality_and_reads_back(catalogue, tmp_path):
    path = inventory.save(catalogue, tmp_path / "stage")
    again = pd.read_parquet(path)
    assert path.name == "inventory.parquet"
    assert again["group"].tolist() == ["b", "a", "d", "c"]
    assert [file.name for file in path.parent.iterdir()] == ["inventory.parquet"]


def test_saving_names_what_is_wrong(catalogue, tmp_path):
    with pytest.raises(ValueError, match="missing: year, quality"):
        inventory.save(catalogue.drop(columns=["year", "quality"]), tmp_path)
    with pytest.raises(ValueError, match="more than once: a"):
        inventory.save(pd.concat([catalogue, catalogue[:1]]), tmp_path)


def test_the_committed_prices_are_dated_and_cost_in_proportion():
    prices = inventory.storage_prices()
    cost, note = inventory.storage_cost({"one": 1e12, "two": 2e12}, prices)
    assert str(prices["as_of"]) in note
    assert len(cost) == len(prices["providers"]) >= 4
    assert (cost["two ($/month)"] == 2 * cost["one ($/month)"]).all()
    s3 = next(provider for provider in prices["providers"] if provider["name"] == "AWS S3")
    assert cost.loc["AWS S3", "one ($/month)"] == pytest.approx(1000 * s3["dollars_per_gb_month"])
    assert cost.loc["AWS S3", "one (out, $)"] == pytest.approx(1000 * s3["dollars_per_gb_out"])
    assert all(provider["source"] for provider in prices["providers"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("source: x\nproviders: [{name: a}]", "as_of"),
        ("as_of: 2026\nsource: x\nproviders: [{name: a}]", "per_gb_month"),
    ],
)
def test_prices_without_date_or_value_are_refused(tmp_path, text, named):
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ParameterError, match=named):
        inventory.storage_prices(tmp_path / "prices.yaml")


def test_the_bars_show_every_region_and_what_was_planned(catalogue):
    table = inventory.totals(catalogue, columns=["bytes", "small"])
    figure = inventory.totals_figure(table, {"bytes": "whole", "small": "part"}, {"south": 2e9, "all": 5e9})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["north (2)", "south (2)", "all (4)"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([4.0, 3.0, 7.0, 0.5, 0.5, 1.0])
    assert [segment[0][0] for segment in axes.collections[0].get_segments()] == [2.0, 5.0]
    assert "GB" in axes.get_xlabel()


def test_small_data_are_read_in_small_units_and_cost_less_than_a_cent_not_nothing(catalogue):
    catalogue["bytes"] = [1.2e5, 3e4, 5e4, float("nan")]
    sizes = {"bytes": "whole"}
    table = inventory.totals_table(catalogue, sizes, {})
    assert table["whole (kB)"].tolist() == [120.0, 80.0, 200.0]
    (axes,) = inventory.totals_figure(inventory.totals(catalogue), sizes).axes
    assert axes.get_xlabel().startswith("kB") and axes.patches[-1].get_width() == 200.0
    costs, _ = inventory.storage_table(catalogue, sizes)
    assert set(costs["whole ($/month)"]) == {"< 0.01"}
    free = inventory.storage_table(catalogue.assign(bytes=0.0), sizes)[0]
    assert set(free["whole ($/month)"]) == {0.0}


@pytest.mark.parametrize(
    ("size", "words"),
    [(3.9e12, "3,900.0 GB"), (7e9, "7.0 GB"), (2e5, "200.0 kB"), (1.5e3, "1.5 kB"), (12, "12.0 bytes")],
)
def test_bytes_are_read_in_the_unit_of_their_size(size, words):
    assert inventory.readable(size) == words


def test_only_what_was_planned_is_said_to_be(catalogue):
    assert [next(iter(inventory.overview(catalogue, {"bytes": "all"}, plan))) for plan in ({"all": 5e9}, {})] == [
        "Bytes by region, beside what was planned.",
        "Bytes by region.",
    ]


def test_the_map_sums_groups_of_one_place_and_names_the_largest(catalogue):
    figure = inventory.map_figure(catalogue, {"bytes": "whole", "small": "part"}, named=1)
    assert [axes.get_title("left") or axes.get_title() for axes in figure.axes] == ["whole: 7.0 GB", "part: 1.0 GB"]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["Alpha 4.0 GB"], ["Beta 500.0 MB"]]
    bubbles = figure.axes[0].collections[-1]
    assert len(bubbles.get_offsets()) == 3
    for axes in figure.axes:
        west, east = axes.get_xlim()
        south, north = axes.get_ylim()
        assert all(west < x < east and south < y < north for x, y in bubbles.get_offsets())
