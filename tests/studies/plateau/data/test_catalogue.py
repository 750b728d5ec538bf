"""The catalogue of PLATEAU: facts that add up to the published table, clients held against the true shapes of answers.

The answers are made from the committed facts in the shapes of the servers' own structs (research notes, 1.2): no
complete stored answer exists, and the live service makes no promise.
"""

import io
import zipfile
from fnmatch import fnmatchcase

import pandas as pd
import pytest

from stepladder.core.config import ParameterError, check
from stepladder.data.fetch import FetchError, Patience
from stepladder.studies.plateau.card import PLANNED
from stepladder.studies.plateau.data.catalogue import read
from stepladder.studies.plateau.data.catalogue.clients import Ckan, Live
from stepladder.studies.plateau.params import PlateauParams
from stepladder.testing.server import FaultyServer, Status

BRISK = Patience(connect_s=2, read_s=2, tries=3, first_s=0.01, longest_s=0.05)

# Region -> cities, building tiles, XML GB, buildings compressed GB, archives GB, as published.
PUBLISHED = {
    "Kanto": (132, 9374, 150.4, 25.6, 69.8),
    "Kansai": (29, 3022, 37.8, 5.5, 15.2),
    "Chubu": (36, 7801, 55.9, 10.0, 37.5),
    "Shizuoka": (35, 5800, 21.0, 1.6, 1276.7),
    "Kyushu and Okinawa": (28, 3753, 22.0, 2.8, 15.0),
    "Tohoku": (12, 2319, 16.4, 3.0, 12.7),
    "Hokkaido": (3, 891, 8.7, 0.6, 4.1),
    "Chugoku and Shikoku": (31, 5501, 35.3, 5.4, 32.0),
}


def params(**data) -> PlateauParams:
    return check(PlateauParams, {"study": "plateau", "data": data})


def summed(rows: pd.DataFrame) -> tuple:
    """A line of the published table from facts."""
    xml, packed, whole = rows["bldg_xml_mb"].sum() / 1e3, rows["bldg_bytes"].sum() / 1e9, rows["zip_bytes"].sum() / 1e9
    return len(rows), int(rows["bldg_tiles"].sum()), round(xml, 1), round(packed, 1), round(whole, 1)


# Facts ---------------------------------------------------------------------------------------------------------------


def test_the_snapshot_reproduces_the_published_table():
    facts = read.snapshot()
    assert {region: summed(rows) for region, rows in facts.groupby("region")} == PUBLISHED
    assert summed(facts) == (306, 38461, 347.4, 54.5, 1462.9)
    assert summed(facts[facts["region"] != "Shizuoka"])[-1] == 186.3
    assert facts["year"].value_counts().to_dict() == {2020: 31, 2021: 1, 2022: 27, 2023: 77, 2024: 58, 2025: 112}
    assert PLANNED["all"] == 60e9


def test_the_snapshot_is_what_our_builder_makes_of_the_shared_facts(shared_data):
    facts = pd.read_csv(shared_data / "plateau/inventory/plateau_cities_306.csv", dtype={"code": str})
    facts = facts.rename(
        columns={
            "latest_year": "year",
            "slug": "name",
            "bldg_uncompressed_mb": "bldg_xml_mb",
            "bldg_compressed_bytes": "bldg_bytes",
        }
    )
    built = read.build_snapshot(facts.drop(columns="name_ja"), earlier=read.snapshot())
    pd.testing.assert_frame_equal(built[read.FACTS], read.snapshot(), check_dtype=False)


def test_a_city_lies_in_its_prefecture():
    table = read.read(params()).set_index("group")
    assert table.loc["27100", ["prefecture", "region"]].tolist() == ["Osaka", "Kansai"]
    assert table.loc["27100", ["lat", "lon"]].tolist() == pytest.approx([34.69, 135.52])
    assert {"name", "region", "bytes", "year", "quality"} <= set(table.columns)
    assert table.index.is_unique
    assert table["lat"].notna().all()


