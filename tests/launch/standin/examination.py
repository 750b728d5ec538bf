"""Stands in for the examination of a machine, in no time. A file of the home folder there says what is to be wrong."""

import json
import time
from pathlib import Path

found = {
    "python": "3.12",
    "host": "box",
    "cpus": 1.0,
    "memory": 8e9,
    "memory_free": 8e9,
    "disk_free": 1e9,
    "disk_write": 1e9,
    "disk_read": 1e9,
    "torch": "none",
    "cuda": None,
    "driver": None,
    "cards": [],
    "tflops": 0.0 if (Path.home() / "broken").exists() else 1.0,
    "used": [],
}
print(json.dumps({**found, "clock": time.time()}))
