"""The captions study: pictures and texts from hostile addresses, frozen towers, a trained projection between them.

This file only joins the parts: `data` (lists, gathering, readers, conversion, items), `models` (towers, language model,
projection, arms, baselines), `evaluation` (metrics of texts and choices, arms beside each other) and `pictures`.

What a training needs is imported with this file; everything else when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    Gathered,
    Loss,
    Picture,
    Prediction,
    Record,
    Sample,
    ShardContent,
    Source,
    TrainingPhase,
)
from stepladder.studies.captions.card import CARD, PLANNED, SIZES
from stepladder.studies.captions.data.dataset import Pairs
from stepladder.studies.captions.models import losses, network, phases
from stepladder.studies.captions.params import CaptionsParams

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Captions(Study[CaptionsParams]):
    """See `stepladder.core.study.Study` for what each member promises."""

    title = "Captions: a trained projection between frozen towers, from pictures of the web"
    card = CARD
    Params = CaptionsParams
    guessed = ("choice accuracy", "parsed accuracy")
    sizes = SIZES
    planned = PLANNED
    axes: ClassVar = {
        "T": "tokens, or frames",
        "M": "pictures of an item",
        "P": "places of a picture",
        "F": "features",
        "V": "rows of latents",
        "U": "columns of latents",
        "C": "channels, colours or choices",
        "Y": "rows",
        "X": "columns",
        "S": "bytes of a text",
        "L": "tokens of a choice",
    }

    def catalogue(self, params: CaptionsParams) -> pd.DataFrame:
        """Published lists of pictures and texts, and sets of questions."""
        from stepladder.studies.captions.data import catalogue

        return catalogue.read(params)

    def synthesize(self, folder: Path, count: int, seed: int, params: CaptionsParams) -> list[Source]:
        """A list of addresses, and the web behind it, faults included."""
        from stepladder.studies.captions.data.synthesis import corpus

        return corpus.synthesize(folder, count, seed, params)

    def sources(self, params: CaptionsParams) -> list[Source]:
        """A mirror of lists or tars, or lists by their addresses."""
        from stepladder.studies.captions.data import catalogue

        return catalogue.sources(params)

    def survey(self, raw: Sequence[Path], params: CaptionsParams) -> dict[str, pd.DataFrame | Figure]:
        """What lists say of themselves, which rows pass, and what fetching those will take."""
        from stepladder.studies.captions.data import survey

        return survey.survey(raw, params)

    def gather(
        self, raw: Sequence[Path], params: CaptionsParams, folder: Path, tell: Callable[[str], None]
    ) -> Gathered:
        """The pictures that lists name, politely and safely, in tars; and the world tower where it is made here."""
        from stepladder.studies.captions.data import gathering

        brought = gathering.gather(raw, params, folder, tell)
        if params.conversion.size != "small":
            return brought
        from stepladder.studies.captions.models.towers import own

        return own.beside(brought, folder, tell)

    def assets(self, raw: Sequence[Path], params: CaptionsParams) -> list[Asset]:
        """Tars, and blocks of true or false statements."""
        from stepladder.studies.captions.data.readers import find

        return find.assets(raw, params)

    def convert(self, asset: Asset, params: CaptionsParams, cache: Path) -> ShardContent:
        """Features of frozen towers and token ids."""
        from stepladder.studies.captions.data import conversion

        return conversion.convert(asset, params)

    def dataset(self, shards: Sequence[Path], params: CaptionsParams, keep_clear: Sequence[Box] = ()) -> Dataset:
        """Items as sequences with features."""
        return Pairs(shards, params)

    def evaluation_dataset(
        self, shards: Sequence[Path], params: CaptionsParams, keep_clear: Sequence[Box] = ()
    ) -> Dataset:
        """Items with their words, choices and pictures."""
        from stepladder.studies.captions.data.cases import Cases

        return Cases(shards, params)

    def model(self, params: CaptionsParams) -> nn.Module:
        """Language model, projections, brackets, and a bridge for each control."""
        return network.build(params)

    def phases(self, params: CaptionsParams) -> list[TrainingPhase]:
        """The language model where it is made here, the controls, then the projection."""
        return phases.phases(params)

    def fit(self, phase: TrainingPhase, model: Any, batch: Batch) -> None:
        """Sizes of features, by which they are standardised."""
        model.fit(batch)

    def can_start(self, phase: TrainingPhase, model: nn.Module, batch: Batch) -> Check:
        """Whether there is something to see and something to learn in a batch."""
        return losses.can_start(batch)

    def loss(self, model: Any, batch: Batch, phase: TrainingPhase) -> Loss:
        """Cross entropy of the assistant's tokens."""
        return losses.loss(model, batch, phase)

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """Greedy answers, likelihoods of choices, and the share of attention on world tokens."""
        from stepladder.studies.captions.models import answering

        return answering.predict(model, batch, arms=model.others)

    def baselines(self, params: CaptionsParams, train: Sequence[Path]) -> dict[str, Baseline]:
        """The commonest answer, n-grams, and the words of pictures that look alike."""
        from stepladder.studies.captions.models.baselines import rivals

        return rivals.baselines(params, train)

    def oracle(self, batch: Batch, params: CaptionsParams) -> Prediction:
        """The references, as a prediction."""
        from stepladder.studies.captions.evaluation import scoring

        return scoring.oracle(batch, params)

    def protocol(self, params: CaptionsParams) -> dict[str, str]:
        """What is measured where, and how it is averaged."""
        from stepladder.studies.captions.evaluation import scoring

        return scoring.protocol(params)

    def score(self, batch: Batch, prediction: Prediction, params: CaptionsParams) -> list[Record]:
        """Captions and choices of every item."""
        from stepladder.studies.captions.evaluation import scoring

        return scoring.score(batch, prediction, params)

    def analysis(
        self, model: Any, cases: Dataset, params: CaptionsParams
    ) -> Mapping[str, pd.DataFrame | Figure | str | list[Check]]:
        """Every arm beside the trained one, and whether anything may be said."""
        from stepladder.studies.captions.pictures import analysis

        return analysis.analysis(model, cases, params)

    def sanity(self, shards: Sequence[Path], params: CaptionsParams) -> list[Check]:
        """Whether pictures show something and texts say something."""
        from stepladder.studies.captions.data import sanity

        return sanity.checks(shards, params)

    def foretold(self, params: CaptionsParams) -> str:
        """What the planned 4,096 world tokens need, and what these do."""
        from stepladder.studies.captions.models import accounting

        return accounting.foretold(params)

    def preview(self, sample: Sample, params: CaptionsParams) -> Figure:
        """An item as the model reads it."""
        from stepladder.studies.captions.pictures import previews

        return previews.preview(sample, params)

    def scenes(self, sample: Sample, prediction: Prediction | None, params: CaptionsParams) -> dict[str, Picture]:
        """A picture with what every arm says of it."""
        from stepladder.studies.captions.pictures import scenes

        return scenes.scenes(sample, prediction, params)

    def figures(self, shards: Sequence[Path], splits: Mapping[str, Any], params: CaptionsParams) -> dict[str, Picture]:
        """What became of the list's rows, and what is in the shards."""
        from stepladder.studies.captions.pictures import overview

        return overview.figures(shards, splits, params)


study = Captions()
