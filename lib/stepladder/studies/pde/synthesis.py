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
    """
    listed = list(wanted) or [DEFAULT.model_copy(update={"files": count})]
    for task in listed:
        for number in range(task.files):
            job = tasks.Job(task.coefficients, task.trajectories, task.points, seed, number * task.trajectories)
            tasks.make(Path(folder), task.equation, job, number)
    return [Source(str(folder), "pde", tuple(f"*{ending}" for ending in (".hdf5", ".h5")))]
