"""What of a run goes to a hub: these files, by name, and nothing else.

Decisions:
- Weights are those that were judged: averaged ones where they are kept. What the model is given (see `trainable`) is
  no part of a checkpoint, so it is not sent; its identities are named.
- Numbers go with the checkpoint that they are about: that of 06_evaluation is the best one, when 06 is done.
- Parameters are told without secrets, without the machines that computed, and without folders of this machine.
- Every file is searched for secrets; of the weights their header is, which holds all the text in them.
- The files are a function of the run alone, without a time: packed again they are the same bytes, so what was sent is
  known by its hash.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.core import files, study
from stepladder.core.config import check
from stepladder.core.run import Run
from stepladder.core.secrets import redacted
from stepladder.registry import hub_card, secrecy
from stepladder.registry.hub_api import WAY_OUT, HubError

WEIGHTS, FACTS, METRICS, CARD = "model.safetensors", "stepladder.json", "metrics.json", "README.md"
FORMAT = 1
ELSEWHERE = ("launch", "tracking")  # sections of the parameters that tell of machines and accounts


class Unreadable(HubError):
    """A checkpoint that is damaged, or gone."""


@dataclass(frozen=True)
class Parcel:
    """What one commit sends.

    Attributes:
        step: of the checkpoint.
        checkpoint: SHA-256 of its `state.pt`.
        files: name in the repository -> file here.
        hashes: name in the repository -> SHA-256.
    """

    step: int
    checkpoint: str
    files: dict[str, Path]
    hashes: dict[str, str]


def pack(run: Run, place: Path, folder: Path, final: bool) -> Parcel:
    """Write the files of one checkpoint into `folder`.

    Args:
        run: the run.
        place: the checkpoint's folder.
        folder: for these files alone.
        final: whether it is the run's best checkpoint, which 06_evaluation is about.

    Raises:
        Unreadable: the checkpoint is damaged or gone.
        HubError: safetensors is not installed.
    """
    from stepladder.training import checkpoint, contents

    try:
        state, progress, sha256 = checkpoint.state_in(place), checkpoint.progress_of(place), checkpoint.sha256_of(place)
    except checkpoint.DamagedError as error:
        raise Unreadable(f"{run.study}/{run.name}: {place.name} cannot be sent: {error}") from error
    params = check(study.find(run.study).Params, run.values())
    written = {WEIGHTS: folder / WEIGHTS}
    _save(written[WEIGHTS], contents.judged(state)["model"])
    scores = hub_card.scores(run, final)
    if scores.found:
        written[METRICS] = folder / METRICS
        files.write_json(written[METRICS], scores.found)
    facts = {
        "format": FORMAT,
        "study": run.study,
        "run": run.name,
        "step": progress.step,
        "stage": progress.stage,
        "checkpoint": sha256,
        "averaged": state["average"] is not None,
        "given": state.get("given") or {},
        "weights": files.file_sha256(written[WEIGHTS]),
        "parameters": public(params.model_dump(mode="json")),
    }
    written |= {FACTS: folder / FACTS, CARD: folder / CARD}
    files.write_json(written[FACTS], facts)
    files.write_text(written[CARD], hub_card.card(study.find(run.study), params, facts, scores))
    return Parcel(progress.step, sha256, written, {name: files.file_sha256(path) for name, path in written.items()})


def refuse_secrets(parcel: Parcel, environment: Mapping[str, str]) -> None:
    """Look through every file; `HubError` with the name of the one that holds a secret, and the secret's kind."""
    for name, path in parcel.files.items():
        text = json.dumps(header(path)) if name == WEIGHTS else ""
        if flaw := secrecy.text_flaw(text, environment) or secrecy.flaw(path, environment):
            raise HubError(f"{name} is not sent: {flaw}; take it out of the run and push again")


def public(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as others may read them."""
    return redacted({key: _nameless(value) for key, value in parameters.items() if key not in ELSEWHERE})


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: names, shapes and types of its tensors, and what was noted beside them."""
    with path.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def _nameless(value: Any) -> Any:
    """A value, in which a path of this machine is only the name of what it leads to."""
    if isinstance(value, Mapping):
        return {key: _nameless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nameless(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~", "file:")) else value


def _save(path: Path, weights: Mapping[str, Any]) -> None:
    """Tensors by name; each is copied, as those that share their memory are refused by the format."""
    try:
        from safetensors.torch import save_file
    except ImportError:
        raise HubError(f"weights are written by the package safetensors: {WAY_OUT}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic(path) as temporary:
        save_file({name: value.detach().clone().contiguous() for name, value in weights.items()}, temporary)
