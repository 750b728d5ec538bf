"""YAML: the same values as PyYAML's own loader, and no text that kills the process or fills its memory."""

from pathlib import Path

import pytest
import yaml

from stepladder.core import yamls
from stepladder.core.errors import Damaged

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "params").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_own_files_are_read_as_by_pyyaml(path):
    values = yamls.read(path)
    assert values == yaml.safe_load(path.read_text())
    assert yaml.safe_load(yamls.dump(values)) == values


def test_every_reader_gets_values_of_its_own(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1]\n")
    yamls.read(tmp_path / "a.yaml")["a"].append(2)
    assert yamls.read(tmp_path / "a.yaml") == {"a": [1]}


def test_a_few_aliases_are_welcome():
    assert yamls.parse("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


@pytest.mark.parametrize("depth", [1000, 8000, 8200, 1_000_000])
@pytest.mark.parametrize("opening", ["[", "- ", "{a: "])
def test_deep_nesting_is_refused_in_a_sentence(tmp_path, depth, opening):
    (tmp_path / "a.yaml").write_text("a: " + opening * depth if opening != "- " else opening * depth)
    with pytest.raises(Damaged, match=r"a\.yaml (is nested too deeply|is not valid YAML)"):
        yamls.read(tmp_path / "a.yaml")


def test_a_bomb_of_merged_aliases_is_refused():
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    with pytest.raises(yaml.YAMLError, match="aliases stand for more than"):
        yamls.parse(bomb)


def test_an_error_says_the_line_and_not_what_stands_there(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\ntoken: hf_secret: [\n")
    with pytest.raises(Damaged, match="line 2") as caught:
        yamls.read(tmp_path / "a.yaml")
    assert "hf_secret" not in str(caught.value) and "\n" not in str(caught.value)
