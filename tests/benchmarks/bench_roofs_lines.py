"""Lines of real roofs: our network on the 99 SimpleRoof crops held out, beside detectors nobody trained on roofs.

Run `python tests/benchmarks/bench_roofs_lines.py [SECONDS]`; it takes the CPU-seconds it is given (default 1,700, one
thread) and writes tests/benchmarks/records/roofs_lines.json. Nothing is chosen by the crops held out: the last averaged
weights are scored once.

Protocol. Train: the 200 `train_*` crops given, which hold augmented copies, and synthetic scenes; score: all lines of
all 99 `val_*` crops, sAP at 5, 10 and 15 with end points in a frame of 128 x 128; intervals over crops. Every crop is
shown with its longer side at SIDE pixels, lines are scaled back. The rivals see the crop as it is and at SIDE pixels,
and the better one counts: LSD, and LSD's segments weighed by the edges of HED, a published network.
"""

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from stepladder.core.study import find
from stepladder.dev import records
from stepladder.studies.roofs.data import targets
from stepladder.studies.roofs.data.crops import GAIN, SHIFT, TINT, normalised
from stepladder.studies.roofs.data.labels import STRIDE, UNTYPED
from stepladder.studies.roofs.data.readers.simpleroof import wireframe
from stepladder.studies.roofs.data.synthesis.scene import make
from stepladder.studies.roofs.evaluation.lines import THRESHOLDS, Scored, sap
from stepladder.studies.roofs.models import losses, network
from stepladder.studies.roofs.models.baselines import hed, lsd
from stepladder.studies.roofs.models.vector.lines import extract
from stepladder.studies.roofs.params import RoofsParams
from stepladder.training.optimize import EMA

