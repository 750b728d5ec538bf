"""What all tests share: where real data lies, outputs in a temporary folder, one thread; one smoke walk of each study.

With `--dist loadgroup` the tests of a file stay in one process, and so do all that use the smoke walk of one study
(`xdist_group`), which is then walked once. These take longest, so they begin first, before the slow files.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("STEPLADDER_HEADLESS", "1")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # as activated

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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put every test into a group, and the groups that take longest first."""
    files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is None, item.path not in files))
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(ROOT).as_posix()))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, int]]:
    """`smoke(study)`: outputs with a finished smoke run, in which nbval executed the golden notebooks; its exit code.

    A study is walked once in a session. Whoever changes something works on a copy.
    """
    from stepladder.dev import golden  # which imports torch: nbval collects these tests' neighbours without it

    @cache
    def walked(study: str) -> tuple[Path, int]:
        outputs = tmp_path_factory.mktemp(f"smoke_{study}")
        return outputs, golden.walk(ROOT, study, outputs)

    return walked


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real files, or a skip that says where they were looked for."""
    folder = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: set STEPLADDER_SHARED_DATA (looked in {folder.name})")
    return folder


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[None]:
    """A bucket `shelf` on moto's S3 server, found as an SDK finds it: by environment variables.

    One for all tests of a process: buckets of one of moto's servers are those of every other.
    """
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem().mkdir("shelf")
        yield
    server.stop()


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outputs of this test alone, at the true project root."""
    monkeypatch.setenv("STEPLADDER_ROOT", str(ROOT))
    monkeypatch.setenv("STEPLADDER_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"
