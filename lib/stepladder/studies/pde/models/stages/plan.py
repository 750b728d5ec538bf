"""The four stages of training and the gates between them.

    operator -> flow (draws the operator's error) -> consistency (draws it in fewer evaluations)
             -> steady (Darcy: corrects by the equation's residual)

Decisions:
- Every stage is judged by whole rollouts of validation trajectories, after its best weights were restored. A stage that
  does not win leaves its predecessor in place, and the verdict says by which numbers.
- operator: its rollout error is below that of persistence and of the spatial mean; in a steady problem below that of
  the mean of the other answers.
- flow: rollout error of the ensemble's mean, CRPS and spectrum of one draw are all better than the operator's. Sure
  forecasts have a CRPS too: their absolute error.
- consistency: error and CRPS within a tenth of its teacher's at no more than a quarter of the evaluations, and the
  teacher was kept.
- steady: the error and the equation's residual are both smaller than the operator's.
- Later stages train nothing of the earlier ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepladder.core.config import ParameterError
from stepladder.core.types import Baseline, Batch, Check, Dataset, Prediction, TrainingPhase
from stepladder.studies.pde.data.dataset import key
from stepladder.studies.pde.data.equations import COEFFICIENTS, NAMES
from stepladder.studies.pde.evaluation import metrics
from stepladder.studies.pde.models.baselines import guesses
from stepladder.studies.pde.models.stages import steady
from stepladder.studies.pde.models.stages.flow import crps
from stepladder.studies.pde.models.stages.forecaster import Forecaster
from stepladder.studies.pde.params import PdeParams

if TYPE_CHECKING:
    import pandas as pd

MOST = 24  # validation trajectories a gate looks at
NEAR = 1.1  # a student's errors, over its teacher's
ROUGH = 4  # wave numbers from here on are what an ensemble's mean smooths away
Quality = dict[str, float]


def phases(params: PdeParams) -> list[TrainingPhase]:
    """The stages a profile asks for.

    Raises:
        ParameterError: a stage that the model's kind of problem does not have.
    """
    model = params.model
    drawn = model.flow_steps or model.student_steps
    if drawn and (model.kind != "grid" or not model.periodic or model.answers):
        raise ParameterError("parameter 'model.flow_steps': the stage flow is of periodic grids in time; set it to 0")
    if model.prior_steps and (model.kind, model.axes, model.answers) != ("grid", 2, 1):
        raise ParameterError("parameter 'model.prior_steps': the stage steady is of Darcy's problem; set it to 0")
    wanted = [
        ("operator", params.training.steps, "network."),
        ("flow", model.flow_steps, "flow."),
        ("consistency", model.student_steps, "student.fast."),
        ("steady", model.prior_steps, "prior."),
    ]
    return [TrainingPhase(name, steps, (part,), keep_if_better=True) for name, steps, part in wanted if steps]


@torch.no_grad()
def accept(phase: TrainingPhase, model: Forecaster, cases: Dataset, params: PdeParams) -> Check:
    """The gate at the end of a stage (see the module); keeps the stage in the model where it says yes."""
    found = batches(model, cases, params)
    if not found:
        return Check(phase.name, False, "no validation trajectories to judge by")
    check = GATES[phase.name](model, found, params)
    if check.ok:
        model.keep(phase.name)
    return check


def batches(model: Forecaster, cases: Dataset, params: PdeParams) -> list[Batch]:
    """Up to `MOST` cases spread over a set, on the model's device."""
    from stepladder.evaluation import metrics as evaluation

    device = next(model.parameters()).device
    chosen = evaluation.batches(cases, evaluation.choose(cases, MOST), params.evaluation.batch)
    return [{name: value.to(device) for name, value in batch.items()} for _, batch in chosen]


def quality(
    model: Forecaster, found: Sequence[Batch], params: PdeParams, phase: str, evaluations: int | None = None
) -> Quality:
    """How `phase` forecasts: `nRMSE` (of the mean), `CRPS`, `spectrum` (of one draw), CPU `ms` per trajectory.

    The spectrum's error is the sum of the differences of amplitudes over their sum, from wave number `ROUGH` on.
    """
    rows, spent, count = [], 0.0, 0
    for batch in found:
        begin = time.process_time()
        members_MBTXC = model.ensemble(batch, phase, evaluations)
        spent, count = spent + time.process_time() - begin, count + len(members_MBTXC[0])
        truth = batch[key(batch, "target_")]
        rough, wanted = (metrics.spectrum(u.double())[:, :, ROUGH:] for u in (members_MBTXC[0], truth))
        error_B = (rough - wanted).abs().sum((1, 2, 3)) / wanted.sum((1, 2, 3)).clamp_min(metrics.TINY)
        mean = {guesses.answer_name(batch): members_MBTXC.mean(0)}
        rows.append(torch.stack([_nrmse(batch, mean, params), crps(members_MBTXC, truth).double(), error_B]))
    nrmse, score, spectrum = torch.cat(rows, dim=1).mean(1).tolist()
    return {"nRMSE": nrmse, "CRPS": score, "spectrum": spectrum, "ms": 1000 * spent / count}


