"""The contract every study passes: the same questions, asked of ten synthetic samples on a CPU.

A study's test calls `Contract(study, params, folder).everything()`; a test parametrised by discovery calls each member
by name, so that a failure says which promise is broken. Each member raises AssertionError with the reason, or SkipTest
where nothing can be asked.
"""

import contextlib
import hashlib
import unittest
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch

from stepladder.core.records import Conversion, Split, Splits
from stepladder.core.schema import Parameters
from stepladder.core.study import Study
from stepladder.core.types import Asset, Dataset
from stepladder.data import convert, fetch, loading, splits
from stepladder.training import smoke
from stepladder.training.trainable import parameter_contract
from stepladder.view import render, web

QUESTIONS = (
    "card_is_complete",
    "synthesis_is_deterministic",
    "conversion_is_idempotent",
    "truncated_file_is_a_named_row",
    "splits_are_disjoint",
    "samples_are_as_declared",
    "augmentation_follows_its_generator",
    "gradient_reaches_every_parameter",
    "batch_may_be_divided",
    "absent_task_learns_nothing",
    "learns_ten_samples_by_heart",
    "saves_and_loads_exactly",
    "perfect_prediction_scores_perfect",
    "untrained_model_beats_no_baseline",
    "pictures_are_drawn",
)


