"""The settings the search may try, and which of two is the cheaper.

Decisions:
- Cheap means few loader processes, then a small batch, then few threads: what leaves most of the machine free. The
  training's own precision is cheaper than another.
- The samples of one optimizer step are held constant unless a person releases them: a smaller batch is accumulated, and
  one that does not divide them among the training processes is left out. So 05_training accepts whatever is found.
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
    batches = [batch for batch in sorted(set(ladder.batch)) if accumulation(batch, ladder, training)]
    if not batches:
        among = f" among training.processes = {training.processes}" if training.processes > 1 else ""
        raise ParameterError(
            f"parameter 'ladder.batch' = {ladder.batch}: none divides training.batch = {training.batch}{among}; "
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
        accumulate = accumulation(batch, ladder, training)
        ahead = prefetch if workers else min(ladder.prefetch)  # without workers nothing is prepared ahead
        own = (workers, batch, threads, ahead, accumulate, precision, checkpointing, compiled)
        found.append(Setting(*own, training.processes))
    return list(dict.fromkeys(found))


def accumulation(batch: int, ladder: LadderParams, training: TrainingParams) -> int:
    """Passes of `batch` samples that each process makes for one optimizer step; 0 where they do not add up to it."""
    if not ladder.keep_global_batch:
        return 1
    passes, rest = divmod(training.batch, batch * training.processes)
    return 0 if rest else passes


def price(setting: Setting, training: TrainingParams) -> tuple:
    """What to compare settings by when they are as fast as each other."""
    other_precision = setting.precision != training.precision
    processes = (setting.workers, setting.batch, setting.threads or 999, setting.prefetch)
    return (*processes, other_precision, setting.checkpointing, setting.compile)
