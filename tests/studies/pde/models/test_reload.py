"""A trained model, loaded in another process, scores what it scored here, to the last bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.core import files
from stepladder.core.config import check, dump
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.data import convert, fetch, loading, splits
from stepladder.training import worker
from stepladder.training.loop import Training

VALUES = {
    "study": "pde",
    "profile": "test",
    "run": "run",
    "data": {"synthetic": 4, "tasks": [{"equation": "burgers", "files": 4, "trajectories": 3, "points": 32}]},
    "conversion": {"every_frame": 50},
    "splits": {"by": "asset"},
    "model": {"width": 8, "channels": 8, "modes": 8, "heads": 2, "flow_steps": 4, "student_steps": 3},
    "training": {"steps": 6, "batch": 4, "threads": 1, "validate_every": 3, "ema": 0.9, "use_ladder": False},
    "evaluation": {"samples": 3, "members": 2},
}
SCORE = """
import sys, torch
from pathlib import Path
from stepladder.evaluation import metrics as evaluation
from stepladder.core.run import Run
from stepladder.data import loading
from stepladder.training import checkpoint, worker
torch.set_num_threads(1)
run = Run(Path(sys.argv[1]))
study, params = worker.read_parameters(run, stage="06_evaluation")
model, _ = checkpoint.load_model(study, params, run.checkpoints)
train, *_ = loading.split_shards(run.folder.parent, run.result("02_conversion"), "train")
test, clear = loading.split_shards(run.folder.parent, run.result("02_conversion"), "test")
records = evaluation.evaluate(study, params, model, study.evaluation_dataset(test, params, clear), train)
print(records[records["method"] == "model"].to_json(orient="records", double_precision=15))
print(model.answering, model.kept.item())
"""


@pytest.fixture
def trained(tmp_path: Path) -> Run:
    """A run whose model was trained through three stages, each for a few steps."""
    study, params = find("pde"), check(find("pde").Params, VALUES)
    run = Run(tmp_path / "pde" / "run")
    files.write_text(run.folder / "params.yaml", dump(params.model_dump(mode="json")))
    plans = [fetch.plan(s, tmp_path / "raw") for s in study.synthesize(tmp_path / "made", 4, 0, params)]
    for plan in plans:
        fetch.fetch(plan)
    assets = study.assets([plan.root for plan in plans], params)
    report = convert.convert(assets, params, run.data, convert.Inline())
    divided = splits.split(assets, params.splits, params.seed)
    result = {"shards": {row.asset: f"{run.data.name}/{row.shard}" for row in report.itertuples()}, "splits": divided}
    files.write_json(run.stage_folder("02_conversion") / "result.json", result)
    Training(run, study, params, worker.in_force(run, params), loading.datasets(run, study, params)).fit()
    return run


@pytest.mark.slow
def test_metrics_are_bit_equal_in_another_process(trained: Run) -> None:
    one, two = (_scored(trained) for _ in range(2))
    assert one == two and json.loads(one.splitlines()[0])
    said = [event["stage"] for event in trained.events("gate") if event["check"] != "may start"]
    assert said == ["operator", "flow", "consistency"], "every stage has its verdict"


def _scored(run: Run) -> str:
    command = [sys.executable, "-c", SCORE, str(run.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
