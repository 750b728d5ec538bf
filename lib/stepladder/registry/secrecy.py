"""Whether a file gives away a secret, asked before it is published.

Decisions:
- Refused are: files that hold keys by their name (`.env`, `.netrc`, `*.pem` ...), text with something that looks like a
  token (`config.SECRET`), and text with the value of an environment variable whose name says it is secret.
- Digests of 64 hex digits are not tokens, though they contain 40 of them.
- Binary arrays are not searched; of a shard its attributes are.
"""

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from stepladder.core.config import SECRET

KEY_FILES = (".env", ".env.*", ".netrc", "_netrc", "credentials", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "*.kdbx")
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
LEAST = 12  # characters of a variable's value that is looked for; shorter ones are in many texts by chance
HEAD = 8192  # bytes in which a binary file has a NUL
BLOCK = 4 << 20
OVERLAP = 512  # characters searched twice, so that nothing hides on the border of two blocks


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
    if match := SECRET.search(DIGEST.sub("", text)):
        return f"it holds something that looks like a token ({match[0][:3]}...)"
    for name, value in environment.items():
        if SECRET_NAME.search(name) and len(value) >= LEAST and value in text:
            return f"it holds the value of the environment variable {name}"
    return ""
