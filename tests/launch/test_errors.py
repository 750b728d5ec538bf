"""What went wrong in a job, in one view."""

from stepladder.core import files
from stepladder.core.run import Run
from stepladder.launch import errors
from stepladder.launch import job as jobs
from stepladder.launch.job import Job


def test_what_went_wrong_since_the_job_began_is_shown_in_order(tmp_path):
    run = Run(tmp_path / "pde" / "r")
    run.folder.mkdir(parents=True)
    run.event("stage_end", stage="05_training", state="failed", reason="before the job")
    jobs.write(Job("pde", "r", "quick", "box1", created="2100-01-01T00:00:00Z"), run.folder / "launch" / "job.json")
    assert errors.errors(run) == []
    jobs.write(Job("pde", "r", "quick", "box1"), run.folder / "launch" / "job.json")
    run.event("checkpoint_skipped", step=3, reason="state.pt is gone")
    run.event("stage_end", stage="05_training", state="oom", reason="out of memory")
    run.event("stage_end", stage="04_scaling", state="done", reason="")
    run.event("check", stage="05_training", name="loss", ok=False, reason="worse")
    jobs.note(run, "lost", machine="box1/a", why="silent")
    jobs.note(run, "taken", machine="box1/b")
    text = "step 1 of 2\nTraceback (most recent call last):\nValueError: no\nall is well\n"
    files.write_text(run.folder / "launch" / "box.log", text)
    found = errors.errors(run)
    assert [fault.where for fault in found] == [*["events.jsonl"] * 3, "attempts.jsonl", *["box.log"] * 2]
    assert found[0].text == "checkpoint_skipped, step 3, reason state.pt is gone"
    assert [fault.text for fault in found[-2:]] == text.splitlines()[1:3]
    assert errors.errors(run, "2100-01-01T00:00:00Z") == []
