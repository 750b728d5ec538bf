"""The machine a run is on: its limits, its memory, and the signals it sends."""
