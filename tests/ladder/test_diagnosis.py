"""Each illness is named, with the stage behind it and the next move, from what a search would have measured."""

import pytest

from stepladder.core.schema import LadderParams
from stepladder.ladder.diagnosis import diagnose
from stepladder.ladder.measure.probes import loader_probe
from stepladder.ladder.records import Candidate, Cell, FullProbe, LoaderProbe, SearchResult, StepProbe, Trial
from stepladder.training.setting import Setting
from tests.ladder import reference_workloads

LADDER = LadderParams(workers=[0, 1, 2], batch=[1, 2, 4])
MEDIAN = {"scipy.ndimage.median_filter": 14.0, "other": 1.7}


def loader(seconds, stages=None, hot="", share=0.0, cpu=1.0, growth=0.0):
    probe = LoaderProbe((seconds,), seconds, 0.0, cpu, 1000, 10**7, growth, stages or {}, hot, share)
    return Trial(Setting(), "ok", "ran to its end", probe=probe)


def step(batch, seconds, width=0.0):
    return Trial(Setting(batch=batch), "ok", "", probe=StepProbe(seconds, width, {"forward": 0.4, "backward": 0.6}))


def candidate(setting, busy, seconds, verdict="better", reason="", growth=0.0):
    """A rung whose step takes `seconds` and is busy for the share `busy`."""
    phases = {"load": seconds / busy - seconds, "forward": 0.3 * seconds, "backward": 0.7 * seconds}
    probe = FullProbe(setting.batch * busy / seconds, 0.0, busy, 12, phases, host_growth=growth)
    return Candidate(Trial(setting, "ok", "ran to its end", probe=probe), verdict, reason)


def dead(setting, ending="oom", reason="stopped at 0.81 GB, the limit is 0.75 GB"):
    return Candidate(Trial(setting, ending, reason), "refused", f"{ending}: {reason}")


def result(*rungs, **more):
    chosen = next((r.setting for r in reversed(rungs) if r.verdict != "refused"), None)
    return SearchResult("jump", rungs, chosen, "the best", **more)


def said(found, cores=8.0):
    return diagnose(found, LADDER, cores)


def test_a_filter_in_the_reader_is_named_with_its_share():
    hot = "scipy.ndimage.median_filter in reader.py:41"
    found = said(result(candidate(Setting(1), 0.1, 1.6), loader=loader(15.7, MEDIAN, hot, 14.0 / 15.7)))
    assert (found.limit, found.stage) == ("data", hot)
    assert found.sentence == (
        "Data-bound: scipy.ndimage.median_filter in reader.py:41 is 14 of 15.7 s per sample, and the step waits 90% of "
        "the time; more workers only hide it: do it once at conversion."
    )


def test_many_small_stages_ask_for_workers_while_there_are_cpus():
    data = result(
        candidate(Setting(1, 1), 0.4, 0.027), loader=loader(0.1, {"decode": 0.04, "crop": 0.03, "other": 0.03})
    )
    assert said(data, cores=8).move == "allow 4 workers (ladder.workers)"
    few = said(data, cores=2)
    assert few.limit == "data"
    assert few.stage == "decode"
    assert few.move == "4 workers would keep up, but there are 2 CPUs: move work into the conversion"


def test_workers_that_should_keep_up_and_do_not_are_not_asked_for_again():
    found = said(
        result(candidate(Setting(2, 1), 0.4, 0.1), loader=loader(0.1, {"decode": 0.04, "crop": 0.03})), cores=4
    )
    assert found.limit == "data" and "share 4 CPUs" in found.move and "would keep up" not in found.move


def test_waiting_for_storage_is_no_work_for_the_conversion():
    hot = "read in reader.py:9"
    found = said(result(candidate(Setting(1), 0.2, 0.02), loader=loader(0.1, {"read": 0.09}, hot, 0.9, cpu=0.1)))
    assert found.limit == "data"
    assert "90% of it waiting for storage" in found.sentence
    assert "local disk" in found.move


def test_without_probes_the_wait_is_still_named():
    assert said(result(candidate(Setting(2, 2), 0.5, 0.02))).limit == "data"
    assert said(result(candidate(Setting(2, 2), 0.97, 0.02))).limit == "compute"