@dataclass
class Contract:
    """The questions, for one study with parameters small enough for a test; `folder` is scratch space."""

    study: Study
    params: Parameters
    folder: Path
    steps: int = smoke.STEPS

    def everything(self) -> None:
        """Ask every question."""
        for question in QUESTIONS:
            with contextlib.suppress(unittest.SkipTest):
                getattr(self, question)()

    def card_is_complete(self) -> None:
        """The card names source, licence, units and known defects."""
        missing = [word for word in ("Source", "Licence", "Units", "Known defects") if word not in self.study.card]
        assert not missing, f"the card of {self.study.name} does not tell {', '.join(missing)}"

    def synthesis_is_deterministic(self) -> None:
        """The same seed writes the same bytes, wherever more were made before; another seed writes others."""
        count = self.params.data.synthetic
        seeds = {"one": self.params.seed, "two": self.params.seed, "three": self.params.seed + 1}
        hashes = []
        self.study.synthesize(self.folder / "two", count + 1, self.params.seed, self.params)
        for name, seed in seeds.items():
            self.study.synthesize(self.folder / name, count, seed, self.params)
            hashes.append(_digest(self.folder / name))
        assert hashes[0] == hashes[1], "the same seed wrote other bytes"
        assert hashes[0] != hashes[2], "another seed wrote the same bytes"

    def conversion_is_idempotent(self) -> None:
        """Converting again keeps every shard."""
        assert (self._report["state"] == "converted").all(), self._report[["asset", "state", "reason"]].to_string()
        before = _digest(self._shards)
        again = convert.convert(self._assets, self.params, self._shards, convert.Inline())
        assert set(again["state"]) == {"kept"} and _digest(self._shards) == before

    def truncated_file_is_a_named_row(self) -> None:
        """A raw file cut in half fails its asset by name and harms nothing else."""
        asset = self._assets[0]
        whole = asset.files[0].read_bytes()
        try:
            asset.files[0].write_bytes(whole[: len(whole) // 2])
            row = convert.convert([asset], self.params, self.folder / "cut", convert.Inline()).iloc[0]
        finally:
            asset.files[0].write_bytes(whole)
        assert row["state"] == "failed" and asset.files[0].name in row["reason"], dict(row)

    def splits_are_disjoint(self) -> None:
        """No asset stands in two splits, and every split has samples."""
        parts = [set(self._splits[name]) for name in splits.NAMES]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert all(len(self._dataset(name)) for name in splits.NAMES), "a split has no samples"

    def samples_are_as_declared(self) -> None:
        """All samples have the same finite arrays, with as many axes as their names say, and the letters are told."""
        _demand(smoke.check_shapes(self._samples, self.study.axes))

    def augmentation_follows_its_generator(self) -> None:
        """The same generator state gives the same sample."""
        data = self._dataset("train")
        one, two = (data.sample(0, np.random.Generator(np.random.Philox(key=7))) for _ in range(2))
        assert all(np.array_equal(one[name], two[name]) for name in one)

    def gradient_reaches_every_parameter(self) -> None:
        """Of every stage of training."""
        for phase in self.study.phases(self.params):
            rows = parameter_contract(self.study, self.study.model(self.params), phase, self._batch)
            assert rows[-1]["gradient"] == rows[-1]["trainable"] > 0

    def batch_may_be_divided(self) -> None:
        """Among processes and micro-batches, in every stage of training: nothing else is learnt then."""
        for phase in self.study.phases(self.params):
            torch.manual_seed(self.params.seed)
            _demand(smoke.check_divided(self.study, self.study.model(self.params), self._batch, phase))

    def absent_task_learns_nothing(self) -> None:
        """Of a study with tasks, from samples that lack its labels: asked of each task that some samples lack.

        Raises:
            SkipTest: every sample has every task, so nothing can be asked.
        """
        phase = self.study.phases(self.params)[0]
        checks = smoke.check_absent(self.study, self.params, self._samples, phase)
        if not checks and self.study.tasks(self.study.model(self.params)):
            raise unittest.SkipTest(f"each of the {len(self._samples)} samples is labelled for every task")
        _demand(*checks)

    def learns_ten_samples_by_heart(self) -> None:
        """The loss of the first stage falls clearly."""
        _demand(smoke.check_overfit(self._learnt))

    def saves_and_loads_exactly(self) -> None:
        """Saved and loaded, the next step is equal to the last bit."""
        phase = self.study.phases(self.params)[0]
        _demand(smoke.check_reload(self.study, self.params, self._learnt.model, self._batch, phase, self.folder))

    def perfect_prediction_scores_perfect(self) -> None:
        """The truth scores 1 (0 where lower is better) in every metric."""
        _demand(smoke.check_oracle(self.study, self.params, self._cases))

    def untrained_model_beats_no_baseline(self) -> None:
        """In any metric."""
        _demand(smoke.check_untrained(self.study, self.params, self._cases, self._place("train")[0]))

    def pictures_are_drawn(self) -> None:
        """The overview, and every view of a case without and with a prediction, is not blank and has a caption."""
        case, shards = self._cases[0], [Path(path) for path in self._conversion["shards"].values()]
        prediction = self.study.oracle(torch.utils.data.default_collate([case]), self.params)
        found = {
            "overview": self.study.figures(shards, self._splits, self.params),
            "truth": self.study.scenes(case, None, self.params),
            "both": self.study.scenes(case, prediction, self.params),
        }
        assert found["both"], "scenes() shows nothing of a case: leave it out, or return a Picture"
        for place, pictures in found.items():
            for name, picture in pictures.items():
                assert picture.caption.strip(), f"the picture {name} has no caption"
                render.render(picture.drawing, self.folder / "figures" / f"{place}_{name}.png", (600, 420))
        _demand(*web.checks(self.folder / "figures"))

    @cached_property
    def _assets(self) -> list[Asset]:
        count, seed = self.params.data.synthetic, self.params.seed
        sources = self.study.synthesize(self.folder / "made", count, seed, self.params)
        plans = [fetch.plan(source, self.folder / "raw") for source in sources]
        for plan in plans:
            fetch.fetch(plan)
        raw = [plan.root for plan in plans]
        gathered = self.study.gather(raw, self.params, self.folder / "gathered", lambda text: None)
        _demand(*gathered.checks)
        return self.study.assets([*raw, *([gathered.root] if gathered.root else [])], self.params)

    @property
    def _shards(self) -> Path:
        return self.folder / "shards"

    @cached_property
    def _report(self):
        return convert.convert(self._assets, self.params, self._shards, convert.Inline())

    @cached_property
    def _splits(self) -> Splits:
        return splits.split(self._assets, self.params.splits, self.params.seed)

    @cached_property
    def _conversion(self) -> Conversion:
        """What 02_conversion records."""
        paths = {asset: str(path) for asset, path in convert.converted(self._report, self._shards)}
        return cast(Conversion, {"shards": paths, "splits": self._splits})

    def _dataset(self, name: Split) -> Dataset:
        return self.study.dataset(*self._place(name))

    def _place(self, name: Split) -> tuple:
        """Shards of a split, parameters, and the regions to keep clear of."""
        shards, clear = loading.split_shards(self.folder, self._conversion, name)
        return shards, self.params, clear

    @cached_property
    def _cases(self) -> list:
        return smoke.samples(self.study.evaluation_dataset(*self._place("validation")), smoke.CASES)

    @cached_property
    def _samples(self) -> list:
        return smoke.samples(self._dataset("train"))

    @property
    def _batch(self) -> dict:
        return torch.utils.data.default_collate(self._samples)

    @cached_property
    def _learnt(self) -> smoke.Learnt:
        phase = self.study.phases(self.params)[0]
        return smoke.overfit(self.study, self.params, self._samples, phase, self.steps)


def _demand(*checks) -> None:
    for check in checks:
        assert check.ok, f"{check.name}: {check.reason}"


def _digest(folder: Path) -> str:
    """Hash of every file below a folder, by name and content; hidden scratch folders (`_...`) are left out."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
