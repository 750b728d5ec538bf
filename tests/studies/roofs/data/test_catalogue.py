"""What exists, under which terms, and the way out where a run cannot fetch it."""

import zipfile
from pathlib import Path

import pytest

from stepladder.core.config import ParameterError
from stepladder.data import fetch, inventory
from stepladder.studies.roofs import card
from stepladder.studies.roofs.data import catalogue
from stepladder.studies.roofs.data.readers import find
from stepladder.studies.roofs.params import SOURCES, RoofsParams


def params(**data: object) -> RoofsParams:
    return RoofsParams.model_validate({"study": "roofs", "data": data})


def test_the_catalogue_is_what_the_inventory_needs(tmp_path: Path) -> None:
    table = catalogue.read(params())
    inventory.save(table, tmp_path)
    assert table["quality"].between(0, 1).all() and table["quality"].is_monotonic_decreasing
    for column in ("licence", "terms", "how_to_get"):
        assert table[column].str.len().min() > 5, column
    assert set(SOURCES) <= set(table["source"]), "every reader has a set"
    inventory.overview(table, card.SIZES, card.PLANNED)


def test_facts_agree_with_what_was_published() -> None:
    table = catalogue.read(params()).set_index("group")
    assert table.loc["roofline", "images"] == 1670 and table.loc["simpleroof", "images"] == 7501 + 139
    assert table.loc["airs", "images"] == 857 + 94 + 96 and "test.txt" in table.loc["airs", "missing"]
    assert table.loc["rid", "typed_bytes"] > 0 and table.loc["simpleroof", "typed_bytes"] == 0
    assert set(card.PLANNED) <= set(table["region"])


def test_the_card_says_what_a_card_must() -> None:
    for part in ("**Source.**", "**Licence.**", "**Units.**", "**Known defects.**"):
        assert part in card.CARD


def test_no_set_is_fetched_behind_anybodys_back_and_each_says_how_to_get_it() -> None:
    with pytest.raises(ParameterError) as caught:
        catalogue.sources(params(source="remote", sources=["rid", "airs"]))
    for part in ("2022mp1655470", "kaggle datasets download", "never publish", "data.mirror="):
        assert part in str(caught.value)
    assert "loosgagnet" not in str(caught.value), "not asked for"


def test_a_mirror_may_hold_archives_with_odd_names(tmp_path: Path, shared_data: Path) -> None:
    odd = tmp_path / "mirror" / "Dächer (copy 2).final.ZIP"
    odd.parent.mkdir()
    with zipfile.ZipFile(odd, "w") as archive:
        for name in ("val_000002.jpg", "val_000002.txt"):
            archive.write(shared_data / "roofs" / "rooflines_hensel" / name, f"my crops/{name}")
        archive.writestr("__MACOSX/my crops/._val_000002.jpg", b"junk")
        archive.writestr("readme.exe", b"junk")
    asked = params(source="mirror", mirror=str(odd.parent))
    sources = catalogue.sources(asked)
    for source in sources:
        fetch.fetch(fetch.plan(source, tmp_path / "raw"))
    assert [asset.id for asset in find.assets([tmp_path / "raw"], asked)] == ["simpleroof_val_000002"]


def test_a_mirror_without_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"data\.mirror is not set"):
        catalogue.sources(params(source="mirror"))
    (tmp_path / "Roofline.rar").write_bytes(b"Rar!")
    with pytest.raises(ParameterError, match=r"unpack Roofline\.rar there"):
        catalogue.sources(params(source="mirror", mirror=str(tmp_path)))
