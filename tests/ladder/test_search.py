"""The search: what it tries, what it refuses and why, and where it rolls back to."""

from dataclasses import dataclass, field, replace

import pytest

from stepladder.core.config import ParameterError
from stepladder.core.schema import LadderParams, RungParams, TrainingParams
from stepladder.ladder import gates
from stepladder.ladder.records import Candidate, FullProbe, LoaderProbe, StepProbe, Trial
from stepladder.ladder.search import find_setting
from stepladder.ladder.space import space
from stepladder.training.setting import Setting
from tests.ladder.simulated import Job, SimulatedMeasurer, params

GB = 10**9
TRAINING = TrainingParams(steps=1000, batch=4)


@dataclass
class ScriptedBench:
    """A job without noise: min(k / sample, b / step), with whatever a test wants to go wrong."""

    sample: float = 0.1
    fixed: float = 0.02
    each: float = 0.01
    says: dict = field(default_factory=dict)  # setting -> list of changes to its trials, one after the other
    loader_ends: dict = field(default_factory=dict)  # samples -> ending
    device: int | None = None
    fake: int | None = None
    tried: list = field(default_factory=list)
    stepped: list = field(default_factory=list)

    def loader(self, samples):
        if samples in self.loader_ends:
            return Trial(Setting(), self.loader_ends[samples], "so it is", 1.0)
        return Trial(Setting(), "ok", "", 1.0, 0, LoaderProbe((self.sample,) * samples, 0.1, 0.0, 0.0, 8, 0, 0.0))

    def step(self, setting, steps):
        self.stepped.append(setting)
        seconds = self.fixed + self.each * setting.batch
        taken = self._device(setting)
        if self.device and taken > self.device:
            return Trial(setting, "oom", "CUDA out of memory", 1.0)
        return Trial(setting, "ok", "", 1.0, 0, StepProbe(seconds, 0.0, device_bytes=taken))

    def full(self, setting, steps, whole=False, expected=None):
        self.tried.append(setting)
        step = self.fixed + self.each * setting.batch
        batch = setting.batch
        alone = batch / (self.sample * batch + step)
        rate = min(setting.workers / self.sample, batch / step) if setting.workers else alone
        busy = rate * step / batch
        trial = Trial(setting, "ok", "", 1.0, GB, FullProbe(rate, 0.01 * rate, busy, steps, losses=(1.0, 0.9)))
        changes = self.says.get(setting, [])
        change = changes.pop(0) if changes else {}
        if "ending" in change:
            return replace(trial, probe=None, **change)
        return replace(trial, probe=replace(trial.probe, **change))

    def fake_bytes(self, setting):
        return self.fake and self.fake * setting.batch // (2 if setting.checkpointing else 1)

    def memory_limit(self):
        return 10 * GB

    def device_limit(self):
        return self.device

    def _device(self, setting):
        return (self.fake_bytes(setting) or 0) + GB if self.device else 0


def ladder(**more):
    return LadderParams(
        **{"workers": [0, 1, 2, 4, 8], "batch": [1, 2, 4], "keep_global_batch": False, "soak": 0, **more}
    )


def search(measurer, training=TRAINING, **more):
    return find_setting(measurer, ladder(**more), training, cores=8)


# The jump -------------------------------------------------------------------------------------------------------------


def test_it_jumps_to_the_cheapest_of_the_best_in_one_trial():
    found = search(ScriptedBench(sample=0.01, fixed=0.2))
    assert found.chosen == Setting(1, 4)  # one worker feeds the step with plenty to spare
    assert len(found.rungs) == 1
    assert found.rungs[0].rate == pytest.approx(found.rungs[0].forecast.rate, rel=0.05)
    assert "busy 100%" in found.rungs[0].reason


def test_it_takes_many_workers_where_data_is_slow():
    assert search(ScriptedBench(sample=0.1, fixed=0.001, each=0.001)).chosen.workers == 8


def test_only_the_settings_that_determine_the_line_of_a_step_are_probed():
    measurer = ScriptedBench()
    search(measurer, threads=[1, 2])
    assert [(s.threads, s.batch) for s in measurer.stepped] == [(1, 1), (1, 4), (2, 1), (2, 4)]


def test_a_setting_that_runs_out_of_memory_rules_out_all_that_need_more():
    measurer = ScriptedBench(sample=0.1, fixed=0.001, each=0.001)
    for workers in (4, 8):
        measurer.says[Setting(workers, 1)] = [{"ending": "oom", "reason": "stopped at 9.9 GB"}]
    found = search(measurer)
    assert found.rungs[0].setting == Setting(8, 1)
    assert found.rungs[0].verdict == "refused"
    assert found.chosen == Setting(2, 1)
    assert all(setting.workers < 8 for setting in measurer.tried[1:])


