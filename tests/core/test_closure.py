"""Closures against what Python really imports, and against edits that must or must not count."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder import studies
from stepladder.core import closure

ROOT = Path(__file__).parents[2]
EXECUTED = """
import json, sys
for module in sys.argv[1:]:
    __import__(module)
print(json.dumps(sorted(m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "stepladder" and m.__file__)))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package and the notebooks that a test may edit."""
    for folder in ("lib", "notebooks", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    monkeypatch.setattr(closure, "PACKAGE", tmp_path / "lib" / "stepladder")
    monkeypatch.setattr(studies, "__path__", [str(tmp_path / "lib" / "stepladder" / "studies")])
    return tmp_path


def changed(package, edited, study="plateau"):
    """Which stages, and which members, notice an edit: `3`, `convert`."""
    stages = sorted(path.stem for path in (package / "notebooks").glob("*.ipynb"))

    def everything():
        found = {name[1]: closure.of_stage(package, name, study) for name in stages}
        return found | {member: closure.of_member(study, member) for member in ("convert", "synthesize")}

    before = everything()
    edited()
    return {name for name, code in everything().items() if code != before[name]}


def append(path, text="\nEXTRA = 1\n"):
    assert path.exists(), path
    return lambda: path.write_text(path.read_text() + text)


@pytest.mark.slow
def test_a_closure_holds_everything_that_an_import_runs():
    modules = ["stepladder.training.worker", "stepladder.studies.pde.study", "stepladder.report.pages"]
    done = subprocess.run([sys.executable, "-c", EXECUTED, *modules], capture_output=True, text=True, check=True)
    ran = {Path(name).relative_to(closure.PACKAGE).as_posix() for name in json.loads(done.stdout)}
    assert ran <= set(closure.of_modules(*modules)), "read at run time and not in the closure"


def test_a_code_cell_counts_and_the_parameters_cell_and_prose_do_not(package):
    path = package / "notebooks" / "06_evaluation.ipynb"

    def edit(kind, tag=""):
        def do():
            nb = json.loads(path.read_text())
            cell = [c for c in nb["cells"] if c["cell_type"] == kind and tag in "".join(c["metadata"].get("tags", []))][
                -1
            ]
            cell["source"] = ["# edited\n", *cell["source"]]
            path.write_text(json.dumps(nb))

        return do

    assert changed(package, edit("code")) == {"6"}
    assert changed(package, edit("markdown")) == set()
    assert changed(package, edit("code", "parameters")) == set()


def test_writing_down_what_happened_makes_nothing_stale(package):
    path = package / "notebooks" / "06_evaluation.ipynb"

    def add(source):
        def do():
            nb = json.loads(path.read_text())
            nb["cells"].append({"cell_type": "code", "metadata": {}, "outputs": [], "source": source})
            path.write_text(json.dumps(nb))

        return do

    assert changed(package, add("stage.remark('The loader stalled; two workers helped.')")) == set()
    assert changed(package, add("stage.remark('a')\ntrain()")) == {"6"}


def test_a_price_table_counts_where_it_is_read(package):
    assert changed(package, append(package / "params" / "gpu_prices.yaml", "\n# dearer\n")) == {"4", "5"}
    assert changed(package, append(package / "params" / "storage_prices.yaml", "\n# dearer\n")) == {"1"}


def test_a_study_counts_for_its_own_stages_alone(package):
    reader = next((package / "lib" / "stepladder" / "studies" / "scroll").rglob("tif.py"))
    assert changed(package, append(reader), "plateau") == set()
    assert changed(package, append(reader), "scroll") == {*"1234567", "convert", "synthesize"}


def test_where_a_stage_runs_is_no_part_of_what_it_computes(package):
    lib = package / "lib" / "stepladder"
    imports = "\nfrom stepladder.launch import job\nBY_NAME = 'stepladder.launch.targets'\n"
    append(lib / "training" / "process.py", imports)()

    def edit():
        for path in (lib / "launch").glob("*.py"):
            append(path)()
        (lib / "launch" / "another.py").touch()

    assert changed(package, edit) == set()
    for modules in (["stepladder.training.process"], ["stepladder.launch.job", "stepladder.launch"]):
        assert not [name for name in closure.of_modules(*modules) if name.startswith("launch")]
    assert "5" in changed(package, append(lib / "training" / "process.py"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "model", "reader"), [("plateau", "warp_fill", "rings"), ("pde", "fno", "torchfiles")]
)
def test_a_shard_is_not_thrown_away_by_a_model_and_is_by_its_reader(package, study, model, reader):
    home = package / "lib" / "stepladder" / "studies" / study
    assert "convert" not in changed(package, append(next(home.rglob(f"{model}.py"))), study)
    assert "convert" in changed(package, append(next(home.rglob(f"{reader}.py"))), study)


def test_another_member_of_the_study_does_not_touch_its_shards(package):
    path = package / "lib" / "stepladder" / "studies" / "plateau" / "study.py"
    text = path.read_text()
    edited = text.replace("def preview(self", "def preview_of(self", 1)
    assert edited != text
    assert changed(package, lambda: path.write_text(edited)) == set("1234567")


def test_what_a_member_uses_of_its_own_file_counts(tmp_path, monkeypatch):
    home = tmp_path / "own"
    home.mkdir()
    monkeypatch.setattr(studies, "__path__", [str(tmp_path)])
    text = "SCALE = 2\nOTHER = 3\n\n\nclass Own:\n    def convert(self, asset):\n        return self._twice(asset)\n\n"
    text += "    def _twice(self, asset):\n        return SCALE * asset\n\n    def loss(self):\n        return OTHER\n"
    (home / "study.py").write_text(text)
    first = closure.of_member("own", "convert")
    for old, new, same in (("SCALE = 2", "SCALE = 4", False), ("OTHER = 3", "OTHER = 4", True)):
        (home / "study.py").write_text(text.replace(old, new))
        assert (closure.of_member("own", "convert") == first) is same


def test_a_cell_that_does_not_parse_and_a_magic_are_no_error(package):
    path = package / "notebooks" / "07_visualization.ipynb"
    nb = json.loads(path.read_text())
    for text in ("%timeit 1", "def half(", "!ls"):
        nb["cells"].append(
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": [text]}
        )
    path.write_text(json.dumps(nb))
    assert closure.of_stage(package, "07_visualization", "pde")


BEFORE = """
from stepladder.core import files
try:
    from json import dumps as written
