"""The files a run makes for itself: those its profile lists, or Burgers at eps = 0.01 where it lists none."""

from collections.abc import Sequence
from pathlib import Path

from stepladder.core.types import Source, StudyError
from stepladder.studies.pde.data.solvers import tasks
from stepladder.studies.pde.params import Task

DEFAULT = Task(equation="burgers", coefficients={"eps": 0.01}, files=1, trajectories=10, points=128)


def synthesize(folder: Path, count: int, seed: int, wanted: Sequence[Task] = ()) -> list[Source]:
    """Write raw files to `folder`: those of `wanted`, or `count` of the default task.

    Trajectories are numbered through all files of a task and seeded by `seed` and number, so no two of a task are the
    same; those of the same number in two tasks begin alike, which `Asset.split_group` tells the splits. Files that were
    made before and are not asked for any more are removed: whoever reads the folder reads what was asked for.

    Raises:
        StudyError: two tasks make one file.
    """
    folder, made = Path(folder), set()
    for task in list(wanted) or [DEFAULT.model_copy(update={"files": count})]:
        for number in range(task.files):
            job = tasks.Job(task.coefficients, task.trajectories, task.points, seed, number * task.trajectories)
            path = tasks.make(folder, task.equation, job, number)
            if path in made:
                raise StudyError(
                    f"data.tasks makes {path.name} twice: two of them differ in what its name does not tell"
                )
            made.add(path)
    for path in set(folder.iterdir()) - made:
        if tasks.recipe(path):
            path.unlink()
    return [Source(str(folder), "pde", tuple(sorted(path.name for path in made)))]