def test_recomputing_activations_is_probed_only_where_something_does_not_fit():
    roomy, tight = (ScriptedBench(device=size * GB, fake=GB) for size in (20, 4))
    search(roomy, checkpointing=[False, True])
    search(tight, checkpointing=[False, True])
    assert not any(setting.checkpointing for setting in roomy.stepped)
    assert any(setting.checkpointing for setting in tight.stepped)
    assert not any(trial.ending == "oom" for trial in search(tight, checkpointing=[False, True]).steps)


def test_a_slow_loader_is_probed_with_fewer_samples():
    found = search(ScriptedBench(loader_ends={24: "timeout"}))
    assert found.chosen and len(found.loader.probe.sample_seconds) == 4


def test_a_job_that_never_runs_is_said_so():
    dead = search(ScriptedBench(loader_ends=dict.fromkeys((24, 4, 1), "failed")))
    assert dead.chosen is None and dead.why == "the loader alone ended failed: so it is"
    full = search(ScriptedBench(device=GB, fake=GB))
    assert full.chosen is None and "the step alone never ran to its end" in full.why
    assert full.steps[0].ending == "oom"


def test_where_the_forecast_was_wrong_it_goes_on_and_learns():
    measurer = ScriptedBench(sample=0.1, fixed=0.001, each=0.001)
    for batch in (1, 2, 4):
        measurer.says[Setting(8, batch)] = [{"rate": 15.0, "busy": 0.03}] * 2
    found = search(measurer)
    assert found.rungs[0].setting == Setting(8, 1)
    assert found.chosen.workers == 4


def test_the_batch_of_an_optimizer_step_is_held_by_accumulation():
    settings = space(ladder(keep_global_batch=True, batch=[1, 2, 3, 4]), TRAINING)
    assert {(s.batch, s.accumulate) for s in settings} == {(1, 4), (2, 2), (4, 1)}
    with pytest.raises(ParameterError, match=r"none divides training.batch = 4"):
        space(ladder(keep_global_batch=True, batch=[3]), TRAINING)


def test_without_workers_prefetch_is_no_choice():
    settings = space(ladder(workers=[0, 1], batch=[1], prefetch=[2, 4]), TRAINING)
    assert [(s.workers, s.prefetch) for s in settings] == [(0, 2), (1, 2), (1, 4)]


# The gates ------------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_refused():
    measurer = ScriptedBench(sample=0.01, fixed=0.2)
    measurer.says[Setting(1, 4)] = [{"losses": (1.0, float("nan"))}]
    found = search(measurer)
    assert found.rungs[0].reason == "the loss is not finite"
    assert found.chosen != Setting(1, 4)


def test_a_leak_is_refused_with_the_pass_of_death():
    measurer = ScriptedBench(sample=0.01, fixed=0.2)
    measurer.says[Setting(1, 4)] = [{"host_growth": 9e7}] * 2
    found = search(measurer, soak=20)
    assert found.chosen is None
    assert "full at pass 100 of 1000" in found.rungs[0].reason
    assert "tried for longer" in found.rungs[0].reason


def test_growth_that_ends_before_the_training_is_no_leak():
    measurer = ScriptedBench(sample=0.01, fixed=0.2)
    measurer.says[Setting(1, 4)] = [{"host_growth": 9e7}]
    assert search(measurer, training=TrainingParams(steps=50, batch=4)).chosen == Setting(1, 4)


def test_growth_in_a_short_trial_is_forgiven_where_a_longer_one_levels_off():
    measurer = ScriptedBench(sample=0.01, fixed=0.2)
    measurer.says[Setting(1, 4)] = [{"host_growth": 9e7}]
    assert search(measurer, soak=20).chosen == Setting(1, 4)


def probe(rate, half_width):
    return FullProbe(rate, half_width, 0.5, 12, losses=(1.0,))


def test_gain_counts_in_samples_and_outside_the_noise():
    best = Candidate(Trial(Setting(1, 1), "ok", "", probe=probe(10.0, 0.5)), "better", "")
    judge = lambda rate, width, cheaper=False: gates.compare(probe(rate, width), best, cheaper, ladder())[0]  # noqa: E731
    assert judge(12.0, 0.5) == "better"
    assert judge(12.0, 2.0) == "tie"
    assert judge(10.1, 0.1) == "not better"
    assert judge(9.9, 0.5, cheaper=True) == "not better"


def test_a_bigger_batch_with_longer_steps_wins():
    """Step time grows from 0.03 to 0.06 s, which a gate on step time would refuse."""
    rungs = [RungParams(workers=8, batch=1), RungParams(workers=8, batch=4)]
    found = search(ScriptedBench(sample=0.01), policy="rungs", rungs=rungs)
    assert found.chosen == Setting(8, 4)


