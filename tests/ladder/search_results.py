"""Search results made up from a closed form, as the search would leave them: what tests of cost and pictures need.

The job: samples take `sample` seconds to load, steps `a + c * batch`, and measurements miss the forecast by a few per
cent drawn from a seed.
"""

import dataclasses

import numpy as np

from stepladder.ladder.records import Candidate, Cell, FullProbe, LoaderProbe, SearchResult, StepProbe, Trial
from stepladder.training.setting import Setting

GB = 10**9
SCROLL_STAGES = {
    "scipy.ndimage.median_filter": 0.280,
    "tifffile.imread": 0.031,
    "VolumeCache.normalise": 0.017,
    "augment": 0.014,
    "elastic_deform": 0.009,
    "crop": 0.002,
    "flip": 0.001,
    "other": 0.003,
}


def rate(setting, sample, a, c):
    """Samples per second of an in-order loader without spread."""
    step = a + c * setting.batch
    if setting.workers == 0:
        return setting.batch / (setting.batch * sample + step)
    return min(setting.workers / sample, setting.batch / step)


def settings(workers, batches, optimizer=8, **more):
    return [Setting(w, b, accumulate=optimizer // b, **more) for w in workers for b in batches]


def cell(setting, sample, a, c, limit=9.6 * GB, each=0.6 * GB, activations=1.1 * GB):
    host = int(0.9 * GB + setting.workers * each + activations * setting.batch)
    reason = f"needs {host / GB:.2f} GB of host memory, {limit / GB:.2f} GB may be used" if host > limit else ""
    return Cell(setting, rate(setting, sample, a, c), host, 0, not reason, reason)


def full(forecast, sample, a, c, off=0.0, **more):
    setting, step = forecast.setting, a + c * forecast.setting.batch
    real = forecast.rate * (1 + off)
    per_pass = setting.batch / real
    busy = min(1.0, step / per_pass)
    phases = {"load": per_pass * (1 - busy), "host_to_device": 0.01 * step, "forward": 0.3 * step}
    phases |= {"losses": 0.08 * step, "backward": 0.51 * step, "optimizer": 0.1 * step}
    values = {"half_width": 0.03 * real, "steps": 24, "losses": (1.2, 0.9), "host_bytes": forecast.host_bytes}
    return FullProbe(real, busy=busy, phases=phases, **{**values, **more})


def ran(forecast, verdict, reason, sample, a, c, off=0.0, **more):
    probe = full(forecast, sample, a, c, off, **more)
    trial = Trial(forecast.setting, "ok", "", 12.0, int(1.04 * forecast.host_bytes), probe)
    return Candidate(trial, verdict, reason, forecast)


def failed(forecast, ending, reason):
    return Candidate(Trial(forecast.setting, ending, reason, 4.0, 9 * GB), "refused", f"{ending}: {reason}", forecast)


def probes(sample, a, c, batches, stages, cv=0.25, hot="", share=0.0):
    drawn = np.random.default_rng(0).gamma(1 / cv**2, sample * cv**2, 48)
    loader = LoaderProbe(tuple(drawn * sample / drawn.mean()), 1.4 * sample, 0.0, 0.95, 5 * 10**6, GB // 2, 0.0, stages)
    loader = dataclasses.replace(loader, hot=hot, hot_share=share)
    steps = []
    for setting in settings([0], batches):
        seconds = a + c * setting.batch
        steps.append(Trial(setting, "ok", "", 3.0, GB, StepProbe(seconds, 0.02 * seconds, {}, 0, 2 * GB, seconds)))
    return Trial(Setting(), "ok", "", 15.0, GB, loader), tuple(steps)


def data_bound():
    """A slow reader: more loader processes help until memory ends; the batch does not matter."""
    job = {"sample": 0.357, "a": 0.02, "c": 0.03}
    cells = [cell(s, **job) for s in settings([0, 1, 2, 4, 8], [1, 2, 4, 8])]
    at = {(c.setting.workers, c.setting.batch): c for c in cells}
    rungs = (
        ran(at[8, 1], "better", "the first that runs; busy 94% of the time, target 90% reached", **job, off=-0.16),
        ran(
            at[8, 2], "better", "+9% samples/s against 8 workers, batch 1, more than the noise of 5%", **job, off=-0.08
        ),
        ran(at[4, 2], "not better", "-46% samples/s against 8 workers, batch 2", **job, off=-0.03),
    )
    soak = ran(at[8, 2], "better", "nothing gave way in 40 passes", **job, off=-0.07, steps=40)
    loader, steps = probes(**job, batches=[1, 2], stages=SCROLL_STAGES, hot="scipy.ndimage.median_filter", share=0.78)
    return SearchResult(
        "jump", rungs, at[8, 2].setting, "22.4 samples/s, the best of 3 tried", loader, steps, tuple(cells), soak
    )


def compute_bound():
    """A heavy step: one loader process is enough, larger batches and bfloat16 help."""
    job = {"sample": 0.004, "a": 0.15, "c": 0.02}
    cells = [cell(s, **job, limit=14 * GB) for s in settings([0, 1, 2, 4], [1, 2, 4, 8], threads=2)]
    half = {"sample": 0.004, "a": 0.11, "c": 0.011}
    cells += [
        cell(s, **half, limit=14 * GB) for s in settings([0, 1, 2, 4], [1, 2, 4, 8], threads=2, precision="bfloat16")
    ]
    at = {(c.setting.workers, c.setting.batch, c.setting.precision): c for c in cells}
    fast = at[1, 8, "bfloat16"]
    rungs = (
        ran(fast, "better", "the first that runs; busy 99% of the time, target 90% reached", **half, off=0.02),
        ran(
            at[2, 8, "bfloat16"],
            "tie",
            "+1% samples/s against 1 worker, batch 8, within the noise of 5%",
            **half,
            off=0.03,
        ),
        ran(at[1, 8, "float32"], "not better", "-35% samples/s against 1 worker, batch 8", **job, off=-0.02),
        ran(at[1, 4, "bfloat16"], "not better", "-33% samples/s against 1 worker, batch 8", **half, off=-0.04),
    )
    loader, steps = probes(**half, batches=[1, 2, 8], stages={"read": 0.003, "flip": 0.0006, "crop": 0.0004})
    return SearchResult("jump", rungs, fast.setting, "as fast as forecast", loader, steps, tuple(cells))


def troubled():
    """A search by a list of rungs, without any forecast, in which things go wrong; also a rung passed over."""
    job = {"sample": 0.15, "a": 0.05, "c": 0.01}
    bare = {s: cell(s, **job, activations=2.4 * GB) for s in settings([0, 1, 2, 4], [1, 2, 4, 8], optimizer=8)}
    at = {(s.workers, s.batch): c for s, c in bare.items()}
    leak = "host memory grows 12.40 MB per forward pass from 2.10 GB: it would be full at pass 605 of 8000"
    rungs = [
        ran(at[1, 1], "better", "the first that runs", **job, off=-0.02),
        ran(at[2, 1], "better", "+97% samples/s against 1 worker, batch 1", **job, off=-0.03),
        ran(at[2, 2], "tie", "+2% samples/s, within the noise of 5%", **job, off=-0.01),
        ran(at[4, 2], "refused", leak, **job, off=-0.05, host_growth=12.4e6),
        failed(at[4, 4], "oom", "the process tree held 9.7 of 9.6 GB and was stopped"),
        failed(at[2, 4], "timeout", "more than 60 s"),
        failed(at[4, 8], "skipped", "4 workers, batch 4 already ran out of memory"),
    ]
    plain = tuple(dataclasses.replace(candidate, forecast=None) for candidate in rungs)
    return SearchResult("rungs", plain, at[2, 1].setting, "13 samples/s, rolled back to the last rung that passed")


def on_a_gpu():
    """Many rungs on a GPU whose memory ends at batch 16; one loader setting differs from rung to rung."""
    job = {"sample": 0.012, "a": 0.03, "c": 0.009}
    cells = []
    for setting in settings([2, 4, 8, 12], [1, 2, 4, 8, 16, 32], optimizer=32, precision="bfloat16"):
        device = int(4.1 * GB + 3.9 * GB * setting.batch)
        fits = device <= 68 * GB
        reason = "" if fits else f"needs {device / GB:.2f} GB of device memory, 68.00 GB may be used"
        cells.append(
            dataclasses.replace(cell(setting, **job, limit=99 * GB), device_bytes=device, fits=fits, reason=reason)
        )
    at = {(c.setting.workers, c.setting.batch): c for c in cells}
    tried = [(2, 1), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8), (12, 8), (12, 16), (8, 16), (4, 16), (12, 4)]
    rungs = []
    for number, place in enumerate(tried):
        device = int(1.03 * at[place].device_bytes)
        verdict = "better" if number < 6 else "not better"
        more = {"off": -0.02 * (number % 4), "device_bytes": device}
        rungs.append(ran(at[place], verdict, "as an example", **job, **more))
    rungs.append(failed(at[12, 32], "oom", "CUDA out of memory"))
    loader, steps = probes(**job, batches=[1, 2, 8], stages={"read": 0.009, "crop": 0.003})
    return SearchResult(
        "jump", tuple(rungs), at[8, 8].setting, "78 samples/s, the best of 12 tried", loader, steps, tuple(cells)
    )


def hopeless():
    """Nothing ran to its end."""
    setting = Setting(1, 8)
    trial = Trial(setting, "oom", "the process tree held 9.7 of 9.6 GB and was stopped", 3.0, 9 * GB)
    candidate = Candidate(trial, "refused", "oom: the process tree held 9.7 of 9.6 GB and was stopped")
    return SearchResult(
        "rungs", (candidate,), None, "no setting passed the gates: 1 worker, batch 8: it ran out of memory"
    )


def empty():
    """The loader alone died, so nothing was tried."""
    return SearchResult("jump", (), None, "the loader alone ended failed: KeyError 'fold'")


ALL = {
    "data_bound": data_bound,
    "compute_bound": compute_bound,
    "on_a_gpu": on_a_gpu,
    "troubled": troubled,
    "hopeless": hopeless,
    "empty": empty,
}
