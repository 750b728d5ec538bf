"""From text to token ids and back: one of our own for the sizes made here, Gemma's for Gemma.

Decisions:
- Ours is byte-level BPE, learnt in the process from the texts that the offline corpus is written with: no file to keep,
  every text can be told, and the same texts give the same ids. `digest` says which tokenizer made a shard.
- What looks like a special token in somebody's text is text. A caption of the web may hold `<end_of_turn>`.
- Gemma's comes from `tokenizer.json` in the folder of its weights. World positions take ids behind its vocabulary, of
  rows that its table has and never uses.
- The packages are imported where a tokenizer is made.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stepladder.core.types import StudyError
from stepladder.studies.captions.data.sequence import PADDING, Special

if TYPE_CHECKING:
    import tokenizers

VOCABULARY: Final = 1024  # ids of our own tokenizer, whether or not the texts give as many
OWN: Final = (
    *("<pad>", "<eos>", "<bos>", "<end_of_turn>", "<user>", "<model>", "<start_of_image>", "<end_of_image>"),
    *("<image>", "<world>", "<open>", "<close>"),
)
GEMMA_IMAGE: Final = 262_144  # the last id of Gemma's vocabulary; its table has 262,208 rows


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back.

    Attributes:
        special: ids with a meaning of their own.
        digest: sha256 of what it does, in hexadecimal digits.
        vocabulary: rows that a table of embeddings needs.
    """

    inner: tokenizers.Tokenizer
    special: Special
    digest: str
    vocabulary: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text, none of them special."""
        return self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out, and what is no id too."""
        return self.inner.decode([token for token in ids if token >= 0], skip_special_tokens=True)


def tokenizer(conversion: Any) -> Tokenizer:
    """The tokenizer of the section `params.conversion`: of its size, and of its weights where they are given."""
    if conversion.size == "gemma3_4b":
        return _gemma(weights(conversion.weights, conversion.revision, ("tokenizer.json",)) / "tokenizer.json")
    return _own()


def vocabulary(size: str) -> int:
    """Rows of the table of embeddings of a size; nothing is read or learnt for it."""
    return 262_208 if size == "gemma3_4b" else VOCABULARY


def weights(place: str | None, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder with files of published weights: a folder as it is, or a name of the hub at a commit.

    Raises:
        StudyError: no place is named, or a name of the hub without the whole commit.
    """
    if not place:
        raise StudyError("conversion.weights is empty: name the folder of Gemma 3, or its name on the hub")
    if Path(place).expanduser().is_dir():
        return Path(place).expanduser()
    if not re.fullmatch("[0-9a-f]{40}", revision or ""):
        raise StudyError(
            f"weights {place!r} are no folder here, and revision {revision!r} is no commit of 40 digits: a name of the "
            "hub is taken at a pinned commit only"
        )
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(place, revision=revision, allow_patterns=list(patterns)))


def texts() -> list[str]:
    """What our tokenizer is learnt from: the texts of the offline corpus."""
    from stepladder.studies.captions.data.synthesis.texts import texts

    return texts()


@functools.cache
def _own() -> Tokenizer:
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, pre_tokenizers, trainers

    inner = Inner(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    # All 256 bytes from the start: there is no text that it cannot tell.
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(OWN), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts(), trainer)
    ids = {name: number for number, name in enumerate(OWN)}  # the trainer puts them first
    special = Special(
        begin=ids["<bos>"],
        end=ids["<end_of_turn>"],
        user=(ids["<user>"],),
        model=(ids["<model>"],),
        picture=((ids["<start_of_image>"],), (ids["<end_of_image>"],)),
        image=ids["<image>"],
        world=ids["<world>"],
        open=ids["<open>"],
        close=ids["<close>"],
    )
    return _sealed(inner, special, inner.to_str().encode(), VOCABULARY)


@functools.cache
def _gemma(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer as Inner

    inner = Inner.from_file(str(path))
    plain = {name: inner.encode(name, add_special_tokens=False).ids for name in ("user\n", "model\n", "\n\n", "\n")}
    ids = {name: _id(inner, name) for name in ("<bos>", "<start_of_turn>", "<end_of_turn>", "<image_soft_token>")}
    start, stop = _id(inner, "<start_of_image>"), _id(inner, "<end_of_image>")
    special = Special(
        begin=ids["<bos>"],
        end=ids["<end_of_turn>"],
        user=(ids["<start_of_turn>"], *plain["user\n"]),
        model=(ids["<start_of_turn>"], *plain["model\n"]),
        picture=((*plain["\n\n"], start), (stop, *plain["\n\n"])),
        image=ids["<image_soft_token>"],
        world=GEMMA_IMAGE + 1,
        open=GEMMA_IMAGE + 2,
        close=GEMMA_IMAGE + 3,
        line=tuple(plain["\n"]),
    )
    return _sealed(inner, special, path.read_bytes(), vocabulary("gemma3_4b"))


def _id(inner: tokenizers.Tokenizer, name: str) -> int:
    found = inner.token_to_id(name)
    if found is None:
        raise StudyError(f"the tokenizer of conversion.weights has no token {name}: it is not Gemma 3's")
    return found


def _sealed(inner: tokenizers.Tokenizer, special: Special, content: bytes, vocabulary: int) -> Tokenizer:
    inner.encode_special_tokens = True  # what looks like a special token in a text is text
    inner.no_truncation()
    inner.no_padding()
    assert inner.token_to_id("<pad>") == PADDING
    return Tokenizer(inner, special, hashlib.sha256(content + repr(special).encode()).hexdigest(), vocabulary)
