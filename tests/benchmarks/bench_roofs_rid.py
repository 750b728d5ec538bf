"""RID in six folds: superstructures and outlines of real roofs by a network of three beginnings, and by a forest.

Run `python tests/benchmarks/bench_roofs_rid.py [SECONDS]`: the CPU-seconds of every training, one a beginning and fold
(default 45, one thread: 20 minutes in all). Synthetic scenes are learnt once before, for PRETRAINED times as long. The
record is tests/benchmarks/records/roofs_rid.json. Nothing is chosen by images held out: rate and batch are the better
ones of a few on synthetic scenes, the last averaged weights are scored, once.

Protocol. The 18 images given, in six folds of three; images that overlap on the ground are never divided. Training on
crops of 256 pixels of the 15 others, by the study's own losses of two tasks; all beginnings get the same CPU-seconds
and draw the same crops. The forest is fitted to the plain crops of the same images. Scored on whole images; networks
are averaged over eight views. Superstructures as annotators are compared: IoU of the classes present in an image, on
the reviewed roof, the mean of an image, then over images. Outlines: of all roofs of an image, and of the roof in the
middle alone, which is what annotators drew: the parts of an outline that touch it, neighbouring roofs taken out.
Intervals: 95 % when images are drawn again; differences are of the same images.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import default_collate

from stepladder.core.study import find
from stepladder.core.types import Asset, Batch, Prediction, Sample, TrainingPhase
from stepladder.data import shards
from stepladder.dev import records
from stepladder.studies.roofs.data import conversion
from stepladder.studies.roofs.data.cases import Cases
from stepladder.studies.roofs.data.crops import Crops
from stepladder.studies.roofs.data.labels import BACKGROUND, IGNORE, SUPERSTRUCTURES
from stepladder.studies.roofs.data.readers import find as layouts
from stepladder.studies.roofs.data.synthesis.layouts import synthesize
from stepladder.studies.roofs.evaluation import agreement, areas
from stepladder.studies.roofs.models import inference, losses, network
from stepladder.studies.roofs.models.baselines.constant import nothing
from stepladder.studies.roofs.models.baselines.forest import CLASSES, Forest
from stepladder.studies.roofs.params import RoofsParams
from stepladder.training.optimize import EMA, make_optimizer

SHARED_DATA = Path(os.environ.get("STEPLADDER_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
RID = SHARED_DATA / "roofs" / "rid"
TASKS = ["superstructure", "outline"]
FOLDS, BATCH, DECAY = 6, 2, 0.98
RATE, WARM_UP = 1e-3, 0.05  # peak, and the share of the time until it is reached
MADE, PRETRAINED = 64, 5.0  # synthetic scenes, and the time on them as a multiple of that of a training
SCORES = ("superstructure", "any class", "outline", "outline of the middle")
GAINS = {  # name -> two beginnings, the second a random one
    "synthetic scenes": ("own, synthetic", "own, random"),
    "ImageNet and its encoder": ("lite0, ImageNet", "own, random"),
}
Method = Callable[[Batch], Prediction]
Made = tuple[Method, dict[str, float]]  # a method that is ready, and what it took
Images = dict[str, list[dict[str, Any]]]  # method -> scores of every image


def main() -> None:
    """Convert, train, score, print; what is known is recorded after every fold."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 45.0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folds = dealt(layouts.assets([RID], settings("own")))
        shard_of = converted([asset for fold in folds for asset in fold], folder)
        start, pretraining = pretrained(folder / "synthetic", PRETRAINED * seconds)
        record: dict[str, Any] = {"seconds": seconds, "batch": BATCH, "pretraining": pretraining}
        record |= {"annotators": people(inside=False), "annotators_on_the_roof": people(inside=True)}
        images: Images = {}
        for number, fold in enumerate(folds):
            test = {asset.id: shard_of[asset.id] for asset in fold}
            train = [path for id, path in shard_of.items() if id not in test]
            for method, make in methods(start, seconds, number).items():
                answer, cost = make(train)
                for image in scored(answer, test):
                    images.setdefault(method, []).append({**image, "cost": cost})
                    print(method, image["image"], {s: round(image[s], 3) for s in SCORES}, flush=True)
            done = [[asset.id for asset in fold] for fold in folds[: number + 1]]
            record |= {"folds": done, "rows": rows(images), "gains": gains(images)}
            records.write(__file__, record)
            tell(record)