@torch.no_grad()
def worth(model: Forecaster, found: Sequence[Batch], params: PdeParams) -> pd.DataFrame:
    """What each trained stage forecasts at which price: `stage, evaluations, nRMSE, CRPS, spectrum, ms, answers`.

    `evaluations` are those of the velocity network in one draw; `ms` CPU time of a trajectory's whole ensemble.
    """
    import pandas as pd

    asked = [("operator", None)]
    if hasattr(model, "flow"):
        asked += [("flow", count) for count in (1, 2, 4, model.flow.evaluations)]
    if hasattr(model, "student"):
        asked += [("consistency", count) for count in (1, 2, 4)]
    rows = [
        {"stage": phase, "evaluations": count or 0, **quality(model, found, params, phase, count)}
        for phase, count in asked
    ]
    return pd.DataFrame(rows).assign(answers=lambda table: table["stage"] == model.answering)


def verdict(phase: str, before: Quality, after: Quality, against: str, allowed: float = 1.0, more: str = "") -> Check:
    """Whether `after` is below `allowed` x `before` in all that both have; `more` is a further reason to say no."""
    names = [name for name in before if name in after and name != "ms"]
    ok = not more and all(after[name] < allowed * before[name] for name in names)
    said = ", ".join(f"{name} {after[name]:.3g} (against {before[name]:.3g})" for name in names)
    end = "kept" if ok else "not kept, its predecessor answers"
    reason = f"{said} of {against}; {more + '; ' if more else ''}{phase} is {end}"
    return Check(phase, ok, reason, value=after[names[0]], limit=allowed * before[names[0]])


def _operator(model: Forecaster, found: Sequence[Batch], params: PdeParams) -> Check:
    own = _mean([_nrmse(batch, _answer(model, batch), params) for batch in found])
    rivals = {"persistence": guesses.persistence, "the spatial mean": guesses.spatial_mean}
    if params.model.answers:
        rivals = {"the mean of the other answers": _mean_of_others(found)}
    errors = {name: _mean([_nrmse(batch, guess(batch), params) for batch in found]) for name, guess in rivals.items()}
    strongest = min(errors, key=lambda name: errors[name])
    return verdict("operator", {"nRMSE": errors[strongest]}, {"nRMSE": own}, strongest)


def _mean_of_others(found: Sequence[Batch]) -> Baseline:
    """For every answer the mean of all others in `found`."""
    truths = [batch[key(batch, "target_")] for batch in found]
    total, count = sum(truth.sum(0) for truth in truths), sum(map(len, truths))

    def guess(batch: Batch) -> Prediction:
        truth = batch[key(batch, "target_")]
        return {guesses.answer_name(batch): (total - truth) / max(count - 1, 1)}

    return guess


def _flow(model: Forecaster, found: Sequence[Batch], params: PdeParams) -> Check:
    before, after = (quality(model, found, params, phase) for phase in ("operator", "flow"))
    return verdict("flow", before, after, "the operator")


def _consistency(model: Forecaster, found: Sequence[Batch], params: PdeParams) -> Check:
    teacher, student = (quality(model, found, params, phase) for phase in ("flow", "consistency"))
    compared = {name: teacher[name] for name in ("nRMSE", "CRPS")}
    few, many = model.student.evaluations, model.flow.evaluations
    against = f"its teacher, {few} evaluations instead of {many}"
    more = "" if model.answering == "flow" else "its teacher was not kept"
    return verdict("consistency", compared, student, against, NEAR, more)


def _steady(model: Forecaster, found: Sequence[Batch], params: PdeParams) -> Check:
    if any(NAMES[int(number)] != "darcy" for batch in found for number in batch["equation"]):
        return Check("steady", False, "the equation's residual is only known of Darcy's problem; steady is not kept")
    before, after = (residuals(model, found, params, phase) for phase in ("operator", "steady"))
    return verdict("steady", before, after, "the operator")


def residuals(model: Forecaster, found: Sequence[Batch], params: PdeParams, phase: str) -> Quality:
    """Error and residual of answers to Darcy's problem; the residual over the force, root mean square."""
    errors, wrong = [], []
    for batch in found:
        u_BTYXC = model.ensemble(batch, phase)[0]
        errors.append(_nrmse(batch, {guesses.answer_name(batch): u_BTYXC}, params))
        force_B = batch["coefficient_K"][:, COEFFICIENTS.index("force")]
        wrong.append(steady.residual(batch, u_BTYXC[:, 0]).square().mean((1, 2)).sqrt() / force_B)
    return {"nRMSE": _mean(errors), "residual": _mean(wrong)}


def _answer(model: Forecaster, batch: Batch) -> Prediction:
    return {guesses.answer_name(batch): model.ensemble(batch, "operator")[0]}


def _nrmse(batch: Batch, prediction: Prediction, params: PdeParams) -> Tensor:
    """nRMSE of every trajectory's rollout, (B,), as `scoring` defines it."""
    from stepladder.studies.pde.evaluation import scoring

    records = [r for r in scoring.score(batch, prediction, params) if r.metric == f"nRMSE{scoring.ROLLOUT}"]
    items = np.array([record.item for record in records])
    values = np.array([record.numerator / record.denominator for record in records])
    return torch.tensor([values[items == item].mean() for item in range(items.max() + 1)])


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.cat(list(values)).mean())


GATES = {"operator": _operator, "flow": _flow, "consistency": _consistency, "steady": _steady}
