"""Ask one hostile address (signatures first)."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from stepladder.data.download.connecting import Loopback
from stepladder.data.download.outcomes import Answer

if TYPE_CHECKING:
    from stepladder.data.download.policy import Policy


class Asker:
    """Asks addresses; one serves many concurrent `ask` calls. An async context manager."""

    def __init__(self, policy: Policy, loopback: Loopback | None = None) -> None: ...

    async def __aenter__(self) -> Asker: ...

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    async def ask(self, url: str) -> Answer:
        """What `url` answers; never raises for what a host does."""
        raise NotImplementedError