def test_an_earlier_snapshot_lends_sizes_only_for_the_same_year():
    earlier = read.snapshot().set_index("code").loc[["01100", "01205"]].reset_index()
    rows = pd.DataFrame({"code": ["01100", "01205"], "name": [None, None], "year": [2020, 2099], "spec": [None, 5.0]})
    built = read.build_snapshot(rows, earlier=earlier).set_index("code")
    assert built["name"].tolist() == ["sapporo-shi", "muroran-shi"]
    assert built.loc["01100", "bldg_bytes"] == earlier.loc[0, "bldg_bytes"]
    assert built.loc["01205", ["bldg_bytes", "zip_bytes"]].isna().all()
    assert built.loc["01205", "spec"] == 5


def test_quality_is_the_weighted_mean_of_the_parts_that_are_known():
    facts = read.snapshot()[:3].assign(
        max_lod=[3.0, 1.5, float("nan")], themes=[[*read.THEMES], ["bldg", "tran"], None],
        year=[2025, 2020, 2025], spec=[5.0, 1.0, None], bldg_xml_mb=[30.0, 10.0, 20.0], bldg_tiles=[1, 1, 1],
    )  # fmt: skip
    ranked = read.rank(facts)
    assert ranked["code"].tolist() == [facts["code"][0], facts["code"][2], facts["code"][1]]
    assert ranked["quality"].tolist() == pytest.approx(
        [1.0, (0.2 * 2 / 3 + 0.1) / 0.3, 0.35 * 0.5 + 0.25 * 0.25 + 0.2 / 3]
    )
    assert ranked["quality_known"].tolist() == pytest.approx([1.0, 0.3, 1.0])
    assert sum(read.WEIGHTS.values()) == pytest.approx(1)


# Clients -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    (tmp_path / "big.zip").write_bytes(bytes(4321))
    with FaultyServer(tmp_path) as server:
        yield server


def citygml(server: FaultyServer, code: str, year: int, **values) -> dict:
    """One element of `citygml[]` of /datacatalog/plateau-datasets."""
    url = f"https://assets.example/assets/aa/b-c/{code}_test-shi_city_{year}_citygml_3_op.zip"
    return {
        "id": f"{code}_citygml_{year}", "pref": "北海道", "pref_code": code[:2], "city": "試験市", "city_code": code,
        "url": url, "file_size": 1000, "composite_url": None, "feature_types": ["tran", "bldg"], "year": year,
        "registration_year": year, "spec": "第3.4版", **values,
    }  # fmt: skip


def datasets(rows: list[dict]) -> dict:
    return {"datasets": [], "latest_datasets": [], "composite_tilesets": [], "citygml": rows, "latest_citygml": []}


def test_the_live_catalogue_gives_the_newest_year_of_each_city(server):
    rows = [
        citygml(server, "01100", 2020),
        citygml(server, "01100", 2023, spec="第4.1版"),
        citygml(server, "13101", 2022),
    ]
    server.answers["/datacatalog/plateau-datasets"] = datasets(rows)
    table = Live(server.address, BRISK).rows()
    assert table[["code", "name", "year", "spec"]].to_numpy().tolist() == [
        ["01100", "test-shi", 2023, 4.1],
        ["13101", "test-shi", 2022, 3.4],
    ]
    assert table["themes"][0] == ["bldg", "tran"]
    assert table["zip_bytes"].tolist() == [1000, 1000]


@pytest.mark.parametrize("told", [None, 0, -1])
def test_a_size_nobody_told_is_asked_of_the_file_server(server, told):
    rows = [citygml(server, "01100", 2023, file_size=told, url=server.url("big.zip")), citygml(server, "13101", 2022)]
    rows.append(citygml(server, "27100", 2022, file_size=told, url=server.url("gone.zip")))
    server.answers["/datacatalog/plateau-datasets"] = datasets(rows)
    sizes = Live(server.address, BRISK).rows().set_index("code")["zip_bytes"]
    assert sizes[["01100", "13101"]].tolist() == [4321, 1000]
    assert pd.isna(sizes["27100"])
    assert server.bytes_sent("big.zip") == 1


