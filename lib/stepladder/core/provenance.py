"""When and where something is made: time, host, device, versions, commit."""

import hashlib
import platform
import subprocess
import time
from datetime import UTC, datetime

from stepladder.core.paths import PACKAGE
from stepladder.core.records import Environment


def environment() -> Environment:
    """Where a run happens: device, versions, git commit and hash of uncommitted changes."""
    import torch

    from stepladder.machine import limits  # psutil, which looking at a run can do without

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    commit = _git("rev-parse", "HEAD")
    changes = _git("diff", "HEAD")
    return {
        "device": device,
        "cpus": limits.cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit or None,
        "dirty": hashlib.sha256(changes.encode()).hexdigest()[:12] if changes else None,
    }


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _git(*arguments: str) -> str:
    """Output of a git command in the package's checkout; empty where git or a checkout is missing."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