def test_what_needs_more_memory():
    base = Setting(2, 2)
    assert gates.needs_more(Setting(2, 4), base) and gates.needs_more(base, replace(base, precision="bfloat16"))
    assert not gates.needs_more(Setting(4, 1), base)
    assert not gates.needs_more(replace(base, checkpointing=True), base)


# Ties, pollution, the soak --------------------------------------------------------------------------------------------


def climb_pair(first, second, again):
    """Two rungs whose trials, and a repetition of the first, measure the given rates with wide intervals."""
    measurer = ScriptedBench()
    wide = [{"rate": rate, "half_width": 0.15 * rate} for rate in (first, again)]
    measurer.says = {Setting(1, 1): wide, Setting(2, 1): [{"rate": second, "half_width": 0.15 * second}]}
    rungs = [RungParams(workers=1, batch=1), RungParams(workers=2, batch=1)]
    return search(measurer, policy="rungs", rungs=rungs), measurer


def test_a_gain_within_the_noise_is_settled_by_measuring_the_best_again():
    found, measurer = climb_pair(10.0, 11.5, 10.2)
    assert measurer.tried == [Setting(1, 1), Setting(2, 1), Setting(1, 1)]
    assert found.chosen == Setting(1, 1)  # still unsure: a tie, and the cheaper one stays
    assert found.rungs[-1].verdict == "tie"


def test_a_clear_gain_needs_no_repetition():
    found, measurer = climb_pair(10.0, 19.0, 10.0)
    assert len(measurer.tried) == 2 and found.chosen == Setting(2, 1)


def test_a_polluted_trial_is_repeated_once_and_said_so():
    measurer = ScriptedBench(sample=0.01, fixed=0.2)
    measurer.says[Setting(1, 4)] = [{"contended": 0.8, "rate": 3.0}]
    found = search(measurer)
    assert found.rungs[0].rate > 10
    assert "others took the machine (80%" in found.rungs[0].reason
    assert found.rungs[0].trial.seconds == 2.0  # both trials are paid for


def test_the_soak_rolls_back_to_the_last_that_stands():
    measurer = ScriptedBench()
    measurer.says[Setting(2, 1)] = [{}, {"host_growth": 9e7}]
    rungs = [RungParams(workers=1, batch=1), RungParams(workers=2, batch=1)]
    found = search(measurer, policy="rungs", rungs=rungs, soak=20)
    assert found.chosen == Setting(1, 1)
    assert found.soak.setting == Setting(1, 1)
    assert "rolled back from 2 workers, batch 1" in found.why


def test_what_a_search_cost_counts_every_trial():
    measurer = ScriptedBench(sample=0.01, fixed=0.2)
    found = search(measurer, soak=20)
    assert found.seconds == 1 + len(measurer.stepped) + len(measurer.tried)


# The list -------------------------------------------------------------------------------------------------------------


def test_a_list_is_climbed_up_to_the_first_rung_that_does_not_win():
    plan = [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4)]
    heard = []
    measurer = ScriptedBench(sample=0.1, fixed=0.001, each=0.001)
    parameters = ladder(policy="rungs", rungs=[RungParams(workers=w, batch=b) for w, b in plan])
    found = find_setting(measurer, parameters, TRAINING, 8, on_candidate=heard.append)
    assert [candidate.setting for candidate in found.rungs] == [Setting(1, 1), Setting(2, 1), Setting(2, 2)]
    assert found.chosen == Setting(2, 1) and heard == list(found.rungs)


def test_a_rung_that_would_change_the_optimizer_step_is_not_tried():
    measurer = ScriptedBench()
    found = search(measurer, policy="rungs", rungs=[RungParams(workers=1, batch=3)], keep_global_batch=True)
    assert not measurer.tried and found.chosen is None
    assert found.rungs[0].trial.ending == "skipped" and "no multiple" in found.rungs[0].reason


def test_an_empty_list_says_what_to_do():
    with pytest.raises(ParameterError, match="list settings to climb"):
        search(ScriptedBench(), policy="rungs")


# The proof ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_thirty_simulated_jobs_end_near_their_best_without_running_out_of_memory():
    shares, ooms = [], 0
    for seed in range(30):
        job = Job.draw(seed)
        measurer, (parameters, training) = SimulatedMeasurer(job), params(job)
        found = find_setting(measurer, parameters, training, job.cores)
        best = max(job.true_rate(setting) for setting in job.settings())
        shares.append(job.true_rate(found.chosen) / best)
        ooms += measurer.ooms
    assert ooms == 0
    assert sum(share >= 0.9 for share in shares) >= 24
    assert sum(shares) / len(shares) > 0.95
