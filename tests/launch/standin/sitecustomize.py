"""Lets processes of the drills on this machine find their study: this folder is on their PYTHONPATH."""

from pathlib import Path

from stepladder import studies

HERE = Path(__file__).resolve().parent
studies.__path__ += [str(HERE), str(HERE.parents[1] / "training" / "toy")]
