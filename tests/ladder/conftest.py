"""What the ladder's tests share: one warm process for all trials, because importing torch takes seconds."""

import pytest

from stepladder.ladder.measure.runner import Runner


@pytest.fixture(scope="session")
def warm_runner():
    """Runs trials; its warm process has imported torch once."""
    runner = Runner()
    yield runner
    runner.close()
