"""Whether two texts mean the same, by a published sentence encoder, and whether a caption finds its own picture.

Decisions:
- Word overlap calls "a kitten" wrong for "a cat". The judge is an encoder that no arm was trained with.
- A judge has a scale of its own: unrelated captions are near 0, so cosines below it are cut there.
- Retrieval asks more of a caption than closeness to its own reference: that it is nearer to it than to all others. An
  answer that fits every picture scores a high cosine and finds nothing.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch

from stepladder.studies.captions.evaluation import minilm


@lru_cache(maxsize=20_000)
def vector(text: str) -> np.ndarray:
    """The unit vector (384) of a text."""
    model, tokenizer = minilm.load()
    with torch.inference_mode():
        return model(torch.tensor([tokenizer.encode(text).ids]))[0].numpy()


def vectors(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors (texts, 384)."""
    return np.stack([vector(text) for text in texts])


def meaning(answer: str, reference: str) -> float:
    """How near two texts are in meaning, 0 to 1: the cosine of their vectors, cut at 0; an empty answer means nothing.

    Raises:
        StudyError: as of `minilm.load`.
    """
    # Six digits: a unit vector times itself is 1 to the last bit but one.
    return round(float(np.clip(vector(answer) @ vector(reference), 0, 1)), 6) if answer.strip() else 0.0


def retrieval(answers: Sequence[str], references: Sequence[str], most: Sequence[int] = (1, 5)) -> dict[str, float]:
    """`R@k`: share of answers whose own reference is among the k nearest of all references; ties count as by chance.

    Equal references count as one another's: of three pictures that show the same, any may be found. `chance` is R@1 of
    an answer drawn blindly.
    """
    near_AR = np.round(vectors(answers) @ vectors(references).T, 5)
    own_AR = np.array([[one == other for other in references] for one in references])
    best_A1 = np.where(own_AR, near_AR, -np.inf).max(axis=1, keepdims=True)
    ahead_A, tied_A = ((near_AR > best_A1) & ~own_AR).sum(axis=1), ((near_AR == best_A1) & ~own_AR).sum(axis=1)
    # Own references and n tied strangers stand in chance order behind `ahead` others.
    return {
        **{f"R@{k}": float(np.clip((k - ahead_A) / (1 + tied_A), 0, 1).mean()) for k in most},
        "chance": float(own_AR.mean()),
    }


def retrieval_table(answers: dict[str, Sequence[str]], references: Sequence[str]) -> pd.DataFrame:
    """One row per arm: how often its captions find their own picture among `n`."""
    rows = [{"arm": arm, **retrieval(texts, references), "n": len(references)} for arm, texts in answers.items()]
    return pd.DataFrame(rows)
