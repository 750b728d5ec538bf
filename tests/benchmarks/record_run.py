"""Keep the evaluation of a finished run as a benchmark record: `record_run.py STUDY PROFILE [RUN]`.

For runs that take too long for `make bench`: walk them with `make demo`, then record what they reached.
"""

import sys
from pathlib import Path

from stepladder.core import files
from stepladder.core.paths import outputs_root, project_root
from stepladder.core.run import Run
from stepladder.dev.records import made_by_run


def main(study: str, profile: str, run: str | None = None) -> None:
    """Write records/PROFILE.json: values with their intervals, gains over baselines, verdicts on stages, seconds."""
    opened = Run(outputs_root(project_root()) / study / (run or profile))
    opened.require("06_evaluation")
    measured = files.read_json(opened.folder / "06_evaluation" / "metrics.json")
    seconds = {event["stage"]: event["seconds"] for event in opened.events("stage_end") if event["state"] == "done"}
    gates = {event["stage"]: [event["ok"], event["reason"]] for event in opened.events("gate")}  # the last word on each
    record = {"study": study, "profile": profile, "seconds": seconds, "gates": gates, **measured}
    record |= made_by_run(opened.root, study)
    files.write_json(Path(__file__).with_name("records") / f"{profile}.json", record)
    print(f"{profile}: {sum(seconds.values()) / 60:.0f} minutes in {len(seconds)} stages")


if __name__ == "__main__":
    main(*sys.argv[1:])
