"""The words of the study: what a position of a sequence is, what an item asks, which arms are compared.

Decisions:
- A sequence says of every position what it is (`KINDS`). Which features go where, what is supervised and what an arm
  leaves out follow from that alone.
- An arm is one way of answering, with the same prompts and seeds as all others. `CONTROLS` are those trained at equal
  cost, with parameters of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PAD, TEXT, IMAGE, WORLD, OPEN, CLOSE = range(6)  # of a position: nothing, a token, a picture's feature, a world token
KINDS = ("pad", "text", "image", "world", "open", "close")  # open and close: brackets around world tokens
MOST_PICTURES, MOST_CHOICES = 4, 6  # of one item
WEIGHTS = "world_tower.safetensors"  # name of the file of the world tower that 02 makes for size small

CAPTION, RELATION, TRUE_FALSE, TEMPORAL, CHOICE = range(5)  # what an item asks
ITEMS = ("caption", "relation", "true_false", "temporal", "choice")

ARMS: Mapping[str, str] = MappingProxyType(
    {
        "base": "the language model with what it was given before, without our projection",
        "untrained": "a projection as it is initialised",
        "trained": "the trained projection",
        "world_zero": "trained, world features all zero",
        "world_shuffled": "trained, world features of another picture",
        "world_constant": "constants learnt in the place of world tokens, at equal cost",
        "pooled": "least and largest latents in the place of world tokens, learnt at equal cost",
        "shuffled": "trained, all features of another picture",
        "blank": "trained, features of a grey picture",
        "text_only": "no picture and no world tokens",
    }
)
CONTROLS = ("world_constant", "pooled")


@dataclass(frozen=True)
class Item:
    """One question of some pictures and its answer.

    Attributes:
        pictures: their places in the shard, one to four.
        question, answer: in words.
        kind: of `ITEMS`, by number.
        choices: what the answer is chosen from; empty for a caption.
        group: the stratum results are split by.
        family: what is independent of others: a photograph and its crops, a scene.
    """

    pictures: tuple[int, ...]
    question: str
    answer: str
    kind: int = CAPTION
    choices: tuple[str, ...] = ()
    group: str = ""
    family: str = ""
