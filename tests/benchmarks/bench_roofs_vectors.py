"""Vectors of synthetic roofs kept out, and what the quick model costs: time and memory of images of two sizes.

Run `python tests/benchmarks/bench_roofs_vectors.py [SECONDS]`: trains the network of the profile quick on synthetic
scenes in which every task is labelled for the CPU-seconds given (default 600, one thread), and compares the roofs it
finds in scenes kept out with the exact ones. A true face of 4 m2 and more is found where one face overlaps it by an IoU
above 0.5; area and pitch are compared of those, placement is the distance of found lines from true ones. The truth in
the form of a prediction, its own lines included, goes through the same vectors beside it.

The record is tests/benchmarks/records/roofs_vectors.json.
"""

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from torch.utils.data import default_collate

from stepladder.core import profiles
from stepladder.core.study import find
from stepladder.core.types import Asset, Prediction, Sample
from stepladder.data import shards
from stepladder.data.sampling import Order, StepBatches
from stepladder.dev import records
from stepladder.evaluation.metrics import choose
from stepladder.studies.roofs.data import conversion
from stepladder.studies.roofs.data.cases import Cases
from stepladder.studies.roofs.data.crops import Crops
from stepladder.studies.roofs.data.synthesis.scene import make
from stepladder.studies.roofs.evaluation import areas, lines
from stepladder.studies.roofs.evaluation.scoring import image_of
from stepladder.studies.roofs.models import network
from stepladder.studies.roofs.models.vector import roofs
from stepladder.training.optimize import learning_rate_factor, set_rates
from stepladder.training.step import lone_train_state, train_step

ROOT = Path(__file__).resolve().parents[2]
SIDE, GSD, TRAIN, KEPT_OUT = 256, 0.1, 60, 20
LARGE = 1024
PERCENTILES = (50, 90)


def main() -> None:
    """Train, compare, time, record."""
    if sys.argv[1:2] == ["time"]:
        print(json.dumps(timed()))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    torch.set_num_threads(1)
    params = profiles.load(ROOT, "roofs", "quick")
    with TemporaryDirectory() as folder:
        paths = [shard(Path(folder), number) for number in range(TRAIN + KEPT_OUT)]
        model, steps, taken = trained(params, paths[:TRAIN], seconds)
        cases = Cases(paths[TRAIN:], params)
        study = find("roofs")
        samples = [cases.sample(int(index)) for index in choose(cases, KEPT_OUT)]
        rows = [compared("network", samples, lambda batch: study.predict(model, batch))]
        rows.append(compared("perfect maps", samples, lambda batch: study.oracle(batch, params)))
    child = subprocess.run([sys.executable, __file__, "time"], capture_output=True, text=True, check=True)
    costs = json.loads(child.stdout.strip().splitlines()[-1])
    print(costs)
    records.write(__file__, {"rows": rows, "steps": steps, "cpu_s": taken, "scenes": TRAIN, "large": costs})


def shard(folder: Path, number: int) -> Path:
    """A scene with all its labels, converted."""
    scene = make(np.random.Generator(np.random.Philox(key=[29, number])), SIDE, GSD)
    asset = Asset(f"scene_{number}", "synthetic", ())
    shards.write(folder / f"{asset.id}.h5", conversion.content(asset, scene.labelled()), "bench")
    return folder / f"{asset.id}.h5"


def trained(params: Any, paths: list[Path], seconds: float) -> tuple[Any, int, float]:
    """The network after so many CPU-seconds, the steps it made in them, and the seconds."""
    study, data = find("roofs"), Crops(paths, params)
    torch.manual_seed(0)
    model, phase = study.model(params), study.phases(params)[0]
    training = params.training
    state = lone_train_state(study, model, phase, training, seed=0)
    order = Order(data.groups, data.weights, 0)
    begin, step = time.process_time(), 0
    while (used := (time.process_time() - begin) / seconds) < 1:
        rate = (
            training.learning_rate
            * min(1.0, (step + 1) / 20)
            * learning_rate_factor("cosine", int(1000 * used), 1000, 0)
        )
        set_rates(state.optimizer, rate, training.weight_decay)
        [draws] = StepBatches(order, training.batch, step, step + 1).step(step)
        dice = [np.random.Generator(np.random.Philox(key=[step, slot])) for slot in range(len(draws))]
        batch = default_collate([data.sample(index, rng) for (_, index), rng in zip(draws, dice, strict=True)])
        result = train_step(state, step, [batch])
        step += 1
        if step % 50 == 0:
            print(f"{used:4.0%} step {step}: loss {float(result.loss):.3f}", flush=True)
    model.eval()
    return model, step, time.process_time() - begin


