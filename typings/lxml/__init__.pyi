# lxml is compiled and carries no types: everything of it is `Any`.
from typing import Any

def __getattr__(name: str) -> Any: ...
