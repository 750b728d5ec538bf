"""A trained model to a hub and back: `stepladder hub push`, once or for every checkpoint while a training runs.

Decisions:
- It reads the run and writes `hub.json` and events. It is a process of its own: whatever fails here, no training
  notices.
- What is sent is a list of files by name (see `hub_files`), each searched for secrets before anything is sent.
- `hub.json` tells what was sent where: a checkpoint that is in it is not sent again, and after a kill anywhere the hub
  is asked what it has, so nothing goes twice.
- Commits are counted there too, asked for or made: no more than `MOST` in an hour. Beyond that a push waits.
- A single push fails with a sentence. Following, a failure is an event and another attempt later, until the training
  is over and `TRIES` attempts have failed.
- Private unless `public` is said. What is read back is pinned by a commit's id: a branch is no version.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepladder.core import files, lock
from stepladder.core.run import Run
from stepladder.core.secrets import redact
from stepladder.registry import hub_api, hub_files
from stepladder.registry.hub_api import USUAL, Client, HubError, HubUnavailable
from stepladder.registry.hub_files import FACTS, FORMAT, WEIGHTS, Parcel, Unreadable

if TYPE_CHECKING:
    from torch import Tensor, nn

RECORD = "hub.json"
STAGING = "hub"  # folder in the run, for the files of one commit and the lock
MOST, HOUR = 128, 3600.0  # commits to one repository in an hour, as the Hugging Face hub allows
LOOK = 10.0  # seconds between looks at the checkpoints
FIRST_WAIT, LONGEST_WAIT = 30.0, 900.0  # seconds after a failure, doubled each time
TRIES = 8  # of the last push, after the training


@dataclass(frozen=True)
class Time:
    """The clock, and how to wait."""

    now: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        repo: full name of the repository.
        commit: id of the commit that holds the files.
        step: of the checkpoint.
        sent: names of the files; empty where the repository held them already.
    """

    repo: str
    commit: str
    step: int
    sent: tuple[str, ...]


def push(run: Run, client: Client, public: bool = False, clock: Time = Time(), step: int | None = None) -> Pushed:
    """Send the best checkpoint, or that of `step`, with its card, as one commit.

    Args:
        run: a run with a checkpoint.
        client: the repository and the variable that holds the token.
        public: whether anybody may read a repository that is made for it.
        clock: for the limit of commits in an hour.
        step: of a training under way; the best checkpoint where None.

    Raises:
        HubError: there is no checkpoint, a file holds a secret, a package or the token is missing, or another pushes.
        HubUnavailable: the hub did not take it.
    """
    environment = hub_api.known(hub_api.token(client.variable))
    with lock.hold(run.folder / STAGING, f"a push of {run.study}/{run.name}"):
        place = _best(run) if step is None else run.checkpoints / f"step_{step:08d}"
        staging = run.folder / STAGING / "files"
        try:
            parcel = hub_files.pack(run, place, staging, final=step is None)
            hub_files.refuse_secrets(parcel, environment)
            return _send(run, client, public, clock, parcel)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def follow(
    run: Run, client: Client, public: bool = False, clock: Time = Time(), tell: Callable[[str], None] = print
) -> Pushed:
    """Send every checkpoint that a training leaves, then the best one with what 06_evaluation found.

    It ends when the run is at work no more. Checkpoints that were rotated away before their turn are left out.

    Args:
        run, client, public, clock: as in `push`.
        tell: told of every commit and every failure.

    Raises:
        HubError: what asking again does not mend; a damaged checkpoint is left out, and an event tells.
        HubUnavailable: the run is over, and the hub took its last push none of `TRIES` times.
    """
    failures, unreadable = 0, set[int]()
    while True:
        working = run.status()["state"] in ("running", "queued")
        step = _next(run, client, unreadable) if working else None
        if working and step is None:
            clock.wait(LOOK)
            continue
        try:
            pushed = push(run, client, public, clock, step)
        except HubUnavailable as error:
            failures += 1
            if not working and failures >= TRIES:
                raise
            _put_off(run, error, failures, clock, tell)
            continue
        except Unreadable as error:
            if step is None:
                raise
            unreadable.add(step)
            run.event("hub_left_out", step=step, reason=str(error))
            continue
        failures = 0
        if pushed.sent:
            tell(f"step {pushed.step}: {pushed.repo}@{pushed.commit}")
        if not working:
            return pushed


def commits(run: Run) -> list[dict[str, Any]]:
    """What was sent of a run: endpoint, repo, step, checkpoint, commit, time and file hashes, oldest first."""
    return _record(run)["commits"]


@dataclass(frozen=True)
class Pulled:
    """A model as it was sent.

    Attributes:
        tensors: name -> tensor on the CPU.
        facts: `stepladder.json`.
    """

    tensors: "dict[str, Tensor]"
    facts: dict[str, Any]

    def restore(self, model: "nn.Module") -> None:
        """Load them; `trainable.ContractError` where they are not the model's, or it is given other weights."""
        from stepladder.training.trainable import match_weights

        match_weights(model, self.tensors, self.facts["given"])
        model.load_state_dict(self.tensors, strict=False)


