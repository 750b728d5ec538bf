"""Cases as evaluation takes them, without pictures or towers: what they show stands in their features."""

from dataclasses import dataclass

import numpy as np
import torch

from stepladder.core.types import Batch, Prediction, Sample
from stepladder.studies.captions.data.layout import CAPTION, CLOSE, OPEN, TEXT, TRUE_FALSE, WORLD
from stepladder.studies.captions.evaluation.scoring import bytes_of
from stepladder.studies.captions.params import CaptionsParams

COLOURS = ("red", "green", "blue", "black")
CHOICES, LENGTH, SIZE = 4, 8, 64
ID = {word: place + 20 for place, word in enumerate(("yes", "no", "a", "ball", *COLOURS))}
END = 3


def params(**changed: object) -> CaptionsParams:
    """Of a run on few cases."""
    given = CaptionsParams.model_validate({"study": "captions", "profile": "smoke", "run": "test"})
    evaluation = given.evaluation.model_copy(update={"samples": 60, "bootstrap": 200, "batch": 4, **changed})
    return given.model_copy(update={"evaluation": evaluation})


@dataclass
class Cases:
    """A caption and a true or false question of every picture; a picture is a colour, and two make a family.

    `count` cases; the colour of a picture is its first vision feature and its first latent.
    """

    count: int = 60

    def __post_init__(self) -> None:
        self.colour = np.random.default_rng(0).integers(0, len(COLOURS), self.count // 2 + 1)
        self.groups = np.array(["drawn"] * self.count)
        self.clusters = np.array([f"family {index // 4}" for index in range(self.count)])

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, rng: np.random.Generator | None) -> Sample:
        """A caption where the index is even, else a question of another colour or the same."""
        colour = int(self.colour[index // 2])
        asked = COLOURS[(colour + (index // 2) % 2) % len(COLOURS)]
        caption = index % 2 == 0
        answer = f"a {COLOURS[colour]} ball" if caption else ("yes" if asked == COLOURS[colour] else "no")
        choices = [answer] if caption else ["yes", "no"]
        kinds = [TEXT, OPEN, WORLD, WORLD, CLOSE, TEXT, TEXT, TEXT]
        return {
            "tokens_T": np.arange(len(kinds)),
            "kinds_T": np.array(kinds),
            "labels_T": np.array([-100] * 6 + [5, END]),
            "vision_MPF": np.full((4, 4, 2), colour, np.float32),
            "world_MTVUC": np.full((4, 1, 2, 2, 1), colour, np.float32),
            "pictures": np.int64(1),
            "question_S": _bytes("what is it?" if caption else f"is it {asked}?"),
            "reference_S": _bytes(answer),
            "choices_CS": np.stack(
                [_bytes(choice) for choice in ([] if caption else choices) + [""] * CHOICES][:CHOICES]
            ),
            "choice_ids_CL": ids_of(choices),
            "choices": np.int64(len(choices)),
            "answer": np.int64(-1 if caption else choices.index(answer)),
            "kind": np.int64(CAPTION if caption else TRUE_FALSE),
        }


def ids_of(choices: list[str]) -> np.ndarray:
    """Choices as ids, end of turn included, -1 where there is nothing."""
    ids_CL = np.full((CHOICES, LENGTH), -1, np.int64)
    for row_L, choice in zip(ids_CL, choices, strict=False):
        ids = [*(ID[word] for word in choice.split()), END]
        row_L[: len(ids)] = ids
    return ids_CL


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode().ljust(SIZE, b"\0"), np.uint8).copy()


def certain(batch: Batch, said: list[str], sure: list[bool], strength: float = 1.0) -> Prediction:
    """A prediction that finds the right choice likely (or, where it is not sure, all alike) and says `said`."""
    tokens_BC = (batch["choice_ids_CL"] >= 0).sum(-1)
    likelihood_BC = torch.where(tokens_BC > 0, -2.0 * tokens_BC, -torch.inf)
    for place, known in enumerate(sure):
        likelihood_BC[place, max(int(batch["answer"][place]), 0)] += strength * known
    return {"text_BS": bytes_of(said), "likelihood_BC": likelihood_BC, "tokens_BC": tokens_BC}
