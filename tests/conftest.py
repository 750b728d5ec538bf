"""What all tests share: where real data lies, outputs in a temporary folder, one thread."""

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("STEPLADDER_HEADLESS", "1")

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# A background job ignores Ctrl-C, one of `nohup` a closed terminal, and so would every process they start; here some
# must hear both.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# Time is measured in benchmarks, never asserted in tests: a loaded machine must not fail one.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real files, or a skip that says where they were looked for."""
    folder = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: set STEPLADDER_SHARED_DATA (looked in {folder.name})")
    return folder


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outputs of this test alone, at the true project root."""
    monkeypatch.setenv("STEPLADDER_ROOT", str(ROOT))
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"
