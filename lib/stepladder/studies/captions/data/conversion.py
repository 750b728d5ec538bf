"""One asset as a shard: pictures as the towers see them, features computed once, items as token ids.

Decisions:
- A training step needs the projection and the language model alone: the frozen towers have run here, and never run
  again for the same bytes, weights and preparation, which are the shard's recipe. Shards tell the towers' keys.
- Items lie flat: ids of all prompts behind each other with their ends, so that one takes two looks at a mapped file.
- What only evaluation and pages read (the words themselves) is compressed JSON.

Shape legend: N pictures, T frames, Y X pixels, C colours or channels, P places, F features, V U rows and columns of
latents, I items, M pictures of an item, K ids.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, ShardContent
from stepladder.studies.captions.data import features, tokenizer
from stepladder.studies.captions.data.layout import MOST_PICTURES, WEIGHTS, Item
from stepladder.studies.captions.data.readers.content import Content
from stepladder.studies.captions.data.readers.read import read
from stepladder.studies.captions.models.towers.tower import GREY, Towers, towers
from stepladder.studies.captions.params import CaptionsConversion, CaptionsParams

PAGE_SIDE = 224  # pixels that are enough for a page
LICENCE = "each picture's own; see its address"


def convert(asset: Asset, params: CaptionsParams) -> ShardContent:
    """Convert one asset; of the parameters only `conversion` is read.

    Returns:
        pixels_NYXC uint8, vision_NPF and world_NTVUC float16 (or int8 with `vision_scale_NPF`, `world_scale_NTVUC`),
        prompt_ids_K, prompt_ends_I, answer_ids_K, answer_ends_I int32, pictures_IM int32 (-1: none), kind_I uint8,
        `items_S`, the items as JSON in UTF-8, and blank_vision_PF, blank_world_TVUC: a grey picture's features.

    Raises:
        StudyError: a file cannot be read or used; it is named.
    """
    conversion = params.conversion
    content = read(asset, conversion.question)
    seen = towers(conversion, [path for path in asset.neighbours if path.name == WEIGHTS])
    seeing, errors = _features(content, seen, conversion)
    asked, digest = _ids(content.items, conversion)
    words = json.dumps([asdict(item) for item in content.items], ensure_ascii=False).encode()
    return ShardContent(
        {**seeing, **asked},
        {"items_S": np.frombuffer(words, np.uint8), **_blank(seen, conversion)},
        {
            "group": asset.group,
            "keys": list(content.keys),
            "groups": [item.group for item in content.items],
            "families": [item.family for item in content.items],
            "counts": dict(content.counts),
            "towers": seen.keys,
            "tokenizer": digest,
            "features_error": errors,
            "licence": LICENCE,
        },
        _counted(content.issues),
    )


def _features(
    content: Content, seen: Towers, conversion: CaptionsConversion
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Pictures and their features, and how far what is kept differs from what was computed."""
    pixels_NYXC = np.stack([features.square(frames[0], seen.vision.side) for frames in content.frames])
    count = 1 + 4 * conversion.world_steps
    frames_NTYXC = np.stack([_scene(frames, count, seen.world.side) for frames in content.frames])
    computed = {"vision_NPF": seen.vision(pixels_NYXC), "world_NTVUC": seen.world(frames_NTYXC)}
    side = seen.vision.side if conversion.whole_pixels else min(seen.vision.side, PAGE_SIDE)
    kept_NYXC = np.stack([features.square(picture, side) for picture in pixels_NYXC])
    arrays, errors = {"pixels_NYXC": kept_NYXC}, dict[str, float]()
    for name, values in computed.items():
        if conversion.features == "int8":
            kept, scale = features.quantised(values)
            arrays |= {name: kept, name.replace("_", "_scale_"): scale}
            errors[name] = features.error(values, kept, scale)
        else:
            arrays[name] = values.astype(np.float16)
            errors[name] = features.error(values, arrays[name])
    return arrays, errors


def _blank(seen: Towers, conversion: CaptionsConversion) -> dict[str, np.ndarray]:
    """Features of a grey picture, float16: what an arm sees that sees nothing."""
    grey = np.full((1, seen.vision.side, seen.vision.side, 3), GREY, np.uint8)
    scene = np.full((1, 1 + 4 * conversion.world_steps, seen.world.side, seen.world.side, 3), GREY, np.uint8)
    return {
        "blank_vision_PF": seen.vision(grey)[0].astype(np.float16),
        "blank_world_TVUC": seen.world(scene)[0].astype(np.float16),
    }


def _scene(frames_TYXC: np.ndarray, count: int, side: int) -> np.ndarray:
    return np.stack([features.square(frame, side) for frame in features.steps(frames_TYXC, count)])


def _ids(items: Sequence[Item], conversion: CaptionsConversion) -> tuple[dict[str, np.ndarray], str]:
    """Items as arrays of ids, and the digest of the tokenizer that made them."""
    words = tokenizer.tokenizer(conversion)
    prompts, answers = [words.encode(item.question) for item in items], [words.encode(item.answer) for item in items]
    pictures_IM = np.full((len(items), MOST_PICTURES), -1, np.int32)
    for row, item in enumerate(items):
        pictures_IM[row, : len(item.pictures)] = item.pictures
    kind_I = np.array([item.kind for item in items], np.uint8)
    flat = {**_flat("prompt", prompts), **_flat("answer", answers)}
    return {**flat, "pictures_IM": pictures_IM, "kind_I": kind_I}, words.digest


def _flat(name: str, rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    return {
        f"{name}_ids_K": np.array([token for row in rows for token in row], np.int32),
        f"{name}_ends_I": np.cumsum([len(row) for row in rows], dtype=np.int32),
    }


def _counted(issues: Sequence[Issue]) -> list[Issue]:
    """Issues of one kind as one, with the first example."""
    kinds: dict[str, list[Issue]] = {}
    for issue in issues:
        kinds.setdefault(issue.kind, []).append(issue)
    return [Issue(kind, sum(one.count for one in same), same[0].example) for kind, same in kinds.items()]


def items_of(items_S: np.ndarray) -> list[Item]:
    """The items of a shard, from its array `items_S`."""
    rows: list[Mapping[str, Any]] = json.loads(bytes(items_S))
    return [Item(**{**row, "pictures": tuple(row["pictures"]), "choices": tuple(row["choices"])}) for row in rows]
