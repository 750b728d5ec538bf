"""One setting measured: the job, its trial in a process of its own, probes, profiler, levels."""
