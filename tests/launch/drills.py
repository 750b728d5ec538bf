"""What drills of the launcher share: a project that can be launched, its run, and what a person then sees of it.

Decisions:
- Supervisors, ssh, machines, agents and everything between them are the real ones. Where training itself is not what
  is drilled, the code that is sent has stand-ins (`standin/`) for what takes seconds: torch's import, the examination
  of a machine, and the training process, which leaves the same files. `Project(..., light=False)` has the real ones.
- The study lies in the project and on this machine's path, so that both sides know it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stepladder import studies
from stepladder.core import config, files, records
from stepladder.core.run import Run
from stepladder.core.stages import before
from stepladder.core.types import ShardContent
from stepladder.data import shards
from stepladder.launch import job as jobs
from stepladder.launch import launching, ledger
from stepladder.launch.job import Job, State
from tests.launch.rented import ROOT, Machine
from tests.launch.world import World
from tests.machine.drills import wait_for

STANDIN, TOY = Path(__file__).parent / "standin", ROOT / "tests" / "training" / "toy"
PLACES = {"worker": "training", "smoke": "launch", "examination": "launch"}  # of the stand-ins in the package
STUDY, PROFILE = "drill", "smoke"
QUICK = {
    "study": STUDY,
    "profile": PROFILE,
    "training": {
        "steps": 60,
        "batch": 4,
        "warmup": 3,
        "ema": 0.9,
        "validate_every": 7,
        "checkpoint_every": 5,
        "validation_batches": 1,
        "threads": 1,
    },
}
TARGET: dict[str, Any] = {
    "hosts": ["hostA", "hostB"],
    "python": sys.executable,
    "dollars_per_hour": 3.6,
    "lost_minutes": 0.15,
}


class Person:
    """Somebody with a project of one study, in a folder of its own.

    Args:
        folder: where; made.
        light: whether stand-ins train.

    Attributes:
        root: the project.
        outputs: its outputs; other ones for every test (see `conftest.py`).
        cut_seconds, lost_minutes: how long a link is cut; how long a machine may be silent.
    """

    cut_seconds = 12.0
    lost_minutes = TARGET["lost_minutes"]

    def __init__(self, folder: Path, light: bool = True) -> None:
        self.root, self.outputs = folder / "project", folder / "outputs"
        self.light = light
        self._write()

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this person needs; where ssh's configuration is, the world says."""
        return {
            "STEPLADDER_ROOT": str(self.root),
            "STEPLADDER_OUTPUTS": str(self.outputs),
            "PYTHONPATH": os.pathsep.join(map(str, (STANDIN, TOY, ROOT / "lib"))),
            "OMP_NUM_THREADS": "1",
        }

    @property
    def ssh(self) -> list[str]:
        """Options of an ssh of this person's own."""
        strict = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return ["-F", os.environ["STEPLADDER_SSH_CONFIG"], "-o", "BatchMode=yes", *strict]

    def targets(self, **changes: Any) -> None:
        """Let `box` be both hosts of the world, with these changes."""
        text = yaml.safe_dump({"targets": {"box": {**TARGET, **changes}}})
        files.write_text(self.root / "params" / "targets.yaml", text)

    def run(self, name: str, values: Mapping[str, Any] | None = None, kilobytes: int = 1) -> Run:
        """A run that can be trained, as 04 and 05 leave it for who trains; each of its two shards is so large."""
        run = Run(self.outputs / STUDY / name, self.root)
        params, changes = run.resolve(PROFILE, values or {})
        run.begin(params, changes)
        paths = [run.data / "shards" / f"{asset}.h5" for asset in ("train", "validation")]
        for path in paths:
            shards.write(path, ShardContent({"x": np.random.default_rng(0).random(kilobytes << 7)}), recipe="r")
        result = {
            "shards": {"t": "_data/shards/train.h5", "v": "_data/shards/validation.h5"},
            "splits": {"train": ["t"], "validation": ["v"], "test": []},
        }
        for part in before("05_training"):
            made = {"vouched": paths, **result} if part.name == "02_conversion" else {}
            run.finish_stage(part.name, params, [], **made)
        files.write_text(run.stage_folder("05_training") / "params.yaml", config.dump(params.model_dump(mode="json")))
        return run

    def sets(self, run: Run, name: str, value: Any) -> None:
        """Change a parameter of the training of a run."""
        path = run.folder / "05_training" / "params.yaml"
        values = config.merge(yaml.safe_load(path.read_text()), config.nested(name, value))
        files.write_text(path, config.dump(values))

    def trains_here(self, name: str, values: Mapping[str, Any] | None = None) -> Callable[[], Run]:
        """Train a run in a process of this machine, without a launcher; a call waits for it."""
        run = self.run(name, values)
        argv = [sys.executable, "-m", "stepladder.training.worker", str(run.folder)]
        log = (run.folder / "train.log").open("wb")
        process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "RANK": "0", "WORLD_SIZE": "1"})

        def wait() -> Run:
            assert process.wait(timeout=120) == 0, (run.folder / "train.log").read_text()
            return run

        return wait

    def launches(self, run: Run) -> "subprocess.Popen[str]":
        """Another terminal that launches the run, and prints the job's id."""
        script = "import sys; from pathlib import Path; from stepladder.core.run import Run; "
        script += "from stepladder.launch import launching; from stepladder.launch.job import Job; "
        script += "from stepladder.core.paths import project_root; run = Run(Path(sys.argv[1]), project_root()); "
        script += (
            "asked = Job(run.study, run.name, sys.argv[2], 'box', 'train'); print(launching.launch(run, asked).job)"
        )
        argv = [sys.executable, "-c", script, str(run.folder), PROFILE]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def stops(self, job: "Launched") -> State:
        """Stop a job and wait until everything is home; how it stands."""
        return launching.stop(job.run)

    def supervisors(self) -> list[int]:
        """Pids of the supervisors of this person's runs."""
        found: list[int] = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                argv = (place / "cmdline").read_text().split("\0")
                if "stepladder.launch.supervisor" in argv and argv[-2].startswith(str(self.outputs)):
                    found.append(int(place.name))
        return found

    def traces(self, text: str) -> list[str]:
        """Where a text is found that must be nowhere here: in a file, or in a command line of this machine."""
        places = [*self.root.rglob("*"), *self.outputs.rglob("*")]
        found = [str(path) for path in places if path.is_file() and text.encode() in path.read_bytes()]
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                argv = (place / "cmdline").read_text(errors="replace")
                found += [argv] if text in argv else []
        return found

    def weights(self, run: Run) -> Any:
        """All tensors of the newest checkpoint of a run."""
        import torch

        newest = max(run.checkpoints.glob("step_*/COMMITTED")).parent
        return torch.load(newest / "state.pt", weights_only=True)

    def is_whole_checkpoint(self, run: Run, step: int) -> bool:
        """Whether a checkpoint is what its seal says."""
        place = run.checkpoints / f"step_{step:08d}"
        return files.file_sha256(place / "state.pt") == files.read_json(place / "COMMITTED")["sha256"]

    def seconds(self, job: "Launched") -> float:
        """From the first machine that was taken to the end, by the clock of this machine."""
        first, last = (records.seconds(job.noted(kind)[at]) for kind, at in (("taken", 0), ("released", -1)))
        return last - first

    def leaves(self) -> None:
        """End what was begun: nobody watches anything any more."""
        for pid in self.supervisors():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _write(self) -> None:
        left_out = shutil.ignore_patterns("__pycache__")
        for name in ("lib", "notebooks", "params"):
            shutil.copytree(ROOT / name, self.root / name, ignore=left_out)
        for name in ("constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        package = self.root / "lib" / "stepladder"
        for study in (STANDIN / "drill", TOY / "toy"):
            shutil.copytree(study, package / "studies" / study.name, ignore=left_out)
        for name, place in PLACES.items() if self.light else ():
            shutil.copy(STANDIN / f"{name}.py", package / place / f"{name}.py")
        files.write_text(self.root / "params" / STUDY / f"{PROFILE}.yaml", yaml.safe_dump(QUICK))
        (self.root / ".gitignore").write_text("outputs/\n__pycache__/\n")
        subprocess.run(["git", "init", "--quiet", str(self.root)], check=True)


class Launched:
    """A job of a run, as the person who launched it sees it.

    Args:
        run: the run.
        asked: of the job, where it differs from the usual.

    Attributes:
        interval: steps between two checkpoints.
    """

    def __init__(self, run: Run, **asked: Any) -> None:
        self.run = run
        self.job = Job(run.study, run.name, PROFILE, **{"target": "box", "what": "train", **asked})
        self.interval: int = run.values()["training"]["checkpoint_every"]
        found = jobs.of(run)
        if self.begin().job != self.job.id and found:
            self.job = found

    def begin(self) -> State:
        """Launch it, or come back to it."""
        return launching.launch(self.run, self.job)

    @property
    def state(self) -> State:
        """How it stands."""
        found = jobs.state_of(self.run)
        assert found is not None
        return found

    @property
    def steps(self) -> list[int]:
        """Steps that the records here tell of, in order."""
        return [line["step"] for line in self.run.metrics() if "loss" in line]

    @property
    def saved(self) -> list[int]:
        """Steps whose checkpoints are here, the newest last."""
        return sorted(int(path.parent.name[5:]) for path in self.run.checkpoints.glob("step_*/COMMITTED"))

    def reaches(self, step: int, seconds: float = 90) -> None:
        """Wait until a step is told of here."""
        self.until(lambda: max(self.steps, default=0) >= step, seconds)

    def until(self, condition: Callable[[], object], seconds: float = 90) -> None:
        """Wait until something holds; an error tells what happened instead."""
        try:
            wait_for(lambda: condition() or not self.state.is_claim, seconds)
        except AssertionError:
            raise AssertionError(self.told()) from None
        assert condition(), self.told()

    def ends(self, seconds: float = 120) -> State:
        """Look on until it has ended; how."""
        patience = time.monotonic() + seconds
        while (state := launching.watched(self.run)).is_claim:
            assert time.monotonic() < patience, self.told()
            time.sleep(0.05)
        return state

    def noted(self, kind: str) -> list[dict[str, Any]]:
        """What its record has of one kind."""
        return [line for line in jobs.attempts(self.run) if line["kind"] == kind]

    def told(self) -> str:
        """Everything that is known of it, for who has to find out why it went wrong."""
        lines = [json.dumps(line)[:400] for line in jobs.attempts(self.run)]
        logs = [self.run.folder / "launch" / name for name in ("supervisor.log", "box.log")]
        return "\n".join([str(self.state), f"steps {self.steps[-3:]}", *lines, *(_end(path) for path in logs)])

    def kill_supervisor(self) -> None:
        """The laptop is gone: its supervisor dies without a word, with all that it started."""
        pid = self.state.supervisor["pid"]
        os.killpg(pid, signal.SIGKILL)
        wait_for(lambda: not self.state.is_watched, 10)

    def killed_at(self, step: int, world: World) -> int:
        """Let its machine vanish at a step, once the checkpoint before that is here; steps that were made twice."""
        self.reaches(step)
        due = step // self.interval * self.interval
        self.until(lambda: max(self.saved, default=0) >= due)
        assert self.state.is_claim, self.told()
        machine, reached = self.machine(world), max(self.steps)
        machine.kill()
        self.ends()
        (resumed,) = self.run.events("resumed")
        return reached - resumed["step"]

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """The laptop sleeps while the block runs: its supervisor and all that this started stand still."""
        pid = self.state.supervisor["pid"]
        os.killpg(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signal.SIGCONT)

    def machine(self, world: World) -> Machine:
        """The host that it is on."""
        machine = self.state.machine
        assert machine is not None, self.told()
        return world[machine.partition("/")[2]]

    def uses(self) -> list[ledger.Use]:
        """What the ledger has of it."""
        return [use for use in ledger.uses(self.run.root) if use.job == self.job.id]


def found_here() -> list[str]:
    """Where studies are looked for, so that this process knows those of the drills."""
    return [*studies.__path__, str(STANDIN), str(TOY)]


def agents(host: Machine) -> list[str]:
    """Command lines of the agents on a host."""
    return [line for line in _lines(host) if "launch.box start" in line]


def work(host: Machine) -> list[str]:
    """Command lines of agents and trainings on a host."""
    return [*agents(host), *(line for line in _lines(host) if "training.worker" in line)]


def left(host: Machine) -> list[str]:
    """Files of jobs on a host's disk."""
    return [str(path) for path in host.files() if "/.stepladder/jobs/" in str(path)]


def checkpoint_there(host: Machine, job: Launched) -> Path:
    """The folder of a job's checkpoints on its host, seen from here."""
    name = f".stepladder/jobs/{job.job.id}/outputs/{job.job.name}/checkpoints"
    return host.there(host.home / name)


def value_of(job: Launched) -> str:
    """What the stand-in for training has in its newest checkpoint."""
    newest = max(job.run.checkpoints.glob("step_*/COMMITTED")).parent
    return json.loads((newest / "state.pt").read_bytes().split(b"\n")[0])


def _lines(host: Machine) -> list[str]:
    return [" ".join(process.argv) for process in host.processes()]


def _end(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""