def test_the_whole_country_in_the_live_shape_makes_the_same_totals(server):
    facts = read.snapshot()
    rows = [citygml(server, r.code, r.year, file_size=int(r.zip_bytes), spec=None) for r in facts.itertuples()]
    rows += [citygml(server, "27999", 2025), citygml(server, "01100", 2019)]
    server.answers["/datacatalog/plateau-datasets"] = datasets(rows)
    built = read.build_snapshot(Live(server.address, BRISK).rows(), earlier=facts)
    assert {region: summed(rows) for region, rows in built.groupby("region")} == PUBLISHED
    assert "27999" not in set(built["code"])


def test_a_busy_catalogue_is_asked_again_and_a_changed_one_named(server):
    server.answers["/datacatalog/plateau-datasets"] = datasets([citygml(server, "01100", 2020)])
    server.add(Status(429, retry_after="1"), Status(503, skip=1))
    assert len(Live(server.address, BRISK).rows()) == 1
    server.answers["/datacatalog/plateau-datasets"] = {"cities": []}
    with pytest.raises(FetchError, match=r"has no list 'citygml'.*it has: cities"):
        Live(server.address, BRISK).rows()
    server.answers["/datacatalog/plateau-datasets"] = b"<html>maintenance</html>"
    with pytest.raises(FetchError, match="not JSON"):
        Live(server.address, BRISK).rows()
    with pytest.raises(FetchError, match="404"):
        Live(server.url("elsewhere"), BRISK).rows()


def test_tiles_of_a_place_with_their_level_of_detail(server):
    tiles = {"bldg": [("51357343", 2), ("51357344", 1)], "tran": [("51357343", 1)]}
    files = {
        theme: [{"code": code, "maxLod": lod, "url": f"https://assets.example/{code}.gml"} for code, lod in rows]
        for theme, rows in tiles.items()
    }
    city = {
        "cityCode": "27100", "cityName": "大阪府大阪市", "year": 2022, "registrationYear": 2022, "spec": "v3.1",
        "url": "https://assets.example/a.zip", "files": files,
    }  # fmt: skip
    server.answers["/datacatalog/citygml/m:51357343,51357344"] = {"cities": [city], "featureTypes": {}}
    server.answers["/datacatalog/citygml/99999"] = {"cities": [], "featureTypes": {}}
    table = Live(server.address, BRISK).tiles("m:51357343,51357344")
    assert table[["mesh", "theme", "max_lod"]].to_numpy().tolist() == [
        ["51357343", "bldg", 2],
        ["51357344", "bldg", 1],
        ["51357343", "tran", 1],
    ]
    assert read.max_lod(table).to_dict() == {"27100": 1.5}
    assert Live(server.address, BRISK).tiles("99999").empty


def package(server: FaultyServer, name: str, *titles: str) -> dict:
    """A CKAN package as package_search and package_show give it: sizes null, the size only in prose."""
    listed = [
        {
            "id": f"{name}-{i}", "package_id": name, "name": title, "format": "ZIP", "url": server.url("big.zip"),
            "description": "約4.2GB", "size": None, "hash": "", "mimetype": None, "position": i,
        }
        for i, title in enumerate(titles)
    ]  # fmt: skip
    return {"id": name, "name": name, "title": "3D都市モデル", "license_id": "plateau", "tags": [], "resources": listed}


@pytest.fixture
def ckan(server) -> Ckan:
    packages = [
        package(server, "plateau-13101-chiyoda-ku-2023", "3D Tiles, MVT", "CityGML（v3）", "CityGML（v4）"),
        package(server, "plateau-13101-chiyoda-ku-2020", "CityGML"),
        package(server, "plateau-27100-osaka-shi-2022", "CityGML（v2）"),
        package(server, "plateau-27999-expo-2025", "CityGML"),
        package(server, "plateau-22203-numazu-shi-obj-2020", "OBJ"),
        package(server, "plateau-tokyo23ku", "CityGML"),
    ]

    def search(query: dict[str, list[str]]) -> dict:
        start, rows = int(query["start"][0]), int(query["rows"][0])
        found = {"count": len(packages), "results": packages[start : start + rows]}
        return {"help": "", "success": True, "result": found}

    def show(query: dict[str, list[str]]) -> dict:
        match = [p for p in packages if p["name"] == query["id"][0]]
        return {"help": "", "success": bool(match), "result": match[0]} if match else {"success": False}

    server.answers |= {"/api/package_search": search, "/api/package_show": show}
    return Ckan(server.url("api"), BRISK, page=4)