def compared(name: str, samples: Iterable[Sample], predict: Any) -> dict[str, Any]:
    """How far found roofs are from true ones, over all scenes."""
    faces, apart, found, true, guessed = [], [], 0, 0, 0
    for sample in samples:
        prediction: Prediction = predict(default_collate([sample]))
        one = image_of(prediction, 0)
        guess = [face for roof in roofs.vectorise(one, GSD) for face in roof.faces]
        hit, whole, made = matched(sample, guess, faces)
        found, true, guessed = found + hit, true + whole, guessed + made
        apart += placement(sample, one)
    area, pitch = (np.array([face[key] for face in faces]) for key in ("area", "pitch"))
    place = np.array(apart)
    row: dict[str, Any] = {"method": name, "found": found, "true": true, "guessed": guessed, "lines_m": len(place)}
    for percent in PERCENTILES:
        for key, values in (("area", np.abs(area)), ("pitch", pitch), ("placement", place)):
            row[f"{key}_{percent}"] = float(np.percentile(values, percent)) if len(values) else math.nan
    row["area_within"] = float((np.abs(area) <= 0.05).mean()) if len(area) else math.nan
    row["pitch_within"] = float((pitch <= 3).mean()) if len(pitch) else math.nan
    print(
        ", ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    )
    return row


def matched(sample: Sample, guess: list[Any], faces: list[dict[str, float]]) -> tuple[int, int, int]:
    """Faces found, true and guessed of one scene; relative area and pitch errors of the found ones join `faces`."""
    id_YX = np.asarray(sample["face_id_YX"])
    guess_YX = np.zeros_like(id_YX)
    for number, face in enumerate(guess, 1):
        guess_YX[roofs.face_ids([roofs.Roof(face.polygon, (face,), ())], id_YX.shape) > 0] = number
    counts = areas.instances(id_YX, guess_YX, np.ones(id_YX.shape, bool), 4.0 / GSD**2)
    slope_GYX = np.asarray(sample["slope_GYX"])
    for number in np.unique(id_YX[id_YX > 0]):
        truth_YX = id_YX == number
        overlap = np.bincount(guess_YX[truth_YX], minlength=len(guess) + 1)
        best = int(overlap[1:].argmax()) + 1 if len(guess) else 0
        if not best or overlap[best] * 2 <= (truth_YX | (guess_YX == best)).sum() or truth_YX.sum() * GSD**2 < 4:
            continue
        pitch = math.degrees(math.atan(float(np.linalg.norm(slope_GYX[:, truth_YX].mean(axis=1)))))
        area = guess[best - 1].polygon.area / truth_YX.sum() - 1
        faces.append({"area": float(area), "pitch": abs(guess[best - 1].pitch - pitch)})
    return int(counts[0]), int(counts[1]), int(counts[2])


def placement(sample: Sample, one: dict[str, np.ndarray]) -> list[float]:
    """Pixels from places along found lines (of a score of 0.3 and more) to the nearest true line."""
    found_L4 = one["lines_LF"][one["lines_LF"][:, 5] >= 0.3][:, :4]
    true_N2, _ = lines.samples(np.asarray(sample["lines_LF"])[:, :4])
    if not len(found_L4) or not len(true_N2):
        return []
    return KDTree(true_N2).query(lines.samples(found_L4)[0])[0].tolist()


def timed() -> dict[str, float]:
    """Seconds of a 1024 x 1024 image through the quick model on two threads after a first one, and the peak memory."""
    torch.set_num_threads(2)
    study, params = find("roofs"), profiles.load(ROOT, "roofs", "quick")
    model = network.build(params).eval()
    image_YXC = make(np.random.Generator(np.random.Philox(key=[29, 999])), LARGE, GSD).image_YXC
    image = torch.from_numpy(image_YXC.transpose(2, 0, 1).astype(np.float32))[None] / 128 - 1
    batch = {"image_CYX": image, "gsd_m": torch.tensor([GSD])}
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        study.predict(model, batch)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"first_s": seconds[0], "seconds": min(seconds), "peak_gb": peak / 1e9}


if __name__ == "__main__":
    main()
