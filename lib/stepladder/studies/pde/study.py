"""The PDE study: honest operator learning on grids, meshes and particles.

This file only joins the parts: `data` (catalogue, readers, solvers, conversion, samples), `models` (the operator,
training in stages with gates, baselines), `evaluation` (metrics and scores) and `pictures`.

What a training needs is imported with this file; catalogue, conversion, scores and pictures when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from stepladder.core.study import Study
from stepladder.core.types import (
    Asset,
    Baseline,
    Batch,
    Box,
    Check,
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
from stepladder.studies.pde.card import CARD, PLANNED, SIZES
from stepladder.studies.pde.data.dataset import Cases, Windows, key
from stepladder.studies.pde.models.baselines import guesses
from stepladder.studies.pde.models.stages import forecaster
from stepladder.studies.pde.models.stages import plan as stages
from stepladder.studies.pde.params import PdeParams

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Pde(Study[PdeParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "PDE: learning solution operators beside classical solvers"
    card = CARD
    Params = PdeParams
    better = "lower"
    sizes = SIZES
    planned = PLANNED
    axes: ClassVar = {
        "T": "frames",
        **{letter: f"points along {letter.lower()}" for letter in "ZYX"},
        "C": "fields",
        "D": "coordinates",
        "K": "coefficients",
        "E": "edges",
        "M": "triangles",
    }

    def catalogue(self, params: PdeParams) -> pd.DataFrame:
        """PDEBench's files, by equation and coefficients."""
        from stepladder.studies.pde.data import catalogue

        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: PdeParams) -> list[Source]:
        """Files of the solvers, in PDEBench's layout; `data.tasks` says which."""
        from stepladder.studies.pde.data import synthesis

        return synthesis.synthesize(folder, count, seed, params.data.tasks)

    def sources(self, params: PdeParams) -> list[Source]:
        """The mirror's folder, or the catalogue's files."""
        from stepladder.studies.pde.data import catalogue

        return catalogue.sources(params)

    def assets(self, raw: Sequence[Path], params: PdeParams) -> list[Asset]:
        """Blocks of trajectories of every file; the group is the equation with its coefficients."""
        from stepladder.studies.pde.data import conversion

        return conversion.assets(raw, params)

    def convert(self, asset: Asset, params: PdeParams, cache: Path) -> ShardContent:
        """Trajectories with their coefficients, coordinates and boundary."""
        from stepladder.studies.pde.data import conversion

        return conversion.convert(asset, params, cache)

    def dataset(self, shards: Sequence[Path], params: PdeParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Windows of trajectories."""
        return _fitting(Windows(shards, params))

    def evaluation_dataset(self, shards: Sequence[Path], params: PdeParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Whole trajectories."""
        return _fitting(Cases(shards, params))

    def model(self, params: PdeParams) -> nn.Module:
        """The network of `model.name`, with the later stages beside it."""
        return forecaster.build(params)

    def phases(self, params: PdeParams) -> list[TrainingPhase]:
        """The operator, and the later stages that have steps."""
        return stages.phases(params)

    def fit(self, phase: TrainingPhase, model: Any, batch: Batch) -> None:
        """Sizes of channels and of residuals, from all samples of the stage's first step."""
        model.fit(batch, phase.name)

    def accept(self, phase: TrainingPhase, model: Any, cases: Dataset, params: PdeParams) -> Check:
        """The verdict of a stage's gate, on whole trajectories."""
        return stages.accept(phase, model, cases, params)

    def loss(self, model: Any, batch: Batch, phase: TrainingPhase) -> Loss:
        """The stage's own loss, in field space."""
        return model.loss(batch, phase.name)

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """The rollout from the first state alone."""
        return model.predict(batch)

    def baselines(self, params: PdeParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """Persistence, mean, fits to the training shards, classical solvers: those that apply."""
        from stepladder.studies.pde.models.baselines import classical

        return classical.baselines(train, params.model.stride)

    def oracle(self, batch: Batch, params: PdeParams) -> Prediction:
        """The trajectory itself."""
        return {guesses.answer_name(batch): batch[key(batch, "target_")]}

    def protocol(self, params: PdeParams) -> dict[str, str]:
        """How errors are averaged, in words."""
        from stepladder.studies.pde.evaluation import scoring

        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: PdeParams) -> list[Record]:
        """PDEBench's metrics, per trajectory."""
        from stepladder.studies.pde.evaluation import scoring

        return scoring.score(batch, prediction, params)

    def analysis(self, model: Any, cases: Dataset, params: PdeParams) -> dict[str, pd.DataFrame | Figure]:
        """Best, median and worst trajectory, breakeven, what the stages are worth."""
        from stepladder.studies.pde.pictures import analysis

        return analysis.analysis(model, cases, params)

    def preview(self, sample: Sample, params: PdeParams) -> Figure:
        """Truth over space and time, or on its mesh or in its box."""
        from stepladder.studies.pde.pictures import scenes

        return scenes.preview(sample, params)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: PdeParams) -> dict[str, Picture]:
        """Truth, forecast and error as surfaces, or paths of particles."""
        from stepladder.studies.pde.pictures import scenes

        return scenes.scenes(sample, prediction, params)

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: PdeParams) -> dict[str, Picture]:
        """A trajectory of every group, flat and as surfaces."""
        from stepladder.studies.pde.pictures import scenes

        return {
            "overview": Picture(
                scenes.overview(shards, splits), "A trajectory of every group, and how many of them each split has."
            ),
            "gallery": Picture(scenes.gallery(shards, params), scenes.GALLERY),
        }


def _fitting(data: Windows | Cases) -> Dataset:
    """`data`, of shards that the profile's network was made for."""
    model = data.params.model
    for table in data.shards:
        said = {"kind": table.kind, "answers > 0": bool(table.steady)}
        asked = {"kind": model.kind, "answers > 0": bool(model.answers)}
        if table.kind == "grid" and model.name == "operator":
            said["periodic"], asked["periodic"] = table.boundary == "periodic", model.periodic
        for name, value in said.items():
            if asked[name] != value:
                raise StudyError(f"{table.shard.path.stem}: model.{name} is {asked[name]} in the profile, {value} here")
        points = table.shard.array(table.u_name).shape[2]
        if table.kind != "grid" and model.supernodes > points:
            raise StudyError(f"model.supernodes = {model.supernodes}: {table.shard.path.stem} has {points} points")
    return data


study = Pde()
