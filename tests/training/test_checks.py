from stepladder.training import checks


def line(step, **values):
    return {"step": step, "stage": "fit", "lr": 0.1, **values}


def verdicts(metrics, steps=2):
    return {check.name: check.ok for check in checks.training_checks(metrics, steps)}


def test_the_gates_of_training_can_fail_and_pass():
    good = [line(1, loss=2.0), line(2, loss=1.0), line(1, validation_loss=2.0), line(2, validation_loss=1.5)]
    assert all(verdicts(good).values())
    assert not verdicts(good, steps=3)["training reached its last step"]
    assert not verdicts([*good, line(2, loss=None)])["every loss is finite"]
    assert not verdicts([*good, line(3, validation_loss=2.5)])["validation does not get worse"]
    assert not verdicts([line(2, loss=1.0)])["validation does not get worse"]


def test_a_loss_below_zero_may_fall_and_not_rise():
    """As with learned weights of tasks, which are log variances."""
    told = lambda last: [line(2, loss=0.0), line(1, validation_loss=-1.0), line(2, validation_loss=last)]  # noqa: E731
    assert verdicts(told(-1.02))["validation does not get worse"]
    assert not verdicts(told(-0.9))["validation does not get worse"]


def test_stages_are_judged_apart():
    """Losses of two stages are different things: only a stage that gets worse itself fails."""
    first = [line(1, loss=1.0), line(1, validation_loss=0.2), line(2, validation_loss=0.1)]
    second = [{**line(3, validation_loss=5.0), "stage": "other"}, {**line(4, validation_loss=4.0), "stage": "other"}]
    assert verdicts(first + second)["validation does not get worse"]
    assert not verdicts(second[::-1] + first)["validation does not get worse"]
    assert checks.last_losses(first + second)["best_validation_loss"] == 4.0


def test_the_last_word_of_every_gate_between_stages_is_shown():
    event = {"stage": "flow", "check": "kept", "reason": "worse"}
    table = checks.stage_verdicts([{**event, "ok": True}, {**event, "ok": False}])
    assert table.values.tolist() == [["flow", "kept", "no", "worse"]]
