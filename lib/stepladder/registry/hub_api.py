"""What is asked of a hub, by huggingface_hub, and what its refusals mean.

Decisions:
- The token comes from the environment variable that is named, at the moment it is needed, and goes into the header of
  requests alone: every text that leaves here is searched for it, whatever its variable is called.
- The hub is where `HF_ENDPOINT` says, as for huggingface_hub itself.
- Uploads go by LFS over HTTP, the way the tests speak; Xet would keep copies of what is sent in the home folder.
  Nothing is told to the hub but what is asked for: no telemetry.
- An existing repository is never made public nor private; one that anybody can read is refused unless that is meant.
"""

import os
import re
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepladder.core.secrets import redact
from stepladder.registry import secrecy
from stepladder.registry.store import RegistryError, Unavailable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
USUAL = "HF_TOKEN"
WAY_OUT = "install it with `pip install -c constraints.txt -e '.[captions]'`"
PINNED = re.compile(r"[0-9a-f]{40}")


class HubError(RegistryError):
    """Something that a hub will refuse however often it is asked, with the way out."""


class HubUnavailable(Unavailable):
    """A hub did not do what it was asked; asking again may help.

    Attributes:
        after: seconds that the hub asked to wait, or 0.
    """

    def __init__(self, message: str, after: float = 0.0):
        super().__init__(message)
        self.after = after


def token(variable: str) -> str:
    """The value of an environment variable that is named.

    Raises:
        HubError: that is no name, or nothing is in it. What was given is not told: it may be the token itself.
    """
    if not VARIABLE.fullmatch(variable) or secrecy.text_flaw(variable):
        raise HubError(f"the token's variable is named, as {USUAL}; what was given is not the name of a variable")
    if not (value := os.environ.get(variable, "").strip()):
        raise HubError(
            f"the environment variable {variable} is not set: put a token into it that may write to this one "
            "repository, or name another variable"
        )
    return value


def known(secret: str) -> Mapping[str, str]:
    """The environment with the token in it under a name that `core.secrets` takes for a secret's."""
    return {**os.environ, "HUB_TOKEN": secret}


def endpoint() -> str:
    """The address of the hub."""
    from_environment = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return from_environment.rstrip("/")


@dataclass(frozen=True)
class Client:
    """One repository of a hub, and the token for it.

    Attributes:
        repo: OWNER/NAME; NAME alone is the token's owner's.
        variable: name of the environment variable that holds the token.
    """

    repo: str
    variable: str = USUAL

    def ready(self, public: bool) -> str:
        """Make the repository where it is not there, and tell its full name.

        Raises:
            HubError: anybody can read it, and that is not meant.
            HubUnavailable: the hub did not do it.
        """
        with self._asking(f"opening {self.repo}") as api:
            repo = api.create_repo(self.repo, private=not public, exist_ok=True).repo_id
            private = api.repo_info(repo).private
        if not private and not public:
            raise HubError(f"{repo} is public: make it private on the hub, or say --public if everybody may read it")
        return repo

    def commit(self, repo: str, files: Mapping[str, Path], message: str) -> str:
        """Send files as one commit and tell its id; what the hub has already is not sent again."""
        from huggingface_hub import CommitOperationAdd

        with self._asking(f"the commit to {repo}") as api:
            operations = [CommitOperationAdd(name, path) for name, path in files.items()]
            return str(api.create_commit(repo, operations, commit_message=message).oid)

    def fetch(self, name: str, revision: str, cache: Path | None) -> Path:
        """One file of one commit, as huggingface_hub caches it."""
        with self._asking(f"fetching {name} of {self.repo}@{revision}", anonymous=True) as api:
            return Path(api.hf_hub_download(self.repo, name, revision=revision, cache_dir=cache))

    @contextmanager
    def _asking(self, what: str, anonymous: bool = False) -> Generator["HfApi"]:
        """huggingface_hub with the token, `anonymous` where there is none; its errors are told without it."""
        secret = "" if anonymous and not os.environ.get(self.variable) else token(self.variable)
        api = _api(secret or False)
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.errors import HTTPError as Failure  # pyright: ignore[reportPrivateImportUsage]  # httpx's

        try:
            yield api
        except HFValidationError as error:
            raise HubError(redact(f"{self.repo}: {error}", known(secret))) from None
        except (Failure, OSError, RuntimeError, ValueError) as error:
            if isinstance(error, RegistryError):
                raise
            said, after, final = _told(error, self.variable)
            text = redact(f"{endpoint()}: {what} failed: {said}", known(secret))
            raise (HubError(text) if final else HubUnavailable(text, after)) from None


def _api(secret: str | bool) -> "HfApi":
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # both are read when the package is imported
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise HubError(f"a hub is spoken to by the package huggingface_hub: {WAY_OUT}") from None
    disable_progress_bars()
    return HfApi(endpoint=endpoint(), token=secret)


def _told(error: BaseException, variable: str) -> tuple[str, float, bool]:
    """What an error means, seconds to wait, and whether asking again is of no use."""
    response = next(
        (found for cause in _causes(error) if (found := getattr(cause, "response", None)) is not None), None
    )
    if response is None:
        last = list(_causes(error))[-1]
        return f"{type(last).__name__}: {last}", 0.0, isinstance(error, ValueError)
    code = response.status_code
    meaning = {
        401: f"it does not know the token in {variable}; it may be cut, or have run out",
        403: f"the token in {variable} may not do this: it needs the right to write to this repository",
        404: "there is nothing of this name, or the token may not see it",
        429: "it has been asked too often",
    }
    said = meaning.get(code, str(error).strip().splitlines()[0] if str(error).strip() else "no reason given")
    return f"{said} (HTTP {code})", _after(response.headers), code in (400, 413, 422)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _after(headers: Mapping[str, Any]) -> float:
    """Seconds that an answer asks to wait (RFC 9110, 10.2.3); 0 where it does not say."""
    said = str(headers.get("Retry-After", "")).strip()
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return 0.0
