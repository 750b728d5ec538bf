"""Another clock: the unit of time is free, so a trajectory also shows how other coefficients act.

With t = f t', rates (viscosity, speed, diffusion, reaction) become f times what they were, and so do fields that are
velocities: u'(x, t') = f u(x, f t'). This is dimensional analysis and exact; nothing is solved again.

Decisions:
- The network's step stays what it is. Two frames further apart, or nearer, are one step of a problem with larger or
  smaller coefficients: files of eps 0.01 and 0.1 also teach eps 0.03, at other amplitudes than its own files would.
- Factors stay within `RANGE` and coefficients within those of the training files: between them a network has to guess,
  beyond them nobody asks.
- Frames are what files have, so a factor is a ratio of whole numbers of frames: shards need finer frames than a step
  (`conversion.every_frame`, `model.stride`).

Shape legend: K coefficients.
"""

import math

import numpy as np

RANGE = math.sqrt(10)  # half a decade up and down: files one decade apart meet in the middle

Bounds = tuple[np.ndarray, np.ndarray]


def frames(coefficient_K: np.ndarray, bounds: Bounds, stride: int, most: int, rng: np.random.Generator) -> int:
    """Frames of a shard that a step is long by a random clock; `stride` where no other clock shows anything asked for.

    Args:
        coefficient_K: of the trajectory.
        bounds: lowest and highest coefficients of its equation in the training data, (K,) both.
        stride: frames of a step by the usual clock.
        most: frames a step can be long.
        rng: draws the clock's factor, log-uniform in 1 / `RANGE` ... `RANGE`.
    """
    low_K, high_K = bounds
    factor = RANGE ** rng.uniform(-1, 1)
    for tried in (factor, 1 / factor):
        seen = min(max(1, round(tried * stride)), most)
        told_K = coefficient_K * np.float32(seen / stride)
        if np.all((told_K >= low_K * 0.99) & (told_K <= high_K * 1.01)):
            return seen
    return stride
