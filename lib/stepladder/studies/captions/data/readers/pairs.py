"""A tar in webdataset's layout: pictures with captions, questions, and what became of the rows it was made of.

Decisions:
- A picture without a caption and without questions teaches nothing and is counted, as is one that cannot be decoded.
- `K.frame01.jpg` and on are the later frames of a moving scene.
- `K.json` and its questions are a stranger's: what cannot be used of them (no JSON, a word missing, an unknown kind, an
  answer that is none of its choices, too many of those) is counted, and the picture keeps what else is said of it.
- A tar from elsewhere says no family: then its key is one, and every picture is independent of every other.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from stepladder.core.types import Asset, Issue, StudyError
from stepladder.data.images import tars
from stepladder.data.images.decode import Undecodable, picture
from stepladder.studies.captions.data.layout import CAPTION, ITEMS, MOST_CHOICES, Item
from stepladder.studies.captions.data.readers.content import Content, plain

ENDINGS = ("jpg", "jpeg", "png", "webp", "gif")
LATER = re.compile(rf"frame\d+\.({'|'.join(ENDINGS)})")  # frame of a moving scene


def read(asset: Asset, question: str) -> Content:
    """Pictures and items of a tar.

    Args:
        asset: whose first file is the tar.
        question: what captions answer.

    Raises:
        StudyError: the tar cannot be read, or holds no picture with a text.
    """
    path = asset.files[0]
    keys, frames, items, issues = list[str](), list[np.ndarray](), list[Item](), list[Issue]()
    try:
        reader = tars.TarReader(path)
        for number, key in enumerate(reader.keys):
            try:
                seen = _frames(reader, number)
            except Undecodable as error:
                issues.append(Issue(f"picture {error.outcome}", 1, f"{path.name}: {key}: {error}"))
                continue
            facts, faults = _facts(reader, number, key)
            asked, refused = _items(reader, number, len(keys), question, asset.group, facts)
            issues += [*faults, *refused]
            if not asked:
                issues.append(Issue("picture without a text", 1, f"{path.name}: {key}"))
                continue
            keys.append(key)
            frames.append(seen)
            items += asked
        counts = reader.counts
    except (tars.TarError, OSError) as error:
        raise StudyError(f"{path.name} cannot be read as a tar of pictures: {error}; fetch or make it again") from error
    if not items:
        first = f": {len(issues)} samples cannot be used, first {issues[0].example}" if issues else ""
        raise StudyError(f"{path.name} holds no picture with a text{first}; leave it out or make it again")
    return Content(keys, frames, items, issues, counts)


def _frames(reader: tars.TarReader, number: int) -> np.ndarray:
    """Frames (T, Y, X, 3) of a sample."""
    members = reader.endings(number)
    ending = next((ending for ending in ENDINGS if ending in members), None)
    if ending is None:
        raise Undecodable("not_image", f"no member ends in {', '.join(ENDINGS)}")
    later = sorted(name for name in members if LATER.fullmatch(name))
    shown = [picture(reader.read(number, name)) for name in (ending, *later)]
    if len({frame.shape for frame in shown}) > 1:
        raise Undecodable("decode", "its frames differ in size")
    return np.stack(shown)


def _facts(reader: tars.TarReader, number: int, key: str) -> tuple[Mapping[str, Any], list[Issue]]:
    """What `K.json` says, with the key as family where it names none."""
    if "json" not in reader.endings(number):
        return {"family": key}, []
    try:
        facts = reader.json(number)
    except tars.TarError as error:
        return {"family": key}, [Issue("json cannot be read", 1, str(error))]
    if not isinstance(facts, dict):
        return {"family": key}, [Issue("json cannot be read", 1, f"{key}.json holds no object")]
    return {**facts, "family": facts.get("family") or key}, []


def _items(
    reader: tars.TarReader, number: int, place: int, question: str, group: str, facts: Mapping[str, Any]
) -> tuple[list[Item], list[Issue]]:
    """The caption of a sample and the questions on it."""
    there = "txt" in reader.endings(number)
    text = plain(reader.read(number, "txt").decode(errors="replace") if there else str(facts.get("caption") or ""))
    group, family = plain(str(facts.get("group") or group)), plain(str(facts["family"]))
    items = [Item((place,), question, text, CAPTION, group=group, family=family)] if text else []
    issues = list[Issue]()
    asked = facts.get("questions") or []
    for one in asked if isinstance(asked, list) else [asked]:
        try:
            asks, answer, kind, choices = _asked(one)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            issues.append(Issue("question cannot be used", 1, f"{family}: {type(error).__name__}: {error}"))
            continue
        items.append(Item((place,), asks, answer, kind, choices, group, family))
    return items, issues


def _asked(one: Any) -> tuple[str, str, int, tuple[str, ...]]:
    """Question, answer, kind and choices, as an item takes them; raises what Python raises, or ValueError."""
    question, answer = plain(one["question"]), plain(one["answer"])
    choices = tuple(plain(choice) for choice in one.get("choices") or ())
    if not question or not answer:
        raise ValueError("question or answer is empty")
    if len(choices) > MOST_CHOICES or (choices and answer not in choices):
        raise ValueError(f"{answer!r} must be one of at most {MOST_CHOICES} choices, not of {choices}")
    return question, answer, ITEMS.index(one["kind"]), choices
