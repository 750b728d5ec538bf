"""Stands in for the smoke test where training is a stand-in: nothing is imported."""

import json

print(json.dumps({"torch": "none", "device": "cpu", "loss": 1.0, "seconds": 0.0}))