def tell(record: dict[str, Any]) -> None:
    """Print what is known after some folds."""
    print(f"after {len(record['folds'])} of {FOLDS} folds")
    for row in record["rows"]:
        print(row["method"], *(f"{score} {said(row[score])}" for score in SCORES), row["cost"], sep="; ")
    for name, gain in record["gains"].items():
        print(f"gain of {name}", *(f"{score} {said(gain[score])}" for score in SCORES), sep="; ", flush=True)


def settings(encoder: str, weights: str = "random") -> RoofsParams:
    """Parameters of a network; crops of 256 pixels and images of 512 are seen as they are."""
    model = {"encoder": encoder, "weights": weights, "tasks": TASKS, "crop": 256, "tile": 512, "tta": True}
    return find("roofs").Params.model_validate({"study": "roofs", "model": model, "data": {"layouts": ["rid"]}})


# Data -----------------------------------------------------------------------------------------------------------------


def dealt(assets: Sequence[Asset]) -> list[list[Asset]]:
    """Folds of equal size: groups that stay together first, each to the fold that has fewest."""
    groups: dict[str, list[Asset]] = {}
    for asset in assets:
        groups.setdefault(asset.split_group or asset.id, []).append(asset)
    folds: list[list[Asset]] = [[] for _ in range(FOLDS)]
    for group in sorted(groups.values(), key=len, reverse=True):
        min(folds, key=len).extend(group)
    return folds


def converted(assets: Sequence[Asset], folder: Path) -> dict[str, Path]:
    """Shards by id of their asset."""
    paths = {asset.id: folder / f"{asset.id}.h5" for asset in assets}
    for asset in assets:
        shards.write(paths[asset.id], conversion.convert(asset, settings("own")), "bench")
    return paths


# Methods --------------------------------------------------------------------------------------------------------------


def methods(start: Mapping[str, torch.Tensor], seconds: float, fold: int) -> dict[str, Callable[[list[Path]], Made]]:
    """How each is made of training shards."""
    trained = partial(learnt, seconds=seconds, seed=fold)
    return {
        "nothing": lambda train: (nothing, {}),
        "forest": forest,
        "own, random": partial(trained, params=settings("own")),
        "own, synthetic": partial(trained, params=settings("own"), start=start),
        "lite0, ImageNet": partial(trained, params=settings("lite0", "imagenet")),
    }


def pretrained(folder: Path, seconds: float) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weights of our own encoder's network after synthetic scenes alone, and what they took."""
    params, begin = settings("own"), time.process_time()
    synthesize(folder, MADE, 13, params)
    paths = list(converted(layouts.assets([folder], params), folder).values())
    drawn = time.process_time() - begin
    torch.manual_seed(0)
    cost = train(model := network.build(params), Crops(paths, params), seconds, 0)
    return model.state_dict(), {"scenes": len(paths), "cpu_s_of_scenes": drawn, **cost}


