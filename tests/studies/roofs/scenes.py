"""Small synthetic scenes for tests: exact truth, made once per session."""

from functools import cache

import numpy as np

from stepladder.studies.roofs.data.synthesis.scene import Scene, make


@cache
def scene(seed: int, side: int = 128, gsd: float = 0.15) -> Scene:
    """The scene of a seed; nobody may write into its arrays."""
    made = make(np.random.default_rng(seed), side, gsd)
    for array in vars(made).values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return made