def test_ckan_gives_rows_of_the_same_kind(server, ckan):
    table = ckan.rows()
    assert table[["code", "name", "year", "spec", "zip_bytes"]].to_numpy().tolist() == [
        ["13101", "chiyoda-ku", 2023, 4.0, 4321.0],
        ["27100", "osaka-shi", 2022, 2.0, 4321.0],
    ]
    assert server.requests("api/package_search") == 2
    assert list(table.columns) == list(Live.rows(_canned(server)).columns)


def _canned(server: FaultyServer) -> Live:
    server.answers["/datacatalog/plateau-datasets"] = datasets([citygml(server, "01100", 2020)])
    return Live(server.address, BRISK)


def test_ckan_shows_one_package_or_says_no(ckan):
    assert len(ckan.package("plateau-13101-chiyoda-ku-2023")["resources"]) == 3
    with pytest.raises(FetchError, match="no success"):
        ckan.package("plateau-00000-nowhere-2020")


def test_an_archive_is_measured_by_its_directory(server, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("27100_x_citygml/udx/bldg/51357343_bldg_6697_op.gml", b"<x/>" * 500_000)
        archive.writestr("27100_x_citygml/udx/bldg/51357343_bldg_6697_appearance/a.jpg", bytes(1000))
        archive.writestr("27100_x_citygml/udx/tran/51357343_tran_6697_op.gml", b"<x/>")
    (tmp_path / "city.zip").write_bytes(buffer.getvalue())
    found = read.measure(server.url("city.zip"))
    packed = zipfile.ZipFile(buffer).infolist()[0].compress_size
    assert found == {"bldg_tiles": 1, "bldg_xml_mb": 2.0, "bldg_bytes": packed}


# Where a run's files are ---------------------------------------------------------------------------------------------


def test_remote_sources_are_one_archive_per_city_by_theme():
    (source,) = read.sources(params(source="remote", cities=["27100"], themes=["bldg", "tran"]))
    assert source.url.endswith("/datacatalog/citygml/27100-latest/citygml.zip")
    assert source.folder == "27100"
    assert source.members == ("*/udx/bldg/*.gml", "*/udx/tran/*.gml")


def test_named_tiles_bring_their_neighbours_and_the_second_mesh():
    patterns = read.members(params(source="remote", cities=["27100"], tiles=["51357343"], themes=["bldg", "dem"]))

    def wanted(name: str) -> bool:
        return any(fnmatchcase(f"27100_osaka/udx/{name}", pattern) for pattern in patterns)

    assert wanted("bldg/51357343_bldg_6697_op.gml")
    assert wanted("bldg/51357354_bldg_6697_op.gml")
    assert wanted("dem/513573_dem_6697_op.gml")
    assert not wanted("bldg/51357345_bldg_6697_op.gml")
    assert not wanted("tran/51357343_tran_6697_op.gml")
    assert not wanted("bldg/51357343_bldg_6697_appearance/a.jpg")
    assert len(patterns) < 16


def test_all_of_japan_is_refused_with_its_size():
    with pytest.raises(ParameterError, match=r"1,463 GB.*data\.cities"):
        read.sources(params(source="remote"))


def test_a_mirror_is_a_folder_or_archives_in_one(tmp_path):
    (source,) = read.sources(params(source="mirror", mirror=str(tmp_path)))
    assert source.url == str(tmp_path)
    for name in ("27100_osaka.zip", "20202_matsumoto.zip"):
        (tmp_path / name).write_bytes(b"")
    found = read.sources(params(source="mirror", mirror=str(tmp_path), cities=["27100"]))
    assert [(source.url, source.folder) for source in found] == [(str(tmp_path / "27100_osaka.zip"), "27100")]
    with pytest.raises(ParameterError, match=r"data\.mirror"):
        read.sources(params(source="mirror"))