def learnt(
    paths: list[Path],
    params: RoofsParams,
    seconds: float,
    seed: int,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Made:
    """A network trained on shards, from `start` where it is given."""
    torch.manual_seed(seed)
    model = network.build(params)
    if start is not None:
        model.load_state_dict(start)
    cost = train(model, Crops(paths, params), seconds, seed)
    return partial(inference.predict, model), cost


def train(model: network.Network, crops: Crops, seconds: float, seed: int) -> dict[str, float]:
    """Train for some CPU-seconds, the rate along a cosine of the time that is used up; what it took."""
    optimizer, average = make_optimizer(model, settings("own").training), EMA(model, DECAY)
    rng = np.random.default_rng(seed)
    model.train()
    begin, step = time.process_time(), 0
    while (used := (time.process_time() - begin) / seconds) < 1:
        rate = RATE * min(1.0, used / WARM_UP) * 0.5 * (1 + math.cos(math.pi * used))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = default_collate([crops.sample(int(index), rng) for index in rng.integers(len(crops), size=BATCH)])
        losses.loss(model, batch, TrainingPhase("roofs", 1)).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(step)
        step += 1
    average.settle()
    model.eval()
    return {"steps": step, "cpu_s": time.process_time() - begin}


def forest(paths: list[Path]) -> Made:
    """The forest of the two tasks, fitted to all plain crops."""
    begin, crops = time.process_time(), Crops(paths, settings("own"))
    fitted = Forest([only(crops.sample(index)) for index in range(len(crops))], 0)
    return partial(forest_answer, fitted), {"crops": len(crops), "cpu_s": time.process_time() - begin}


def only(sample: Sample) -> Sample:
    """A sample that labels the two tasks alone: no forest is grown for the others."""
    others = {name: 0 * value for name, value in sample.items() if "labelled" in name}
    return {**sample, **others, "face_YX": np.full_like(sample["face_YX"], IGNORE)}


def forest_answer(fitted: Forest, batch: Batch) -> Prediction:
    """What the forest says of the two tasks."""
    maps = fitted.at(batch["image_CYX"][0].numpy(), [name for name in CLASSES if name in TASKS])
    found = {"superstructure_BSYX": maps["superstructure"], "outline_BYX": maps["outline"][1]}
    return {name: torch.from_numpy(np.ascontiguousarray(value))[None] for name, value in found.items()}


# Scores ---------------------------------------------------------------------------------------------------------------


def scored(method: Method, shard_of: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Scores of some images, by the id of each."""
    found = []
    for id, path in shard_of.items():
        case = Cases([path], settings("own")).sample(0)
        answer = method(default_collate([case]))
        class_YX = answer["superstructure_BSYX"][0].argmax(0).numpy()
        found.append({"image": id, **image_scores(case, class_YX, answer["outline_BYX"][0].numpy() >= 0.5)})
    return found


def image_scores(case: Sample, class_YX: np.ndarray, roof_YX: np.ndarray) -> dict[str, Any]:
    """IoU of superstructures on the roof in the middle (mean, any, each) and of outlines, nan where absent."""
    truth_YX, outline_YX, focus_YX = case["superstructure_YX"], case["outline_YX"], case["focus_YX"] == 1
    iou_S = areas.image_ious(truth_YX, class_YX, len(SUPERSTRUCTURES), focus_YX)
    known_YX = focus_YX & (truth_YX != IGNORE)
    return {
        "superstructure": float(np.nanmean(iou_S)),
        "any class": areas.iou(truth_YX != BACKGROUND, class_YX != BACKGROUND, known_YX),
        "outline": areas.iou(outline_YX == 1, roof_YX, outline_YX != IGNORE),
        "outline of the middle": middle_iou(focus_YX, roof_YX, (outline_YX == 0) | focus_YX),
        "classes": dict(zip(SUPERSTRUCTURES, iou_S.tolist(), strict=True)),
    }


def middle_iou(focus_YX: np.ndarray, roof_YX: np.ndarray, valid_YX: np.ndarray) -> float:
    """IoU of the roof in the middle and the parts of an outline that touch it."""
    part_YX = np.asarray(ndimage.label(roof_YX & valid_YX)[0])
    touching_YX = np.isin(part_YX, np.unique(part_YX[focus_YX])) & (part_YX > 0)
    return areas.iou(focus_YX, touching_YX, valid_YX)


def rows(images: Images) -> list[dict[str, Any]]:
    """A row a method: scores, lead over the forest, every class, what a fold took."""
    found = []
    for method, own in images.items():
        row: dict[str, Any] = {"method": method, **{s: interval(values(own, s)) for s in SCORES}}
        row["over forest"] = {s: interval(values(own, s) - values(images["forest"], s)) for s in SCORES}
        row["classes"] = {name: mean([image["classes"][name] for image in own]) for name in SUPERSTRUCTURES}
        row["cost"] = {name: mean([image["cost"][name] for image in own]) for name in own[0]["cost"]}
        found.append(row)
    return found


def gains(images: Images) -> dict[str, dict[str, dict[str, float]]]:
    """What a beginning gains over a random one."""
    return {
        name: {s: interval(values(images[one], s) - values(images[other], s)) for s in SCORES}
        for name, (one, other) in GAINS.items()
    }


def people(inside: bool) -> dict[str, Any]:
    """Agreement of the annotators: on whole images, as published, or on the reviewed roof, as methods are scored."""
    return asdict(agreement.of_rid(RID, inside))


def values(images: Sequence[Mapping[str, Any]], score: str) -> np.ndarray:
    """A score of every image."""
    return np.array([image[score] for image in images])


def mean(numbers: Sequence[float]) -> float:
    """Of those that are numbers."""
    known = [number for number in numbers if not math.isnan(number)]
    return float(np.mean(known)) if known else math.nan


def interval(value_N: np.ndarray, draws: int = 2000) -> dict[str, float]:
    """The mean, and 95 % of the means when images are drawn again."""
    value_N = value_N[~np.isnan(value_N)]
    drawn_D = value_N[np.random.default_rng(0).integers(len(value_N), size=(draws, len(value_N)))].mean(axis=1)
    low, high = np.percentile(drawn_D, [2.5, 97.5])
    return {"value": float(value_N.mean()), "low": float(low), "high": float(high)}


def said(value: Mapping[str, float]) -> str:
    """A value and its interval."""
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


if __name__ == "__main__":
    main()