except ImportError:
    written = None
SCALE = 1; OFF = 1
if SCALE:
    EDGE = 3


def scaled(by):
    return lambda function: function


class Own:
    K = 2

    @scaled(4)
    def convert(self, asset):
        # a comment
        table = open(files.__file__.replace("files.py", "table.csv"))
        return SCALE * EDGE + type(self).K + OFF, written, table

    def loss(self):
        return 7
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("SCALE = 1;", "SCALE = 5;", True),
        ("OFF = 1", "OFF = 5", True),
        ("EDGE = 3", "EDGE = 5", True),
        ("written = None", "written = 5", True),
        ("@scaled(4)", "@scaled(5)", True),
        ("K = 2", "K = 5", True),
        ("# a comment", "# another", False),
        ("return 7", "return 8", False),
    ],
)
def test_whatever_a_member_uses_of_its_file_counts_however_it_is_bound(tmp_path, monkeypatch, old, new, counts):
    monkeypatch.setattr(studies, "__path__", [str(tmp_path)])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "study.py").write_text(BEFORE)
    first = closure.of_member("own", "convert")
    (tmp_path / "own" / "study.py").write_text(BEFORE.replace(old, new))
    assert (closure.of_member("own", "convert") != first) is counts


def test_a_table_that_a_member_names_counts_and_an_inherited_member_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "__path__", [str(tmp_path)])
    home = tmp_path / "own"
    home.mkdir()
    (home / "table.csv").write_text("1")
    (home / "study.py").write_text(BEFORE)
    first = closure.of_member("own", "convert")
    (home / "table.csv").write_text("2")
    assert closure.of_member("own", "convert") != first
    (home / "__init__.py").write_text("")
    (home / "mixin.py").write_text("class Converts:\n    def convert(self):\n        return 1\n")
    (home / "study.py").write_text(
        "from stepladder.studies.own.mixin import Converts\n\n\nclass Own(Converts):\n    pass\n"
    )
    first = closure.of_member("own", "convert")
    (home / "mixin.py").write_text("class Converts:\n    def convert(self):\n        return 2\n")
    assert closure.of_member("own", "convert") != first
