"""Random forests on the colours and textures around a pixel: what can be said without a network.

Decisions:
- They see what the network sees: its normalised image, the labels of its training crops. Features are scikit-image's
  multi-scale ones (colour, gradient, eigenvalues of the Hessian, from 1 to 16 pixels), which know no direction.
- Classes are asked at every pixel, lines and metres at cells of 4 pixels, as in the network; lines then come from the
  network's own extractor, bearings from the class of the face, faces are connected parts of one class.
- Fitted to a bounded number of crops and pixels, one thread, seeded. A rarer class gets more of them than its share
  (by the square root), or a forest would never say "chimney".
- `ClassHeights` says of every pixel the median metres of what the forest takes it for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from stepladder.core.types import Batch, Prediction, Sample
from stepladder.studies.roofs.data.labels import (
    CHANNELS,
    FACES,
    FLAT,
    IGNORE,
    SECTORS,
    STRIDE,
    SUPERSTRUCTURES,
    UNTYPED,
)
from stepladder.studies.roofs.models.baselines import ridges

CLASSES: Mapping[str, int] = {"superstructure": len(SUPERSTRUCTURES), "face": FACES, "outline": 2}
LETTERS = {"superstructure": "S", "face": "F"}
METRES = ("rise", "height")
LINE_MAPS = (*(f"line{channel}" for channel in range(CHANNELS)), "junction")
PIXELS, OF_A_CROP = 24_000, 500  # of every task, at most
TREES, LEAF = 24, 4
SCALES = (1, 16)  # pixels
STRIP, MARGIN = 512, 80  # rows of an image at a time, and beyond them: features reach 4 of the largest scale and a bit


class Forest:
    """Forests of all tasks that training crops label.

    Args:
        crops: plain training samples.
        seed: of pixels and trees.
    """

    def __init__(self, crops: Iterable[Sample], seed: int):
        rng = np.random.default_rng(seed)
        crops = list(crops)
        count = min(OF_A_CROP, PIXELS // max(1, len(crops)))
        seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for crop in crops:
            for name, pair in drawn(crop, count, rng).items():
                seen.setdefault(name, []).append(pair)
        whole = {name: [np.concatenate(part) for part in zip(*pairs, strict=True)] for name, pairs in seen.items()}
        shared: dict[str, Any] = {"n_estimators": TREES, "min_samples_leaf": LEAF, "n_jobs": 1, "random_state": seed}
        shared |= {"max_features": "sqrt", "max_samples": 0.5}
        self.forests = {
            name: (RandomForestClassifier if name in CLASSES else RandomForestRegressor)(**shared).fit(*whole[name])
            for name in whole
            if len(whole[name][0])
        }
        self._last: tuple[Any, dict[str, np.ndarray]] = (None, {})

    def __call__(self, batch: Batch) -> Prediction:
        """Classes, faces, slopes and metres of an image, as far as the training labels any; its lines are `lines`."""
        maps = self.maps(batch)
        found = {f"{task}_B{letter}YX": maps[task] for task, letter in LETTERS.items() if task in maps}
        found |= {f"{task}_BYX": maps[task] for task in METRES if task in maps}
        if "outline" in maps:
            found["outline_BYX"] = maps["outline"][1]
        if "face" in maps:
            class_YX = maps["face"].argmax(axis=0)
            found |= {"face_id_BYX": parts(class_YX), "slope_BGYX": downhill(class_YX, maps["steepness"])}
        return {name: torch.from_numpy(np.ascontiguousarray(value))[None] for name, value in found.items()}

    def maps(self, batch: Batch) -> dict[str, np.ndarray]:
        """What forests say of the one image of a batch, but for lines; asked again of the same image, remembered."""
        if self._last[0] is not batch["image_CYX"]:
            (image_CYX,) = batch["image_CYX"].cpu().numpy()
            self._last = batch["image_CYX"], self.at(image_CYX, [*CLASSES, *METRES, "steepness"])
        return self._last[1]

    def lines(self, image_CYX: np.ndarray) -> np.ndarray:
        """Lines (L, 6) of an image, scored by closeness; none where no training crop labels any."""
        maps = self.at(image_CYX, LINE_MAPS)
        if f"line{UNTYPED}" not in maps:
            return np.zeros((0, 6), np.float32)
        line_KVU = np.stack([maps.get(name, 0 * maps[f"line{UNTYPED}"]) for name in LINE_MAPS[:CHANNELS]])
        return ridges.extracted(line_KVU, maps["junction"])

    def at(self, image_CYX: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Those of the named maps that were learnt: of pixels (.., Y, X), but maps of lines of cells (V, U)."""
        asked = {name: self.forests[name] for name in names if name in self.forests}
        strips = [_strip(asked, image_CYX, top) for top in range(0, image_CYX.shape[1], STRIP)]
        whole = {name: np.concatenate([strip[name] for strip in strips], axis=-2) for name in asked}
        small, size = {*METRES, "steepness"}, image_CYX.shape[1:]
        return {name: enlarged(value, size) if name in small else value for name, value in whole.items()}


