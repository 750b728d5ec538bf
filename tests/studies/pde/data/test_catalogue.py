"""The inventory of published files, and their download one by one."""

import hashlib

import pandas as pd
import pytest

from stepladder.core.config import ParameterError
from stepladder.data import inventory
from stepladder.data.fetch import FetchError, Patience
from stepladder.studies.pde.data import catalogue, download
from stepladder.studies.pde.params import PdeData, PdeParams
from stepladder.testing.server import Cut, FaultyServer, Status, WrongBytes

QUICK = Patience(connect_s=2, read_s=2, tries=3, first_s=0.01, longest_s=0.02)


def params(**data):
    return PdeParams(study="pde", data=PdeData(**data))


def test_the_snapshot_is_the_public_manifest(shared_data):
    folder = shared_data / "pde"
    manifest = folder / "universal_simulator" / "pdebench_manifest.yaml"
    made = catalogue.snapshot_of(manifest, folder / "pdebench" / "pdebench_data_urls.csv")
    pd.testing.assert_frame_equal(made, catalogue.snapshot())


def test_lists_that_disagree_are_refused(tmp_path, shared_data):
    folder = shared_data / "pde"
    text = (folder / "universal_simulator" / "pdebench_manifest.yaml").read_text()
    (tmp_path / "m.yaml").write_text(text.replace("b4be2fc3383f737c76033073e6d2ccfb", "0" * 32))
    with pytest.raises(ValueError, match=r"1 files have another checksum in pdebench_data_urls.csv: 1D/Advection"):
        catalogue.snapshot_of(tmp_path / "m.yaml", folder / "pdebench" / "pdebench_data_urls.csv")


def test_the_catalogue_adds_up_to_the_published_3_9_terabytes(tmp_path):
    table = catalogue.read(params())
    assert table["files"].sum() == 336 and table["bytes"].sum() == 3_902_903_970_421
    totals = inventory.totals(table)
    assert totals.loc["burgers", "groups"] == 12 and totals.loc["navier_stokes", "bytes"] > 2.7e12
    assert totals.loc["burgers", "bytes"] == 12 * 8_232_968_312
    assert inventory.save(table, tmp_path).exists(), "groups are unique"
    assert table["quality"].between(0, 1).all() and table["quality"].is_monotonic_decreasing


@pytest.mark.parametrize("budget", [0.002, 0.1, 5.0])
def test_what_fits_the_disk_fits_it(budget):
    table = catalogue.read(params(budget_tb=budget))
    fitting = table["fitting_bytes"]
    assert 0 < fitting.sum() <= budget * 1e12
    assert set(fitting) <= {0, *table["bytes"]}
    assert (fitting.sum() == table["bytes"].sum()) == (budget == 5.0)


def test_groups_have_addresses_and_unknown_ones_the_nearest_name():
    found = catalogue.addresses("burgers Nu=0.01")
    assert found["path"].tolist() == ["1D/Burgers/Train/1D_Burgers_Sols_Nu0.01.hdf5"]
    assert found["url"].str.startswith("https://").all() and found["md5"].str.len().eq(32).all()
    assert len(catalogue.addresses("navier_stokes")) == 275
    with pytest.raises(ParameterError, match=r"did you mean 'burgers Nu=0\.01'"):
        catalogue.addresses("burger Nu=0.01")


def test_sources_say_what_is_missing(tmp_path):
    with pytest.raises(ParameterError, match=r"python -m stepladder\.studies\.pde\.data\.download"):
        catalogue.sources(params(source="remote"))
    with pytest.raises(ParameterError, match=r"data.mirror is not set: give a folder with files .hdf5"):
        catalogue.sources(params(source="mirror"))
    with pytest.raises(ParameterError, match="is no folder on this machine"):
        catalogue.sources(params(source="mirror", mirror=str(tmp_path / "nowhere")))
    (source,) = catalogue.sources(params(source="mirror", mirror=str(tmp_path)))
    assert "*.hdf5" in source.members and "*.pt" in source.members


# Download ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    content = bytes(range(256)) * 2000
    (folder / "file").write_bytes(content)
    with FaultyServer(folder) as server:
        yield server, content, hashlib.md5(content).hexdigest()


@pytest.mark.drill
def test_a_cut_download_goes_on_where_it_stood(served, tmp_path):
    server, content, md5 = served
    server.add(Status(503), Cut(after=200_000, skip=1))
    path = download.download(server.url("file"), tmp_path / "a.hdf5", len(content), md5, QUICK)
    assert path.read_bytes() == content
    assert server.bytes_sent("file") < 1.2 * len(content), "what had come was not moved again"
    asked = server.requests("file")
    download.download(server.url("file"), path, len(content), md5, QUICK)
    assert server.requests("file") == asked, "a file that is there is not asked for"


@pytest.mark.drill
def test_a_killed_download_resumes_from_the_part_on_disk(served, tmp_path):
    server, content, md5 = served
    (tmp_path / ".a.hdf5.part").write_bytes(content[:300_000])
    path = download.download(server.url("file"), tmp_path / "a.hdf5", len(content), md5, QUICK)
    assert path.read_bytes() == content and not (tmp_path / ".a.hdf5.part").exists()
    assert server.bytes_sent("file") < len(content) - 300_000 + 1000


@pytest.mark.drill
def test_a_wrong_checksum_or_size_never_takes_the_files_name(served, tmp_path):
    server, content, md5 = served
    server.add(WrongBytes(position=1000, skip=1))
    with pytest.raises(FetchError, match=r"a.hdf5: MD5 is .*, published is"):
        download.download(server.url("file"), tmp_path / "a.hdf5", len(content), md5, QUICK)
    assert not list(tmp_path.glob("*a.hdf5*"))
    with pytest.raises(FetchError, match=r"the server has 512000 bytes, 7 were published"):
        download.download(server.url("file"), tmp_path / "a.hdf5", 7, md5, QUICK)
