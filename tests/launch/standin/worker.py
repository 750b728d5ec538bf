"""Stands in for the training process in drills: no torch, but the same files, the same exit codes, the same resume.

Its state is a chain of hashes, a link a step, so that a step that was left out or made twice changes the end.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from stepladder.core import files, jsonlines, lock
from stepladder.core.config import read_yaml
from stepladder.core.run import Run


def main() -> int:
    """Train; the exit code."""
    run = Run(Path(sys.argv[1]).resolve())
    params = read_yaml(Path(sys.argv[2]))
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: None if params["model"]["deaf"] else told.append(number))
    print(f"training begins, with {len(os.environ.get('DRILL_TOKEN', ''))} characters of a token", flush=True)
    outcome = run.folder / "05_training" / "outcome.json"
    with lock.hold(run.folder / "05_training", f"training of {run.study}/{run.name}"):
        outcome.unlink(missing_ok=True)
        try:
            state, reason = train(run, params, told)
        except OSError as error:
            state, reason = "failed", f"cannot write {Path(error.filename or '').name}: {error.strerror}"
        files.write_json(outcome, {"state": state, "reason": reason})
    return {"done": 0, "preempted": 143}.get(state, 1)


def train(run: Run, params: dict[str, Any], told: list[int]) -> tuple[str, str]:
    """Make the steps that are missing; how it ended, and why."""
    training, model = params["training"], params["model"]
    step, value = newest(run)
    metrics = run.folder / "metrics.jsonl"
    if metrics.exists():
        jsonlines.keep(metrics, lambda line: line["step"] <= step)
    if step:
        run.event("resumed", step=step)
    run.event("training_stage", stage="all", step=step, end=training["steps"], total=training["steps"])
    while step < training["steps"]:
        step += 1
        value = hashlib.sha256(f"{value} {step}".encode()).hexdigest()
        time.sleep(model["sleep"])
        jsonlines.append(metrics, {"step": step, "loss": int(value[:8], 16) / 2**32, "time": time.time()})
        if step % training["checkpoint_every"] == 0 or step == training["steps"] or told:
            save(run, step, value, model["padding"])
        if told:
            return "preempted", f"saved at step {step}"
        while step == model["hang_at"] and not told and not (Path.home() / "sound").exists():
            time.sleep(0.1)
    return "done", f"all {step} steps are done"


def newest(run: Run) -> tuple[int, str]:
    """Step and state of the newest whole checkpoint; the beginning where there is none."""
    for place in sorted(run.checkpoints.glob("step_*"), reverse=True):
        seal, data = files.read_object(place / "COMMITTED"), (place / "state.pt").read_bytes()
        if seal and hashlib.sha256(data).hexdigest() == seal["sha256"]:
            return seal["step"], json.loads(data.split(b"\n")[0])
        run.event("checkpoint_damaged", step=int(place.name[5:]))
    return 0, ""


def save(run: Run, step: int, value: str, padding: int) -> None:
    """Write a checkpoint, its seal last; leave the newest two."""
    place = run.checkpoints / f"step_{step:08d}"
    files.write_bytes(place / "state.pt", json.dumps(value).encode() + b"\n" + os.urandom(padding << 20))
    seal = {"step": step, "stage": "all", "best": None, "config_fingerprint": {}, "code": ""}
    written = place / "state.pt"
    files.write_json(
        place / "COMMITTED", {**seal, "sha256": files.file_sha256(written), "bytes": written.stat().st_size}
    )
    for old in sorted(run.checkpoints.glob("step_*"))[:-2]:
        shutil.rmtree(old)


if __name__ == "__main__":
    sys.exit(main())
