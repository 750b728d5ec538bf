"""A converted run of the template study, and a small scaling law on it."""

from pathlib import Path

import pytest
import torch

from stepladder import studies, testing
from stepladder.core import files
from stepladder.core.config import check, merge
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.data import convert

LAW = {
    "sizes": {"tiny": {"width": 1}, "small": {"width": 2}, "middle": {"width": 4}, "large": {"width": 8}},
    "units": [4, 8, 24],
    "budgets": [4, 8, 16],
    "metrics": ["IoU"],
    "beyond_model": {"width": 12},
    "beyond_units": 36,
    "samples": 6,
    "bootstrap": 20,
}
VALUES = {
    "study": "template",
    "run": "run",
    "data": {"synthetic": 5},
    "training": {"batch": 4, "learning_rate": 0.01, "warmup": 2, "steps": 8, "threads": 1},
    "evaluation": {"samples": 6, "batch": 6},
}


@pytest.fixture(autouse=True)
def template(monkeypatch):
    """The template study is found here and by child processes."""
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(Path(testing.__file__).parent)])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("place")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture
def make_run(tmp_path):
    """`make_run({"ladder": {"scaling": {...}}})`: a converted run and its parameters; the law above unless given."""

    def make(values=None):
        study = find("template")
        params = check(study.Params, merge(VALUES, {"ladder": {"scaling": LAW}}, values or {}))
        run = Run(tmp_path / "template" / "run")
        run.begin(params)
        if not (tmp_path / "raw").exists():
            study.synthesize(tmp_path / "raw", 5, 0, params)
        assets = study.assets([tmp_path / "raw"], params)
        report = convert.convert(assets, params, run.data / "shards", convert.Inline())
        names = [asset.id for asset in assets]
        shards = {row.asset: f"_data/shards/{row.shard}" for row in report.itertuples()}
        splits = {"train": names[:3], "validation": names[3:4], "test": names[4:]}
        files.write_json(run.stage_folder("02_conversion") / "result.json", {"shards": shards, "splits": splits})
        return run, params

    return make