def _strip(forests: Mapping[str, Any], image_CYX: np.ndarray, top: int) -> dict[str, np.ndarray]:
    """Maps of some rows: classes (C, Y, X) of pixels, the others (V, U) of cells."""
    begin, end = max(0, top - MARGIN), min(image_CYX.shape[1], top + STRIP + MARGIN)
    feature_YXK = features(image_CYX[:, begin:end])[top - begin :][:STRIP]
    cell_VUK = ridges.to_cells(feature_YXK)
    return {
        name: probabilities(forest, feature_YXK, CLASSES[name]) if name in CLASSES else _values(forest, cell_VUK)
        for name, forest in forests.items()
    }


class ClassHeights:
    """Metres by class: of every pixel the median rise and height, in training, of what a forest takes it for."""

    def __init__(self, forest: Forest, crops: Iterable[Sample]):
        self.forest = forest
        self.by = [name for name in ("face", "outline") if name in forest.forests][:1]
        seen: dict[str, list[np.ndarray]] = {task: [] for task in METRES}
        for crop in crops:
            class_YX = self._classes(forest.at(crop["image_CYX"], self.by), crop["image_CYX"].shape[1:])
            for task, pairs in seen.items():
                known_YX = crop[f"{task}_labelled_YX"] != 0
                pairs.append(np.column_stack([class_YX[known_YX], crop[f"{task}_YX"][known_YX]]))
        whole = {task: np.concatenate(pairs) for task, pairs in seen.items() if pairs}
        self.median = {task: _medians(pair_N2) for task, pair_N2 in whole.items() if len(pair_N2)}

    def __call__(self, batch: Batch) -> Prediction:
        """Rise and height."""
        class_YX = self._classes(self.forest.maps(batch), batch["image_CYX"].shape[2:])
        return {
            f"{task}_BYX": torch.from_numpy(median_C[class_YX].astype(np.float32))[None]
            for task, median_C in self.median.items()
        }

    def _classes(self, maps: Mapping[str, np.ndarray], size: Sequence[int]) -> np.ndarray:
        """Class of the face where forests know faces, else of the outline, else one for all."""
        return maps[self.by[0]].argmax(axis=0) if self.by else np.zeros(size, int)


def _medians(pair_N2: np.ndarray) -> np.ndarray:
    """Median of the second column for every value of the first, that of all where a class was never seen."""
    median_C = np.full(FACES, np.median(pair_N2[:, 1]))
    for number in np.unique(pair_N2[:, 0]).astype(int):
        median_C[number] = np.median(pair_N2[pair_N2[:, 0] == number, 1])
    return median_C


def features(image_CYX: np.ndarray) -> np.ndarray:
    """Colours and textures of every pixel (Y, X, K) float32."""
    low, high = SCALES
    image_YXC = np.ascontiguousarray(image_CYX.transpose(1, 2, 0))
    return multiscale_basic_features(image_YXC, sigma_min=low, sigma_max=high, workers=1, channel_axis=-1)


