"""The files a run makes for itself: those its profile lists, or Burgers at eps = 0.01 where it lists none."""

from collections.abc import Sequence
from pathlib import Path

from stepladder.studies.pde.params import Task
from stepladder.studies.pde.solvers import tasks
from stepladder.study import Source

DEFAULT = Task(equation="burgers", coefficients={"eps": 0.01}, trajectories=10, points=128)


def synthesize(folder: Path, count: int, seed: int, wanted: Sequence[Task] = ()) -> list[Source]:
    """Write raw files to `folder`: those of `wanted`, or `count` of the default task.

    Trajectories are numbered through all files of a task and seeded by `seed` and number, so no two are the same.
    Files that were made before and are not asked for any more are removed: a run reads all of its folder.
    """
    folder, made = Path(folder), set()
    for task in list(wanted) or [DEFAULT.model_copy(update={"files": count})]:
        for number in range(task.files):
            job = tasks.Job(task.coefficients, task.trajectories, task.points, seed, number * task.trajectories)
            made.add(tasks.make(folder, task.equation, job, number))
    for path in set(folder.iterdir()) - made:
        if tasks.recipe(path):
            path.unlink()
    return [Source(str(folder), "pde", tuple(f"*{ending}" for ending in (".hdf5", ".h5")))]
