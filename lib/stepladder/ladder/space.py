"""The settings the search may try, and which of two is the cheaper.

Decisions:
- Cheap means few loader processes, then a small batch, then few threads: what leaves most of the machine free. The
  training's own precision is cheaper than another.
- The samples of one optimizer step are held constant unless a person releases them: a smaller batch is accumulated, and
  one that does not divide them is left out.
"""

from itertools import product

from stepladder.core.config import ParameterError
from stepladder.core.schema import LadderParams, TrainingParams
from stepladder.training.setting import Precision, Setting


def space(ladder: LadderParams, training: TrainingParams) -> list[Setting]:
    """Every setting that `ladder` allows.

    Raises:
        ParameterError: the optimizer batch is to be held, and no batch to consider divides it.
    """
    batches = sorted(set(ladder.batch))
    if ladder.keep_global_batch:
        batches = [batch for batch in batches if training.batch % batch == 0]
    if not batches:
        raise ParameterError(
            f"parameter 'ladder.batch' = {ladder.batch}: none divides training.batch = {training.batch}; "
            "add a divisor, or set ladder.keep_global_batch: false"
        )
    found: list[Setting] = []
    precisions: list[Precision] = ladder.precision or [training.precision]
    for workers, batch, threads, prefetch, precision, checkpointing, compiled in product(
        sorted(set(ladder.workers)),
        batches,
        ladder.threads,
        ladder.prefetch,
        precisions,
        sorted(ladder.checkpointing or [training.activation_checkpointing]),
        sorted(ladder.compile or [training.compile]),
    ):
        accumulate = training.batch // batch if ladder.keep_global_batch else 1
        ahead = prefetch if workers else min(ladder.prefetch)  # without workers nothing is prepared ahead
        found.append(Setting(workers, batch, threads, ahead, accumulate, precision, checkpointing, compiled))
    return list(dict.fromkeys(found))


def price(setting: Setting, training: TrainingParams) -> tuple:
    """What to compare settings by when they are as fast as each other."""
    other_precision = setting.precision != training.precision
    processes = (setting.workers, setting.batch, setting.threads or 999, setting.prefetch)
    return (*processes, other_precision, setting.checkpointing, setting.compile)
