"""Shards and cases of coloured balls for rivals: features tell the colour, and a family's own mark."""

import json
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from stepladder.core.types import Batch, ShardContent
from stepladder.data import shards
from stepladder.studies.captions.data.layout import CAPTION, MOST_PICTURES, TRUE_FALSE
from stepladder.studies.captions.data.tokenizer import Tokenizer, tokenizer
from stepladder.studies.captions.params import CaptionsParams

COLOURS = ("red", "green", "blue", "yellow")
PLACES, CHANNELS = 4, 64
QUESTION = "Describe this image simply."


def words() -> Tokenizer:
    """The tokenizer of the study's small size."""
    return tokenizer(CaptionsParams.model_validate({"study": "captions", "profile": "quick", "run": "test"}).conversion)


def picture(number: int, mark: float = 0.0) -> tuple[int, np.ndarray]:
    """Colour and features (P, F) of a picture; `mark` is how loudly its family (two pictures) can be told."""
    rng = np.random.default_rng(number)
    colour, features = int(rng.integers(len(COLOURS))), rng.normal(0, 0.2, (PLACES, CHANNELS))
    features[:, colour] += 2
    features[:, len(COLOURS) :] += mark * np.random.default_rng([9, number // 2]).normal(0, 1, CHANNELS - len(COLOURS))
    return colour, features


def items(numbers: range, caption: str = "A {} ball.") -> list[dict]:
    """A caption and a question of every picture."""
    found = []
    for place, number in enumerate(numbers):
        colour = COLOURS[picture(number)[0]]
        asked = COLOURS[(number // 2) % len(COLOURS)]
        common = {"pictures": [place], "group": "drawn", "family": f"family {number // 2}"}
        found.append({**common, "question": QUESTION, "answer": caption.format(colour), "kind": CAPTION, "choices": []})
        answer = "yes" if colour == asked else "no"
        question = {"question": f"Is the ball {asked}?", "answer": answer, "kind": TRUE_FALSE, "choices": ["yes", "no"]}
        found.append({**common, **question})
    return found


def shard(path: Path, numbers: range, mark: float = 0.0, int8: bool = False) -> Path:
    """A training shard of pictures `numbers`."""
    told, vision_NPF = items(numbers), np.stack([picture(number, mark)[1] for number in numbers]).astype(np.float16)
    pictures_IM = np.full((len(told), MOST_PICTURES), -1, np.int32)
    pictures_IM[:, 0] = [item["pictures"][0] for item in told]
    arrays = {"vision_NPF": vision_NPF, "pictures_IM": pictures_IM, **_flat("prompt", "question", told)}
    if int8:
        scale_NPF = np.abs(vision_NPF.astype(np.float32)).max(axis=2, keepdims=True) / 127
        arrays |= {"vision_NPF": np.round(vision_NPF / scale_NPF).astype(np.int8), "vision_scale_NPF": scale_NPF}
    arrays |= _flat("answer", "answer", told)
    shards.write(path, ShardContent(arrays, {"items_S": np.frombuffer(json.dumps(told).encode(), np.uint8)}), "test")
    return path


def _flat(name: str, key: str, told: list[dict]) -> dict[str, np.ndarray]:
    rows = [words().encode(item[key]) for item in told]
    ends_I = np.cumsum([len(row) for row in rows]).astype(np.int32)
    return {f"{name}_ids_K": np.array([token for row in rows for token in row], np.int32), f"{name}_ends_I": ends_I}


def batch(numbers: range, mark: float = 0.0) -> Batch:
    """Cases of pictures `numbers`, as evaluation takes them."""
    return default_collate([_case(item, picture(numbers[item["pictures"][0]], mark)[1]) for item in items(numbers)])


def _case(item: dict, vision_PF: np.ndarray) -> dict:
    choices = item["choices"] or [item["answer"]]
    ids_CL = np.full((3, 32), -1, np.int64)
    for row_L, choice in zip(ids_CL, choices, strict=False):
        ids = [*words().encode(choice), words().special.end]
        row_L[: len(ids)] = ids
    vision_MPF = np.zeros((MOST_PICTURES, PLACES, CHANNELS), np.float16)
    vision_MPF[0] = vision_PF
    return {
        "vision_MPF": vision_MPF,
        "pictures": np.int64(1),
        "question_S": _bytes(item["question"]),
        "reference_S": _bytes(item["answer"]),
        "choices_CS": np.stack([_bytes(choice) for choice in [*item["choices"], "", "", ""][:3]]),
        "choice_ids_CL": ids_CL,
        "answer": np.int64(choices.index(item["answer"]) if item["choices"] else -1),
        "kind": np.int64(item["kind"]),
    }


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode().ljust(64, b"\0")), dtype=torch.uint8)
