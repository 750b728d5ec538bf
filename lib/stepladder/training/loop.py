"""The training loop: stages in order, from wherever the last checkpoint stands, to the end or to a signal.

Decisions:
- Everything random is a function of (seed, step); a checkpoint plus its step is the whole state. A run that was killed
  and resumed ends with the same weights and the same metrics, bit for bit on one device.
- One loader serves the whole training. Its stream is fixed beforehand: the micro-batches of each step, and the fixed
  validation samples after the steps that validate. So validation shares loader processes, and nothing stalls.
- The numbers of a step stay on the device until the next sync point (see `parallel.StopConsensus`), and always before
  anything is saved: logging every step does not make a GPU wait, and ranks exchange once for many steps.
- Steps are counted over all stages. At step s: update, log, validate when due, save when due, stop when told.
- A stage that is kept if better ends with its best weights, and with the study's word on whether they are used from
  here on.
- A checkpoint of another training is set aside, never deleted and never continued (see `schedule`).
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import default_collate

from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.study import Study
from stepladder.core.types import Batch, Dataset
from stepladder.data.sampling import Drawn, Order, StepBatches, Stream, loader, torch_seed, validation_batches
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, parallel, schedule, tracking
from stepladder.training.checkpoint import Progress
from stepladder.training.optimize import EMA, learning_rate_factor
from stepladder.training.parallel import DistributedContext, StopConsensus
from stepladder.training.schedule import PhaseSpan
from stepladder.training.step import (
    StepModule,
    StepResult,
    TrainState,
    autocast,
    make_train_state,
    seed_torch,
    to_device,
    train_step,
)
from stepladder.training.trainable import set_modes, set_trainable

HEARTBEAT_SECONDS = 60.0  # between events that say the training lives


class TrainingError(ValueError):
    """Training that cannot go on, with the reason and the way out."""


@dataclass(slots=True)
class Pending:
    """A step whose numbers are still on the device."""

    step: int
    phase: str
    rate: float
    result: StepResult
    time: float


class Training:
    """One training run.

    Args:
        run: where metrics, events and checkpoints go.
        study, params: what is trained, and how.
        training: the training parameters in force (workers and batch may come from the ladder).
        data: training samples, validation samples and whole validation cases; the latter two may be empty.
        distributed: this process among the others.
        stop: says whether a signal asked to stop.
    """

    def __init__(
        self,
        run: Run,
        study: Study,
        params: Parameters,
        training: TrainingParams,
        data: tuple[Dataset, Dataset, Dataset],
        distributed: DistributedContext | None = None,
        stop: Callable[[], bool] = lambda: False,
    ):
        self.run, self.study, self.params, self.training = run, study, params, training
        self.train, self.validation, self.cases = data
        self.distributed = distributed or DistributedContext()
        self.stop_consensus = StopConsensus(self.distributed, stop)
        self.spans = schedule.spans(study, params)
        self.last, self._ends = self.spans[-1].end, {span.end for span in self.spans}
        torch.manual_seed(params.seed)
        self.model = study.model(params).to(self.distributed.device)
        parallel.prepare(self.model, training)
        self.step_module = StepModule(study, self.model, self.spans[0].phase)
        self._shard()
        self.progress = Progress(
            config_fingerprint=schedule.config_fingerprint(run, study, params, training),
            code=schedule.code(params.study),
        )
        self.fixed = validation_batches(
            len(self.validation),
            training.batch,
            training.validation_batches,
            self.distributed.rank,
            self.distributed.world,
        )
        self.train_state: TrainState  # of the stage under way
        self.step = 0
        self.tracker = tracking.Tracker()
        self._pending: list[Pending] = []
        self._beat = time.monotonic()  # of the last heartbeat
        self._logged, self._logged_step = time.time(), 0  # of the last logged step; pauses shift it

    def fit(self) -> Progress:
        """Train to the end.

        Raises:
            Preempted: a signal came; everything is saved.
            TrainingError: a stage was refused, or the loss is not finite.
            CheckpointError: a checkpoint could not be written.
        """
        state = self._resume()
        self.distributed.wait()
        self.tracker = self._tracker()
        ending = "failed"
        try:
            self._walk(state)
            ending = "done"
        except Preempted:
            ending = "preempted"
            raise
        finally:
            self.tracker.finish(ending)
        return self.progress

    def _walk(self, state: dict[str, Any] | None) -> None:
        """All spans that are not done yet."""
        stream = iter(self._loader())
        self._logged, self._logged_step = time.time(), self.step
        for span in self.spans:
            if self.step < span.end:
                self._enter(span, state)
                while self.step < span.end:
                    self._advance(span, stream)

    def _advance(self, span: PhaseSpan, stream: Iterator[Batch]) -> None:
        """One optimizer step and all that is due after it."""
        training = self.training
        # Every stage has a schedule of its own, from its warm-up to its end.
        rate = span.phase.learning_rate or training.learning_rate
        rate *= learning_rate_factor(training.schedule, self.step - span.begin, span.end - span.begin, training.warmup)
        for group in self.train_state.optimizer.param_groups:
            group["lr"] = rate
        result = train_step(self.train_state, self.step, (next(stream) for _ in range(training.accumulate)))
        self.step = step = self.step + 1
        # What is due after this step. All ranks come to the same answer, or they would wait for each other for ever.
        saves = step % training.checkpoint_every == 0 or step == span.end
        validates = self._validates(step)
        syncs = self.stop_consensus.due(step) or saves or validates
        # Kept on the device: reading a number would make the host wait for the GPU.
        if syncs or step % training.log_every == 0:
            self._pending.append(Pending(step, span.phase.name, rate, result, time.time()))
        if syncs:
            self._log()
        # The numbers go out before anything is saved: what a checkpoint covers has been logged.
        if validates:
            saves |= self._validate(span, stream)
        if step == span.end and span.phase.keep_if_better:
            self._accept(span)
        stops = syncs and self.stop_consensus.stops(step)
        if saves or stops:
            self._save()
        if stops and step < self.last:
            raise Preempted(f"training stopped by a signal at step {step} of {self.last}; the checkpoint is saved")

    # Beginning -------------------------------------------------------------------------------------------------------

    def _resume(self) -> dict[str, Any] | None:
        """Find the newest whole checkpoint of this training; restore the weights and return the rest."""
        found = checkpoint.newest(self.run.checkpoints, self._report)
        if found and found[1].config_fingerprint != self.progress.config_fingerprint:
            self.distributed.wait()
            if self.distributed.first:
                schedule.set_aside(self.run, found[1].config_fingerprint, self.progress.config_fingerprint)
            # The checkpoint of another training is out of the way; this one starts anew.
            found = None
        if found is None:
            return None
        # The weights now, the part of the training state when its stage is entered: the optimizer does not exist yet.
        state, before = found
        checkpoint.restore_model(state, self.model)
        self._report("resumed", step=before.step, stage=before.stage, code_changed=before.code != self.progress.code)
        self.progress, self.step = replace(before, code=self.progress.code), before.step
        return state

    def _enter(self, span: PhaseSpan, state: dict[str, Any] | None) -> None:
        """Make the training state of a stage: restored when the stage is under way, else new, through its gate."""
        under_way = self.step > span.begin
        self.step_module.phase = span.phase
        if not under_way:
            self._check_start(span)
            self.progress = replace(self.progress, stage=span.phase.name, best=None)
        # Before the optimizer is made and DDP wraps: both look at what is trainable only once.
        set_trainable(self.model, span.phase)
        module = parallel.replicate(self.step_module, self.distributed)  # anew, because DDP fixes what is trainable
        self.train_state = make_train_state(module, self.model, self.training, self.params.seed, self.distributed)
        self.train_state.begin = span.begin
        if under_way:
            assert state is not None, f"{self.step} steps are done, and no checkpoint says so"
            checkpoint.restore_train_state(state, self.model, self.train_state)
        self._report("training_stage", stage=span.phase.name, step=self.step, end=span.end)

    def _check_start(self, span: PhaseSpan) -> None:
        """Ask the study whether the stage may start."""
        # The first samples, plain: the verdict depends on no draw.
        data = self.validation if self.fixed else self.train
        batch = default_collate([data.sample(i, None) for i in range(min(len(data), self.training.batch))])
        self.model.eval()
        with torch.no_grad():
            verdict = self.step_module(to_device(batch, self.distributed.device), gate=True)
        self._report("gate", stage=span.phase.name, check=verdict.name, ok=verdict.ok, reason=verdict.reason)
        if not verdict.ok:
            raise TrainingError(f"stage {span.phase.name!r} may not start: {verdict.reason}")

    def _shard(self) -> None:
        """FSDP2, once for the whole training: it fixes what is trainable, so all stages must train the same."""
        stages = [span.phase for span in self.spans]
        if self.training.shard and any(phase.keep_if_better for phase in stages):
            raise TrainingError(
                "training.shard: a stage that is kept if better needs the whole model; set training.shard to false"
            )
        if self.training.shard and len({phase.trainable for phase in stages}) > 1:
            raise TrainingError(
                f"training.shard: the stages {', '.join(phase.name for phase in stages)} train different parameters, "
                "which a sharded model cannot change on the way: set training.shard to false"
            )
        set_trainable(self.model, stages[0])
        parallel.shard(self.step_module, self.training, self.distributed)

    def _loader(self) -> torch.utils.data.DataLoader:
        """The loader of all that is left of the training."""
        training, distributed = self.training, self.distributed
        # A resumed run opens its stream at its own step; the draws before it need not be made again.
        order = Order(self.train.groups, self.train.weights, self.params.seed)
        batches = StepBatches(
            order, training.batch, self.step, self.last, distributed.rank, distributed.world, training.accumulate
        )
        drawn = Drawn(self.train, self.params.seed, self.validation)
        stream = Stream(batches, self.fixed, self._validates)
        return loader(drawn, stream, training.workers, training.prefetch, pin=distributed.device.type == "cuda")

    # After a step ----------------------------------------------------------------------------------------------------

    def _log(self) -> None:
        """Write the metrics of the steps since the last sync point; stops when a loss or gradient is not finite."""
        # One tensor, one reduction and one wait for all steps since the last sync point.
        scalars = [value.float() for line in self._pending for value in line.result.scalars()]
        values = iter(self.distributed.total(torch.stack(scalars)).tolist() if scalars else ())
        norms = torch.stack([line.result.norm for line in self._pending]).tolist() if scalars else ()
        for line, norm in zip(self._pending, norms, strict=True):
            names = ("loss", *(f"loss_{part}" for part in line.result.parts))
            named: dict[str, float] = {name: next(values) for name in names}
            if not math.isfinite(named["loss"]) or not (math.isfinite(norm) or self.train_state.scaler):
                self._not_finite(line.step, named, norm)
            if line.step % self.training.log_every == 0:
                # Time spent in validation and saving has been added to `_logged`, so this is the speed of training
                # alone.
                speed = (line.step - self._logged_step) * self.training.batch / max(line.time - self._logged, 1e-9)
                self._logged, self._logged_step = line.time, line.step
                named |= {"lr": line.rate, "norm": norm, "samples_per_s": round(speed, 3)}
                self.tracker.log({"step": line.step, "stage": line.phase, **named, "time": round(line.time, 3)})
        self._pending.clear()
        if time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            self._report("heartbeat", stage="05_training", step=self.step)
            self._beat = time.monotonic()

    def _not_finite(self, step: int, values: dict[str, float], norm: float) -> None:
        shown = ", ".join(f"{name} = {value:g}" for name, value in {**values, "gradient norm": norm}.items())
        self._report("not_finite", step=step, values=shown)
        raise TrainingError(
            f"step {step} is not finite ({shown}); checkpoints before it are kept. Lower training.learning_rate, "
            "use precision bfloat16 or float32, or look at the samples of this step"
        )

    def _validates(self, step: int) -> bool:
        """Whether validation follows step `step` (counted from one)."""
        return bool(self.fixed) and (step % self.training.validate_every == 0 or step in self._ends)

    @torch.no_grad()
    def _validate(self, span: PhaseSpan, stream: Iterator[Batch]) -> bool:
        """Loss on the fixed validation samples, with averaged weights where kept; True when it is the best so far."""
        begin, step, device = time.time(), self.step, self.distributed.device
        ema, sums = self.train_state.ema, {}
        self.model.eval()
        with ema.applied() if ema else contextlib.nullcontext():
            for number in range(len(self.fixed)):
                batch = to_device(next(stream), device)
                # The same noise in every validation, so that two losses differ by the weights only.
                seed_torch(torch_seed(self.params.seed, 0, self.distributed.rank, number), device)
                with autocast(self.training, device):
                    total, parts = self.step_module(batch)
                # This rank's part of the batch: shares sum to 1 over batches and ranks.
                share = len(self.fixed[number]) / (len(self.fixed) * self.training.batch)
                named = {"validation_loss": total, **{f"validation_loss_{name}": part for name, part in parts.items()}}
                sums = {name: sums.get(name, 0.0) + value.float() * share for name, value in named.items()}
        set_modes(self.model)
        reduced = self.distributed.total(torch.stack(list(sums.values()))).tolist()
        values = dict(zip(sums, reduced, strict=True))
        seconds = time.time() - begin
        times = {"seconds": round(seconds, 3), "time": round(time.time(), 3)}
        self.tracker.log({"step": step, "stage": span.phase.name, **values, **times})
        self._logged += seconds  # the time of validation is not the time of training
        best = self.progress.best
        if best is not None and not values["validation_loss"] < best["loss"]:
            return False
        self.progress = replace(self.progress, best={"step": step, "loss": values["validation_loss"]})
        return True

    def _accept(self, span: PhaseSpan) -> None:
        """Go back to the best weights of the stage, and let the study say what becomes of them."""
        # The best weights are those in memory, or stand in the checkpoint of their step, which rotation has kept.
        best = (self.progress.best or {}).get("step", self.step)
        state = (
            checkpoint.state_of(self.model, self.train_state)
            if best == self.step
            else checkpoint.read(self.run.checkpoints, best)
        )
        # Averaged weights where they are kept: those are what validation judged.
        weights = {**state["model"], **(state["average"] or {})}
        checkpoint.restore_model({"model": weights}, self.model)
        if self.train_state.ema:
            self.train_state.ema = EMA(self.model, self.training.ema)
        self.model.eval()
        with torch.no_grad():
            verdict = self.study.accept(span.phase, self.model, self.cases, self.params)
        set_modes(self.model)
        if self.progress.best:
            self.progress = replace(self.progress, best={**self.progress.best, "step": self.step})
        self._report("gate", stage=span.phase.name, check=verdict.name, ok=verdict.ok, reason=verdict.reason)

    def _save(self) -> None:
        """Checkpoint everything; the first rank writes, all wait."""
        begin = time.time()
        self.progress = replace(self.progress, step=self.step)
        state = checkpoint.state_of(self.model, self.train_state)
        if self.distributed.first:
            place = checkpoint.save(self.run.checkpoints, state, self.progress)
            best = (self.progress.best or {}).get("step")
            checkpoint.rotate(self.run.checkpoints, self.training.keep, best)
            seconds, size = round(time.time() - begin, 3), (place / "state.pt").stat().st_size
            self._report("checkpoint", step=self.step, seconds=seconds, bytes=size)
        self.distributed.wait()
        self._logged += time.time() - begin

    # Records ---------------------------------------------------------------------------------------------------------

    def _tracker(self) -> tracking.Tracker:
        if self.distributed.first:
            return tracking.All(self.run.folder, self.params, self.step, self._report)
        return tracking.Tracker()

    def _report(self, kind: str, **fields: Any) -> None:
        """An event of the run, told once."""
        if self.distributed.first:
            self.run.event(kind, **fields)
