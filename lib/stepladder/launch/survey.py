"""What the machines of a target say runs on them, asked before anything is taken, and by `stepladder machines`.

Decisions:
- It is asked with the shell alone: a machine that nothing has been sent to yet can answer, and so can one whose
  environment is broken.
- A machine that does not answer is told apart from one that says nothing sensible, and that from an empty list.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from stepladder.core.config import ParameterError
from stepladder.launch import ledger
from stepladder.launch.attempt import host_of, machines
from stepladder.launch.hosts import Host, HostError, Unreachable
from stepladder.launch.ledger import Answer, Told
from stepladder.launch.targets import Target

SECONDS = 30.0
# A job's agent was started by `launch.box` for it: a process that was given its number later was not.
LISTING = r"""
cd "$0/jobs" 2>/dev/null || { echo "[]"; exit 0; }
text() { sed -n "s/^ *\"$1\": \"\(.*\)\",*\$/\1/p" "$2" | head -n 1; }
printf '['
comma=
for folder in */; do
  id=${folder%/}
  [ -f "$id/job.json" ] || continue
  pid=$(sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' "$id/agent.json" 2>/dev/null)
  if [ -f "$id/ended.json" ]; then state=ended
  elif [ -z "$pid" ]; then state=new
  elif tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "launch.box start .*/$id"; then state=running
  else state=lost; fi
  printf '%s{"id": "%s", "name": "%s/%s", "state": "%s", "since": "%s"}' "$comma" "$id" \
    "$(text study "$id/job.json")" "$(text run "$id/job.json")" "$state" "$(text created "$id/job.json")"
  comma=', '
done
echo ']'
"""
# The agent first: it would tell of an end, and start nothing new.
ENDING = r"""
pid=$(sed -n 's/^ *"pid": \([0-9]*\),*$/\1/p' "$0/jobs/$1/agent.json" 2>/dev/null)
own="launch.box start .*/$1"
if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$own"; then kill -9 "$pid"; fi
for place in /proc/[0-9]*; do
  if tr '\0' '\n' <"$place/environ" 2>/dev/null | grep -qx "STEPLADDER_JOB=$1"; then kill -9 "${place#/proc/}"; fi
done
rm -rf "$0/jobs/$1"
"""


class Survey(NamedTuple):
    """What was asked and answered.

    Attributes:
        answers: TARGET/HOST -> its jobs; None where it cannot be asked; why its answer is no list, in words.
        silent: TARGET/HOST -> why it cannot be asked.
    """

    answers: dict[str, Answer]
    silent: dict[str, str]


def ask(root: Path, name: str, target: Target, but: str = "") -> Survey:
    """What runs on every machine of the target called `name`; `but` is not asked, where there are others."""
    known = [machine for machine in machines(name, target) if machine != but] or machines(name, target)
    with ThreadPoolExecutor(len(known)) as pool:
        told = list(pool.map(lambda machine: _ask(root, machine, target), known))
    answers = {machine: answer for machine, (answer, _) in zip(known, told, strict=True)}
    return Survey(answers, {machine: why for machine, (_, why) in zip(known, told, strict=True) if why})


def _ask(root: Path, machine: str, target: Target) -> tuple[Answer, str]:
    """The answer of a machine, and why there is none."""
    try:
        host = host_of(root, machine, target)
        return jobs_on(host), ""
    except Unreachable:
        return None, "it does not answer"
    except HostError as error:
        return None, str(error)
    except ParameterError as error:
        return str(error), ""


def end(host: Host, job: str) -> None:
    """End everything of a job on a machine and delete its folder there, whatever state it is in.

    Raises:
        Unreachable, CommandFailed: see `Host.call`.
    """
    host.call(["sh", "-c", ENDING, host.folder, job], timeout=SECONDS)


def jobs_on(host: Host) -> list[Told]:
    """The jobs that lie on a machine, in whatever state.

    Raises:
        Unreachable, HostError: see `Host.call`.
        ParameterError: what it says is no list of jobs.
    """
    return ledger.well_formed(host.call(["sh", "-c", LISTING, host.folder], timeout=SECONDS))