def load(repo: str, revision: str, variable: str = USUAL, cache: Path | None = None) -> Pulled:
    """Fetch a model back.

    Args:
        repo: OWNER/NAME.
        revision: a commit's 40 digits.
        variable: environment variable with a token, needed where the repository is private.
        cache: folder; huggingface_hub's own where None.

    Raises:
        HubError: no commit's id, or the weights are not those that were sent.
        HubUnavailable: the hub does not give it.
    """
    if not hub_api.PINNED.fullmatch(revision):
        raise HubError(f"revision {redact(revision)!r} may mean other weights tomorrow: give a commit's 40 digits")
    client = Client(repo, variable)
    facts = files.read_object(client.fetch(FACTS, revision, cache)) or {}
    if facts.get("format") != FORMAT:
        raise HubError(f"{repo}@{revision}: {FACTS} has format {facts.get('format')!r}, this version reads {FORMAT}")
    path = client.fetch(WEIGHTS, revision, cache)
    if files.file_sha256(path) != facts["weights"]:
        raise HubError(f"{repo}@{revision}: {WEIGHTS} is not what was sent; delete {path.name} from the cache, or ask")
    from safetensors.torch import load_file

    return Pulled(load_file(path), facts)


def pause(asked: list[float], now: float) -> float:
    """Seconds until another commit may be asked for, after those at the times `asked`."""
    recent = sorted(at for at in asked if now - HOUR < at <= now)
    return recent[-MOST] + HOUR - now if len(recent) >= MOST else 0.0


def _send(run: Run, client: Client, public: bool, clock: Time, parcel: Parcel) -> Pushed:
    """One commit, unless the last one to this repository holds the same."""
    record, own = _record(run), _own(run, client)
    if own and own[-1]["files"] == parcel.hashes:
        return Pushed(own[-1]["repo"], own[-1]["commit"], parcel.step, ())
    repo = client.ready(public)
    if seconds := pause(record["asked"], clock.now()):
        run.event("hub_waits", repo=repo, seconds=round(seconds), reason=f"{MOST} commits in the last hour")
        clock.wait(seconds)
    now = clock.now()
    record["asked"] = [at for at in record["asked"] if at > now - HOUR] + [now]
    files.write_json(run.folder / RECORD, record)  # before: a commit that is asked for counts, whatever comes of it
    commit = client.commit(repo, parcel.files, f"{run.study}/{run.name}, step {parcel.step}")
    told = {
        "endpoint": redact(hub_api.endpoint()),
        "repo": repo,
        "asked": client.repo,
        "step": parcel.step,
        "commit": commit,
    }
    told |= {"checkpoint": parcel.checkpoint, "time": now, "files": parcel.hashes}
    files.write_json(run.folder / RECORD, {**record, "commits": [*record["commits"], told]})
    run.event("hub_pushed", repo=repo, step=parcel.step, commit=commit)
    return Pushed(repo, commit, parcel.step, tuple(parcel.files))


def _record(run: Run) -> dict[str, Any]:
    return files.read_object(run.folder / RECORD) or {"format": FORMAT, "asked": [], "commits": []}


def _own(run: Run, client: Client) -> list[dict[str, Any]]:
    """The commits to this repository of this hub, under its full name or the one that it is asked for by."""
    where = redact(hub_api.endpoint())
    return [one for one in commits(run) if one["endpoint"] == where and client.repo in (one["repo"], one["asked"])]


def _best(run: Run) -> Path:
    from stepladder.training import checkpoint

    if not checkpoint.committed(run.checkpoints):
        raise HubError(f"{run.study}/{run.name} has no checkpoint: run 05_training first")
    return checkpoint.best_of(run.checkpoints)


def _next(run: Run, client: Client, without: set[int]) -> int | None:
    """Step of the oldest checkpoint that was not sent; None where there is none."""
    from stepladder.training import checkpoint

    sent = {one["checkpoint"] for one in _own(run, client)}
    waiting: list[int] = []
    for step, place in checkpoint.committed(run.checkpoints):
        try:
            if step not in without and checkpoint.sha256_of(place) not in sent:
                waiting.append(step)
        except checkpoint.DamagedError:  # or rotated away meanwhile: training tells of it
            continue
    return min(waiting, default=None)


def _put_off(run: Run, error: HubUnavailable, failures: int, clock: Time, tell: Callable[[str], None]) -> None:
    """Tell of a failure and wait: as long as the hub asks, else longer each time."""
    seconds = max(error.after, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)))
    run.event("hub_failed", reason=str(error), attempt=failures, again_in_seconds=round(seconds))
    tell(f"{error}; again in {seconds:.0f} s")
    clock.wait(seconds)
