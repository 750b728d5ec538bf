"""A whole study in one file: find bright discs in noisy images.

Copy it, keep the members in this order, and replace their bodies. It is small, but everything is real: raw files in a
format of its own, a converter that refuses broken ones, a model that learns, honest baselines, pictures. What may be
left out (`stepladder.core.study.Study` says what then happens) is left out, but for the names of axes and the pictures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import nn

from stepladder.core.schema import DataParams, Parameters, Section
from stepladder.core.study import Study
from stepladder.core.types import (
    Asset,
    Baseline,
    Batch,
    Box,
    Dataset,
    Loss,
    Picture,
    Prediction,
    Record,
    Sample,
    ShardContent,
    Source,
    StudyError,
    TrainingPhase,
)
from stepladder.data.shards import Shard

SIDE, IMAGES = 32, 12  # pixels of an image, images of one raw file


class DiscData(DataParams):
    """Raw files; what the shared section has comes along."""

    noise: float = Field(0.5, ge=0, description="standard deviation of the noise on synthetic images, disc = 1")


class DiscModel(Section):
    """The network."""

    width: int = Field(8, ge=1, description="channels of the hidden layers")


class DiscParams(Parameters):
    """Parameters of the template study."""

    data: DiscData = DiscData.defaults()
    model: DiscModel = DiscModel.defaults()


class Discs:
    """Images and masks of one split."""

    def __init__(self, shards: Sequence[Path]):
        self.shards = [Shard(path) for path in shards]
        self.places = [(shard, row) for shard in self.shards for row in range(IMAGES)]
        self.groups = np.array([shard.attributes["group"] for shard, _ in self.places], dtype=object)
        self.clusters = np.array([f"{shard.path.stem}:{row}" for shard, row in self.places], dtype=object)
        self.weights = {str(group): 1.0 for group in self.groups}

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """One image and its mask; mirrored at random with `rng`."""
        shard, row = self.places[index]
        image, mask = shard.array("image_NYX")[row], shard.array("mask_NYX")[row]
        if rng is not None and rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        return {"image_YX": image.copy(), "mask_YX": mask.astype(np.int64), "index": index}


class Template(Study[DiscParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "Template: bright discs in noise"
    card = "**Source.** Made on the spot. **Licence.** Apache-2.0. **Units.** Pixels. **Known defects.** None."
    Params = DiscParams

    axes: ClassVar = {"Y": "rows", "X": "columns"}

    def catalogue(self, params: DiscParams) -> pd.DataFrame:
        """Two groups, dark and bright."""
        rows = [{"group": name, "name": name, "region": "synthetic", "bytes": 50_000} for name in ("dark", "bright")]
        return pd.DataFrame(rows).assign(year=2026, quality=1.0)

    def synthesize(self, folder: Path, count: int, seed: int, params: DiscParams) -> list[Source]:
        """Files of images with their masks, bright and dark in turn."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.npy"):  # of a run that asked for more
            path.unlink()
        for number in range(count):
            rng = np.random.Generator(np.random.Philox(key=[seed, number]))
            y, x = np.mgrid[:SIDE, :SIDE]
            centre, radius = rng.uniform(8, SIDE - 8, (2, IMAGES, 1, 1)), rng.uniform(3, 7, (IMAGES, 1, 1))
            mask = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
            image = rng.normal(0, params.data.noise, mask.shape) + (1.0 + number % 2) * mask
            np.save(folder / f"{'bright' if number % 2 else 'dark'}_{number}.npy", np.stack([image, mask]).astype("f4"))
        return [Source(str(folder), self.name, ("*.npy",))]

    def assets(self, raw: Sequence[Path], params: DiscParams) -> list[Asset]:
        """One for each file; the group is how bright its discs are."""
        paths = sorted(path for folder in raw for path in folder.glob("*.npy"))
        return [Asset(path.stem, path.stem.split("_")[0], (path,)) for path in paths]

    def convert(self, asset: Asset, params: DiscParams, cache: Path) -> ShardContent:
        """Images and masks as they are; a file that cannot be read is a `StudyError` with its name."""
        try:
            image_NYX, mask_NYX = np.load(asset.files[0])
        except (OSError, ValueError, EOFError) as error:
            raise StudyError(f"{asset.files[0].name} cannot be read ({error}); fetch it again") from None
        arrays = {"image_NYX": image_NYX, "mask_NYX": mask_NYX.astype(np.uint8)}
        return ShardContent(arrays, attributes={"group": asset.group, "licence": "Apache-2.0"})

    def dataset(self, shards: Sequence[Path], params: DiscParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Images with their masks."""
        return Discs(shards)

    def model(self, params: DiscParams) -> nn.Module:
        """Three convolutions."""
        width = params.model.width
        layers = [nn.Conv2d(1, width, 5, padding=2), nn.GELU(), nn.Dropout(0.1), nn.Conv2d(width, width, 5, padding=2)]
        return nn.Sequential(*layers, nn.GELU(), nn.Conv2d(width, 2, 1))

    def loss(self, model: nn.Module, batch: Batch, phase: TrainingPhase) -> Loss:
        """Cross-entropy per pixel."""
        return Loss(nn.functional.cross_entropy(model(batch["image_YX"][:, None]), batch["mask_YX"]))

    def predict(self, model: nn.Module, batch: Batch) -> Prediction:
        """The likelier label of every pixel."""
        return {"mask_BYX": model(batch["image_YX"][:, None]).argmax(1)}

    def baselines(self, params: DiscParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """Nothing anywhere, and whatever is bright."""
        return {
            "all_background": lambda batch: {"mask_BYX": torch.zeros_like(batch["mask_YX"])},
            "threshold": lambda batch: {"mask_BYX": (batch["image_YX"] > 0.75).long()},
        }

    def oracle(self, batch: Batch, params: DiscParams) -> Prediction:
        """The masks."""
        return {"mask_BYX": batch["mask_YX"]}

    def protocol(self, params: DiscParams) -> dict[str, str]:
        """How discs are counted, in words."""
        return {"space": "pixels", "IoU": "intersection and union of discs summed over images, then divided"}

    def score(self, batch: Batch, prediction: Prediction, params: DiscParams) -> list[Record]:
        """Intersection and union of the discs of every image."""
        truth, guess = batch["mask_YX"].bool(), prediction["mask_BYX"].bool()
        both, either = (truth & guess).sum((1, 2)).tolist(), (truth | guess).sum((1, 2)).tolist()
        return [Record(item, "IoU", float(b), float(e)) for item, (b, e) in enumerate(zip(both, either, strict=True))]

    def preview(self, sample: Sample, params: DiscParams) -> Figure:
        """Image beside mask."""
        return _side_by_side({"image": sample["image_YX"], "label": sample["mask_YX"]})

    def scenes(self, sample: Sample, prediction: Prediction | None, params: DiscParams) -> dict[str, Picture]:
        """Image, mask and predicted mask."""
        images = {"image": sample["image_YX"], "label": sample["mask_YX"]}
        if prediction is not None:
            images["prediction"] = prediction["mask_BYX"][0].numpy()
        return {"mask": Picture(_side_by_side(images), "Image, and where discs are and are said to be, in white.")}

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: DiscParams) -> dict[str, Picture]:
        """How much disc every file holds."""
        figure = Figure(figsize=(5, 3))
        axis = figure.subplots()
        axis.bar([path.stem for path in shards], [Shard(path).array("mask_NYX").mean() for path in shards])
        axis.set(xlabel="file", ylabel="share of disc pixels")
        return {"shares": Picture(figure, "Share of disc pixels in every converted file.")}


def _side_by_side(images: Mapping[str, np.ndarray]) -> Figure:
    """Images under their names."""
    figure = Figure(figsize=(3 * len(images), 3))
    for axis, (title, image_YX) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        axis.imshow(image_YX, cmap="gray")
        axis.set(title=title, xlabel="x (pixels)", ylabel="y (pixels)")
    return figure


study = Template()
