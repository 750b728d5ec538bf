"""Whether a file gives away a secret, asked before it is published.

Decisions:
- Refused are files that hold keys by their name (`.env`, `.netrc`, `*.pem` ...) and text with anything that
  `core.secrets` knows, the values of secret environment variables among it.
- Binary arrays are not searched; of a shard its attributes are.
"""

import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from stepladder.core.secrets import find

KEY_FILES = (".env", ".env.*", ".netrc", "_netrc", "credentials", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "*.kdbx")
HEAD = 8192  # bytes in which a binary file has a NUL
BLOCK = 4 << 20
OVERLAP = 4096  # characters searched twice, so that nothing hides on the border of two blocks


def flaw(path: Path, environment: Mapping[str, str] = os.environ) -> str:
    """What a file would give away, without telling it; empty when it is sound."""
    if any(fnmatch(path.name, pattern) for pattern in KEY_FILES):
        return "its name says that it holds keys"
    with path.open("rb") as file:
        if b"\0" in file.read(HEAD):
            return ""
        file.seek(0)
        held = ""
        while block := file.read(BLOCK):
            held = held[-OVERLAP:] + block.decode("utf-8", errors="replace")
            if found := text_flaw(held, environment):
                return found
    return ""


def text_flaw(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`flaw` of a text."""
    kinds = find(text, environment)
    return f"it holds something that looks like a secret ({', '.join(kinds)})" if kinds else ""
