# pyarrow is compiled and makes its functions at run time: everything of it is `Any`.
from typing import Any

def __getattr__(name: str) -> Any: ...