def test_a_slow_network_is_compute_bound():
    found = said(result(candidate(Setting(1, 2), 0.97, 0.2), loader=loader(0.01), steps=(step(1, 0.1), step(2, 0.2))))
    assert (found.limit, found.stage) == ("compute", "backward")
    assert "70% of it in backward" in found.sentence


def test_a_step_that_costs_the_same_at_any_batch_is_launch_bound():
    measured = result(
        candidate(Setting(1, 4), 0.97, 0.011), loader=loader(0.0005), steps=(step(1, 0.01), step(4, 0.011))
    )
    found = said(measured)
    assert found.limit == "launch"
    assert "10 ms with 1 sample and 11 ms with 4" in found.sentence
    assert "larger batches" in found.move


def test_noise_does_not_make_a_step_launch_bound():
    steps = (step(1, 0.5, width=0.3), step(2, 0.4, width=0.3))
    assert said(result(candidate(Setting(1, 2), 0.97, 0.4), loader=loader(0.01), steps=steps)).limit == "compute"


@pytest.mark.parametrize("reason", ["needs 0.81 GB of host memory, 0.75 GB may be used"])
def test_memory_that_bars_the_fastest_setting_is_named(reason):
    cells = (Cell(Setting(batch=4), 10.0, 6, 0, True), Cell(Setting(batch=8), 14.0, 9, 0, False, reason))
    found = said(result(candidate(Setting(0, 4), 0.97, 0.4), loader=loader(0.001), cells=cells))
    assert (found.limit, found.stage) == ("memory", "0 workers, batch 8")
    assert reason in found.sentence
    assert found.move == "recompute activations (ladder.checkpointing: [true]) or try bfloat16 (ladder.precision)"


def test_memory_that_bars_nothing_better_is_no_limit():
    cells = (Cell(Setting(batch=4), 10.0, 6, 0, True), Cell(Setting(batch=8), 10.1, 9, 0, False, "too large"))
    assert said(result(candidate(Setting(0, 4), 0.97, 0.4), loader=loader(0.001), cells=cells)).limit == "compute"


def test_a_larger_batch_that_died_of_memory_is_named():
    found = said(result(candidate(Setting(0, 4), 0.97, 0.4), dead(Setting(0, 8)), loader=loader(0.001)))
    assert found.limit == "memory"
    assert "0 workers, batch 8 does not fit: stopped at 0.81 GB" in found.sentence
    assert said(result(dead(Setting(0, 1)))).limit == "memory"


def test_a_leak_is_named_before_everything_else():
    reason = "host memory grows 1.00 MB per forward pass from 0.50 GB: it would be full at pass 700 of 4000; repeated"
    leaking = candidate(Setting(1), 0.3, 0.02, "refused", reason, growth=1e6)
    found = said(result(leaking, loader=loader(0.01, hot="Reader.read in r.py:7", growth=1e6)))
    assert (found.limit, found.stage) == ("leak", "loader")
    assert "keeps 1.0 MB of each sample it draws (Reader.read in r.py:7)" in found.sentence
    assert "full at pass 700 of 4000" in found.sentence
    assert "repeated" not in found.sentence
    assert said(result(leaking, loader=loader(0.01))).stage == "step"


def test_loader_and_step_in_balance_are_healthy():
    found = said(result(candidate(Setting(1), 0.97, 0.03), loader=loader(0.02), steps=(step(1, 0.03), step(2, 0.06))))
    assert (found.limit, found.stage) == ("none", "")
    assert found.sentence.startswith("Healthy: ")


def test_nothing_that_ran_says_so():
    found = said(SearchResult("jump", (), None, "the loader alone ended failed: KeyError: 'no shard'"))
    assert found.limit == "none"
    assert "KeyError: 'no shard'" in found.sentence


def test_the_median_filter_of_the_patient_is_found_by_the_probe():
    probe = loader_probe(reference_workloads.median_in_reader(volumes=20, side=32), 4)
    trial = Trial(Setting(), "ok", "ran to its end", probe=probe)
    found = said(result(candidate(Setting(1), 0.3, 0.002), loader=trial))
    assert found.sentence.startswith("Data-bound: scipy.ndimage.median_filter in reference_workloads.py:")
    assert "at conversion" in found.move