SHARED_DATA = Path(os.environ.get("STEPLADDER_SHARED_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
SIDE, FRAME = 192, 224  # pixels of a crop's longer side, and of the square the network sees in training
BATCH, RATE, DECAY = 4, 1e-3, 0.99
MADE = 48  # synthetic scenes
PRETRAINED = 0.25  # share of the time spent on synthetic scenes alone; later a quarter of a batch is synthetic
TURNS = tuple((quarter, mirrored) for quarter in range(4) for mirrored in (False, True))
Crop = tuple[np.ndarray, np.ndarray]  # image (Y, X, 3) of bytes, lines (L, 4) in its pixels


def main() -> None:
    """Train, score, print, record."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1700.0
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = SHARED_DATA / "roofs" / "rooflines_hensel"
    val = [crop(path) for path in sorted(folder.glob("val_*.txt"))]
    model = network.build(settings())
    steps, taken = train(model, [crop(path) for path in sorted(folder.glob("train_*.txt"))], made(MADE), seconds)
    methods: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "LSD": lambda image: lsd.segments(lsd.grey(image)),
        f"LSD at {SIDE} px": at_side(lambda image: lsd.segments(lsd.grey(image))),
        "network": at_side(lambda image: found(model, image, TURNS[:1])),
        "network, 8 views": at_side(lambda image: found(model, image, TURNS)),
    }
    if hed.missing() is None:
        edges = hed.HedLines()
        methods["LSD x HED"] = lambda image: edges(normalised(image))
        methods[f"LSD x HED at {SIDE} px"] = at_side(lambda image: edges(normalised(image)))
    rows = [row(name, method, val) for name, method in methods.items()]
    record = {"rows": rows, "crops": len(val), "steps": steps, "cpu_s": taken, "side": SIDE, "batch": BATCH}
    records.write(__file__, record)


def settings() -> RoofsParams:
    """EfficientNet-Lite0 with its ImageNet weights, and the line head alone."""
    model = {"encoder": "lite0", "weights": "imagenet", "decoder": 32, "tasks": ["line"]}
    return find("roofs").Params.model_validate({"study": "roofs", "model": model})


def crop(text: Path) -> Crop:
    """One of the real crops."""
    image_YXC = np.asarray(Image.open(text.with_suffix(".jpg")).convert("RGB"))
    return image_YXC, wireframe(text)[1].reshape(-1, 4)


def made(count: int) -> list[Crop]:
    """The main houses of synthetic scenes, cut out as the real ones are."""
    crops = []
    for number in range(count):
        scene = make(np.random.Generator(np.random.Philox(key=[13, number])), 256, 0.1)
        row_N, column_N = np.nonzero(scene.centre_YX)
        y0, x0 = (max(int(at.min()) - 6, 0) for at in (row_N, column_N))
        y1, x1 = (int(at.max()) + 7 for at in (row_N, column_N))
        lines_L4 = scene.lines_L5[:, :4] - (x0, y0, x0, y0)
        middle_L2 = lines_L4.reshape(-1, 2, 2).mean(axis=1)
        inside_L = ((middle_L2 > 0) & (middle_L2 < (x1 - x0, y1 - y0))).all(axis=1)
        crops.append((scene.image_YXC[y0:y1, x0:x1], lines_L4[inside_L].astype(float)))
    return crops


def train(model: Any, real: list[Crop], synthetic: list[Crop], seconds: float) -> tuple[int, float]:
    """Optimizer steps and CPU-seconds; the rate falls along a cosine of the time that is used up."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    average, rng = EMA(model, DECAY), np.random.default_rng(0)
    model.train()
    begin, step, told = time.process_time(), 0, 0.0
    while (used := (time.process_time() - begin) / seconds) < 1:
        rate = RATE * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * used))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = losses.sums(model((batch := drawn(real, synthetic, used, rng))["image_CYX"]), batch)["line"]
        (loss / losses.counts(batch)["line"].clamp(min=1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(step)
        step += 1
        if used - told > 0.02:
            told = used
            print(
                f"{used:4.0%} step {step}: loss {float(loss.detach() / losses.counts(batch)['line']):.4f}", flush=True
            )
    average.settle()
    model.eval()
    return step, time.process_time() - begin


def drawn(real: list[Crop], synthetic: list[Crop], used: float, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """A batch: synthetic scenes at first, then three real crops and a synthetic one."""
    from_real = 0 if used < PRETRAINED else BATCH - 1
    pools = [real] * from_real + [synthetic] * (BATCH - from_real)
    samples = [sample(*pool[rng.integers(len(pool))], rng) for pool in pools]
    return torch.utils.data.default_collate(samples)


def sample(image_YXC: np.ndarray, lines_L4: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A crop turned by any angle, mirrored, resized, shifted and tinted, with the targets of its lines."""
    zoom = SIDE / max(image_YXC.shape[:2]) * np.exp(rng.uniform(-0.3, 0.2))
    angle, mirror = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    turn_22 = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([mirror, 1])
    middle_2 = np.array(image_YXC.shape[1::-1]) / 2
    shift_2 = FRAME / 2 + rng.uniform(-16, 16, 2) - turn_22 @ middle_2
    # cv2 counts from the middle of the first pixel, lines from its corner.
    matrix_23 = np.column_stack([turn_22, shift_2 + turn_22 @ (0.5, 0.5) - 0.5])
    warped_YXC = cv2.warpAffine(
        image_YXC, matrix_23, (FRAME, FRAME), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )
    gain_C = 1 + rng.uniform(-GAIN, GAIN) + rng.uniform(-TINT, TINT, 3)
    warped_YXC = np.clip(warped_YXC * gain_C + 255 * rng.uniform(-SHIFT, SHIFT), 0, 255).astype(np.uint8)
    ends_L4 = (lines_L4.reshape(-1, 2, 2) @ turn_22.T + shift_2).reshape(-1, 4)
    maps = targets.line_maps(np.column_stack([ends_L4, np.full(len(ends_L4), UNTYPED)]), FRAME)
    labelled_KVU = np.zeros(maps["closeness_KVU"].shape, np.uint8)
    labelled_KVU[UNTYPED] = 1
    inside_YX = cv2.warpAffine(
        np.ones(image_YXC.shape[:2], np.uint8), matrix_23, (FRAME, FRAME), flags=cv2.INTER_NEAREST
    )
    labelled_KVU[UNTYPED] &= inside_YX[
        STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE
    ]  # the mirrored border has no labels
    nothing = np.zeros((FRAME, FRAME), np.uint8)
    unlabelled = {f"{name}_YX": nothing + 255 for name in ("superstructure", "face", "outline")}
    unlabelled |= {f"{name}_labelled_YX": nothing for name in ("rise", "height")}
    return {"image_CYX": normalised(warped_YXC), **maps, "line_labelled_KVU": labelled_KVU, **unlabelled}


@torch.inference_mode()
def found(model: Any, image_YXC: np.ndarray, turns: tuple[tuple[int, bool], ...]) -> np.ndarray:
    """Lines of an image, of the mean of the maps of some of its turns and mirror images."""
    sums: list[Any] = [0.0, 0.0, 0.0]
    for quarter, mirrored in turns:
        seen = torch.from_numpy(normalised(image_YXC))[None]
        seen = torch.rot90(seen.flip(-1) if mirrored else seen, quarter, (-2, -1))
        maps = model(
            torch.nn.functional.pad(seen, (0, -seen.shape[3] % STRIDE, 0, -seen.shape[2] % STRIDE), "replicate")
        )
        raw = maps["line_BKVU"].sigmoid(), maps["direction_BDVU"], maps["junction_BVU"].sigmoid()[:, None]
        for place, value in enumerate(raw):
            back = torch.rot90(value, -quarter, (-2, -1))
            back = back.flip(-1) if mirrored else back
            if place == 1:  # a quarter turn adds pi to the doubled angle, a mirror image turns its sign
                back = back * (-1.0) ** quarter
                back = torch.stack([back[:, 0], -back[:, 1]], 1) if mirrored else back
            sums[place] = sums[place] + back
    line, direction, junction = ((value / len(turns))[0].numpy() for value in sums)
    return extract(line, direction, junction[0], threshold=0.02)


def at_side(method: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A method on the image with its longer side at SIDE pixels (a multiple of the stride each way)."""

    def scaled(image_YXC: np.ndarray) -> np.ndarray:
        zoom = SIDE / max(image_YXC.shape[:2])
        width, height = (max(STRIDE, round(side * zoom / STRIDE) * STRIDE) for side in image_YXC.shape[1::-1])
        lines_LF = method(cv2.resize(image_YXC, (width, height), interpolation=cv2.INTER_AREA)).copy()
        lines_LF[:, :4] *= np.tile([image_YXC.shape[1] / width, image_YXC.shape[0] / height], 2)
        return lines_LF

    return scaled


def row(name: str, method: Callable[[np.ndarray], np.ndarray], val: list[Crop]) -> dict[str, Any]:
    """sAP of a method with intervals over crops, and the milliseconds it takes for a crop."""
    begin, images = time.process_time(), []
    for image_YXC, lines_L4 in val:
        lines_LF = method(image_YXC)
        images.append(Scored(lines_L4, lines_LF[:, :4], lines_LF[:, 5], image_YXC.shape[1::-1]))
    taken = 1000 * (time.process_time() - begin) / len(val)
    result: dict[str, Any] = {"method": name, "ms": taken}
    for threshold in THRESHOLDS:
        low, high = interval(images, threshold)
        result |= {f"sAP{threshold}": sap(images, threshold), f"low{threshold}": low, f"high{threshold}": high}
    print(", ".join(f"{key} {value:.1f}" if isinstance(value, float) else str(value) for key, value in result.items()))
    return result


def interval(images: list[Scored], threshold: float, draws: int = 200) -> tuple[float, float]:
    """95 % of the values when crops are drawn again."""
    rng = np.random.default_rng(0)
    values = [sap([images[i] for i in rng.integers(len(images), size=len(images))], threshold) for _ in range(draws)]
    return float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))


if __name__ == "__main__":
    main()