def drawn(crop: Sample, count: int, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features (N, K) and answers (N,) of some pixels of a crop, for every task it labels."""
    feature_YXK = features(crop["image_CYX"])
    cell_VUK, found = ridges.to_cells(feature_YXK), {}
    for name in CLASSES:
        label_YX = crop[f"{name}_YX"]
        at = rarer(label_YX.ravel(), count, rng)
        found[name] = feature_YXK.reshape(-1, feature_YXK.shape[-1])[at], label_YX.ravel()[at]
    for name, (value_VU, known_VU) in answers(crop).items():
        at = np.flatnonzero(known_VU)
        at = rng.permutation(at)[:count]
        found[name] = cell_VUK.reshape(-1, cell_VUK.shape[-1])[at], value_VU.ravel()[at]
    return {name: pair for name, pair in found.items() if len(pair[1])}


def answers(crop: Sample) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is asked of cells: name -> values and where they are known, (V, U)."""
    middle = (slice(STRIDE // 2, None, STRIDE),) * 2
    found = {task: (crop[f"{task}_YX"][middle], crop[f"{task}_labelled_YX"][middle]) for task in METRES}
    found["steepness"] = np.hypot(*crop["slope_GYX"])[middle], crop["face_YX"][middle] <= FLAT
    labelled_KVU = crop["line_labelled_KVU"]
    for number in range(CHANNELS):
        found[f"line{number}"] = crop["closeness_KVU"][number], labelled_KVU[number]
    found["junction"] = crop["junction_VU"], labelled_KVU[UNTYPED]
    return found


def rarer(label_N: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of about `count` labelled pixels, of each class by the square root of how many there are."""
    number_C = np.bincount(label_N, minlength=IGNORE + 1)[:IGNORE]
    share_C = np.sqrt(number_C) / max(np.sqrt(number_C).sum(), 1)
    places = [
        rng.permutation(np.flatnonzero(label_N == number))[: int(np.ceil(count * share_C[number]))]
        for number in np.flatnonzero(number_C)
    ]
    return np.concatenate(places) if places else np.zeros(0, int)


def probabilities(forest: RandomForestClassifier, feature_YXK: np.ndarray, classes: int) -> np.ndarray:
    """Probability (C, Y, X) float32 of every class; 0 of one the forest never saw."""
    rows, columns, count = feature_YXK.shape
    found_NC = forest.predict_proba(feature_YXK.reshape(-1, count))
    whole_CN = np.zeros((classes, rows * columns), np.float32)
    whole_CN[forest.classes_] = np.asarray(found_NC).T
    return whole_CN.reshape(classes, rows, columns)


def _values(forest: RandomForestRegressor, cell_VUK: np.ndarray) -> np.ndarray:
    return forest.predict(cell_VUK.reshape(-1, cell_VUK.shape[-1])).reshape(cell_VUK.shape[:2]).astype(np.float32)


def enlarged(map_VU: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map of cells at every pixel (Y, X), bilinear between their middles."""
    whole = torch.nn.functional.interpolate(torch.from_numpy(map_VU)[None, None], scale_factor=STRIDE, mode="bilinear")
    return whole[0, 0].numpy()[: size[0], : size[1]]


def parts(class_YX: np.ndarray) -> np.ndarray:
    """Number of the face at every pixel, int32: connected pixels of one class, 0 where there is no face."""
    number_YX = np.zeros(class_YX.shape, np.int32)
    for face in range(FLAT + 1):
        part_YX = np.asarray(ndimage.label(class_YX == face)[0])
        number_YX = np.where(part_YX > 0, part_YX + number_YX.max(), number_YX)
    return number_YX


def downhill(class_YX: np.ndarray, steepness_YX: np.ndarray) -> np.ndarray:
    """Slope (G, Y, X) east and north on the way down: towards the middle of the sector; 0 where flat or no face."""
    angle_YX = 2 * np.pi * class_YX / SECTORS
    fall_YX = np.where(class_YX < FLAT, steepness_YX, 0)
    return np.stack([fall_YX * np.sin(angle_YX), fall_YX * np.cos(angle_YX)]).astype(np.float32)
