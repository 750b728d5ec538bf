# scipy carries no types, and inferred from its source its functions take strings for functions and return dispatch
# tuples for arrays: here everything of it is `Any`. A module that is new to us gets a file of the same two lines.
from typing import Any

def __getattr__(name: str) -> Any: ...
