"""The training loop: stages in order, from wherever the last checkpoint stands, to the end or to a signal.

Decisions:
- Everything random is a function of (seed, step); a checkpoint plus its step is the whole state. A run that was killed
  and resumed ends with the same weights and the same metrics, bit for bit on one device.
- One loader serves the whole training. Its stream is fixed beforehand: the micro-batches of each step, and the fixed
  validation samples after the steps that validate. So validation shares loader processes, and nothing stalls.
- The numbers of a step stay on the device until the next sync point (see `parallel.StopConsensus`), and always before
  anything is saved: logging every step does not make a GPU wait, and ranks exchange once for many steps.
- Steps are counted over all stages. At step s: update, log, validate when due, save when due or asked, stop when told.
- A stage that is kept if better ends with its best weights, and with the study's word on whether they are used from
  here on.
- A checkpoint of another training is set aside, never deleted and never continued (see `schedule`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import default_collate

from stepladder.core.run import Run
from stepladder.core.schema import Parameters, TrainingParams
from stepladder.core.study import Study
from stepladder.core.types import Batch, Check, Dataset
from stepladder.data import mixing
from stepladder.data.sampling import Drawn, Order, StepBatches, Stream, loader, validation_batches
from stepladder.machine.signals import Preempted
from stepladder.training import checkpoint, contents, contract, parallel, resume, schedule, starting, tracking
from stepladder.training.checkpoint import Progress
from stepladder.training.contract import FirstStep
from stepladder.training.logbook import Logbook, TrainingError
from stepladder.training.optimize import EMA, Plateau, learning_rate_factor, set_rates
from stepladder.training.parallel import DistributedContext, StopConsensus
from stepladder.training.request import SaveRequest
from stepladder.training.saving import Saves
from stepladder.training.schedule import PhaseSpan
from stepladder.training.step import StepModule, TrainState, make_train_state, to_device, train_step
from stepladder.training.task_gradients import TaskGradients
from stepladder.training.trainable import refuse_given, set_modes, set_trainable
from stepladder.training.validation import validation_losses


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
        self.saves = Saves(training, self.distributed)
        self.request = SaveRequest(run, self.distributed.first)
        self.stop_consensus = StopConsensus(self.distributed, stop, self.request.asked)
        self.spans = schedule.spans(study, params)
        self.last, self._ends = self.spans[-1].end, {span.end for span in self.spans}
        torch.manual_seed(params.seed)
        self.model = study.model(params).to(self.distributed.device)
        for span in self.spans:
            refuse_given(self.model, span.phase)
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
        schedule.check_plateau(training, bool(self.fixed))
        self.task_gradients = TaskGradients(self.step_module, self.validation, training, params.seed, self.distributed)
        self.train_state: TrainState  # of the stage under way
        self.step, self.validation_loss = 0, 0.0
        self._unproven = False  # whether the contract of the stage under way is still to be looked at
        self.logbook = Logbook(training, self.distributed, self._report)

    def fit(self) -> Progress:
        """Train to the end.

        Raises:
            Preempted: a signal came; everything is saved.
            TrainingError: a stage was refused, or the loss is not finite.
            CheckpointError: a checkpoint could not be written.
        """
        state = self._resume()
        self.distributed.wait()
        self.logbook.open(self._tracker(), self.step)
        self.saves.open(self.step)
        ending = "failed"
        try:
            self._walk(state)
            ending = "done"
        except Preempted:
            ending = "preempted"
            raise
        finally:
            self.logbook.tracker.finish(ending)
        return self.progress

    def _walk(self, state: dict[str, Any] | None) -> None:
        """All spans that are not done yet."""
        stream = iter(self._loader())
        for span in self.spans:
            if self.step < span.end:
                self._enter(span, state)
                while self.step < span.end:
                    self._advance(span, stream)

    def _advance(self, span: PhaseSpan, stream: Iterator[Batch]) -> None:
        """One optimizer step and all that is due after it."""
        training = self.train_state.training = schedule.at(self.training, self.step)
        # Every stage has a schedule of its own, from its warm-up to its end.
        rate = span.phase.learning_rate or training.learning_rate
        rate *= learning_rate_factor(training.schedule, self.step - span.begin, span.end - span.begin, training.warmup)
        rate *= Plateau.of(self.progress.plateau).factor(training)
        set_rates(self.train_state.optimizer, rate, training.weight_decay)
        first = FirstStep(self.train_state) if self._unproven else None
        micros = (next(stream) for _ in range(training.accumulate))
        result = train_step(self.train_state, self.step, micros, watch=first)
        self.step = step = self.step + 1
        if first:
            begin = time.time()
            self._unproven = not contract.proven(first, span.phase.name, step, self._report)
            self.logbook.pause(time.time() - begin)
        # What is due after this step. All ranks come to the same answer, or they would wait for each other for ever.
        saves = self.saves.due(step) or step == span.end
        validates = self._validates(step)
        syncs = self.stop_consensus.due(step) or saves or validates
        # Kept on the device: reading a number would make the host wait for the GPU.
        if syncs or step % training.log_every == 0:
            self.logbook.note(step, span.phase.name, rate, result)
        if syncs:
            self.logbook.write(scaled=self.train_state.scaler is not None)
        # The numbers go out before anything is saved: what a checkpoint covers has been logged.
        if validates:
            saves |= self._validate(span, stream)
        if step == span.end and span.phase.keep_if_better:
            self._accept(span)
        stops = syncs and self.stop_consensus.stops(step)
        if saves or stops or (syncs and self.stop_consensus.saves):
            self._save()
        if stops and step < self.last:
            raise Preempted(f"training stopped by a signal at step {step} of {self.last}; the checkpoint is saved")

    # Beginning -------------------------------------------------------------------------------------------------------

    def _resume(self) -> dict[str, Any] | None:
        """Find the newest whole checkpoint of this training; restore the weights and return the rest."""
        found = resume.find(self.run, self.progress.config_fingerprint, self.distributed, self._report)
        if found is None:
            if origin := starting.find(self.run, self.training):
                self._report("started_from", sha256=origin.sha256, **starting.begin(self.model, origin, self.training))
            return None
        # The weights now, the part of the training state when its stage is entered: the optimizer does not exist yet.
        state, before = found
        contents.restore_model(state, self.model)
        self._report("resumed", step=before.step, stage=before.stage, code_changed=before.code != self.progress.code)
        self.progress, self.step = replace(before, code=self.progress.code), before.step
        return state

    def _enter(self, span: PhaseSpan, state: dict[str, Any] | None) -> None:
        """Make the training state of a stage: restored when the stage is under way, else new, through its gate."""
        under_way = self.step > span.begin
        self.step_module.phase = span.phase
        if not under_way:
            self._check_start(span)
            self.progress = replace(self.progress, stage=span.phase.name, best=None, plateau=None)
            self._fit(span)
        # Before the optimizer is made and DDP wraps: both look at what is trainable only once.
        set_trainable(self.model, span.phase)
        module = parallel.replicate(self.step_module, self.distributed)  # anew, because DDP fixes what is trainable
        self.train_state = make_train_state(
            module, self.model, self.training, self.params.seed, self.distributed, self.step_module.tasks
        )
        self.train_state.begin, self._unproven = span.begin, not under_way
        if under_way:
            assert state is not None, f"{self.step} steps are done, and no checkpoint says so"
            contents.restore_train_state(state, self.model, self.train_state)
        self._report("training_stage", stage=span.phase.name, step=self.step, end=span.end, total=self.last)

    def _fit(self, span: PhaseSpan) -> None:
        """Hand the study all samples of the stage's first step, whatever part of them this rank takes."""
        if type(self.study).fit is Study.fit:
            return
        [draws] = StepBatches(self._order(), self.training.batch, span.begin, span.begin + 1).step(span.begin)
        drawn = Drawn(self.train, self.params.seed)
        batch = to_device(default_collate([drawn[draw] for draw in draws]), self.distributed.device)
        self.model.eval()
        with torch.no_grad():
            self.step_module({}, ask=lambda model: self.study.fit(span.phase, model, batch))

    def _check_start(self, span: PhaseSpan) -> None:
        """Ask the study whether the stage may start."""
        # The first samples, plain: the verdict depends on no draw.
        data = self.validation if self.fixed else self.train
        batch = default_collate([data.sample(i, None) for i in range(min(len(data), self.training.batch))])
        batch = to_device(batch, self.distributed.device)
        verdict = self._ask(span, lambda model: self.study.can_start(span.phase, model, batch))
        if not verdict.ok:
            raise TrainingError(f"stage {span.phase.name!r} may not start: {verdict.reason}")

    @torch.no_grad()
    def _ask(self, span: PhaseSpan, question: Callable[[torch.nn.Module], Check]) -> Check:
        """The study's verdict on the model in evaluation mode, told."""
        self.model.eval()
        verdict = self.step_module({}, ask=question)
        set_modes(self.model)
        self._report("gate", stage=span.phase.name, check=verdict.name, ok=verdict.ok, reason=verdict.reason)
        return verdict

    def _shard(self) -> None:
        """FSDP2, once for the whole training: it fixes what is trainable, so all stages must train the same."""
        schedule.check_shard(self.spans, self.training)
        set_trainable(self.model, self.spans[0].phase)
        parallel.shard(self.step_module, self.training, self.distributed)

    def _order(self) -> Order:
        """Which sample is drawn when, over the whole training."""
        stages = [(span.begin, span.end) for span in self.spans]
        return mixing.order_of(self.train, self.training, self.params.seed, stages)

    def _loader(self) -> torch.utils.data.DataLoader:
        """The loader of all that is left of the training."""
        training, distributed = self.training, self.distributed
        # A resumed run opens its stream at its own step; the draws before it need not be made again.
        batches = StepBatches(
            self._order(),
            training.batch,
            self.step,
            self.last,
            distributed.rank,
            distributed.world,
            training.accumulate,
        )
        drawn = Drawn(self.train, self.params.seed, self.validation)
        stream = Stream(batches, self.fixed, self._validates)
        return loader(drawn, stream, training.workers, training.prefetch, pin=distributed.device.type == "cuda")

    # After a step ----------------------------------------------------------------------------------------------------

    def _validates(self, step: int) -> bool:
        """Whether validation follows step `step` (counted from one)."""
        return bool(self.fixed) and (step % self.training.validate_every == 0 or step in self._ends)

    def _validate(self, span: PhaseSpan, stream: Iterator[Batch]) -> bool:
        """Log the loss on the fixed validation samples; True when it is the best of the stage so far."""
        begin = time.time()
        values = validation_losses(self.step_module, self.train_state, self.fixed, stream)
        values |= self.task_gradients.measure(self.train_state)
        now = time.time()
        times = {"seconds": round(now - begin, 3), "time": round(now, 3)}
        self.logbook.tracker.log({"step": self.step, "stage": span.phase.name, **values, **times})
        self.logbook.pause(now - begin)
        self.validation_loss, best = values["validation_loss"], self.progress.best
        if self.training.schedule == "plateau":
            known = Plateau.of(self.progress.plateau).after(self.validation_loss, self.training)
            self.progress = replace(self.progress, plateau=known.told())
        if best is not None and not self.validation_loss < best["loss"]:
            return False
        self.progress = replace(self.progress, best={"step": self.step, "loss": self.validation_loss})
        return True

    def _accept(self, span: PhaseSpan) -> None:
        """Go back to the best weights of the stage, and let the study say what becomes of them."""
        # Averaged weights where they are kept: those are what validation judged.
        best, ema = self.progress.best or {"step": self.step}, self.train_state.ema
        state = (
            None if best["step"] == self.step else resume.best(self.run, best["step"], self.distributed, self._report)
        )
        if state:
            contents.restore_model(contents.judged(state), self.model)
        elif ema:
            ema.settle()
        if ema:
            self.train_state.ema = EMA(self.model, self.training.ema)
        self._ask(span, lambda model: self.study.accept(span.phase, model, self.cases, self.params))
        if self.progress.best:
            loss = best["loss"] if state or best["step"] == self.step else self.validation_loss
            self.progress = replace(self.progress, best={"step": self.step, "loss": loss})

    def _save(self) -> None:
        """Checkpoint everything; the first rank writes, all wait."""
        begin = time.time()
        self.progress = replace(self.progress, step=self.step)
        state = contents.state_of(self.model, self.train_state)
        if self.distributed.first:
            place = checkpoint.save(self.run.checkpoints, state, self.progress)
            checkpoint.rotate(self.run.checkpoints, self.training.keep, self.step)
            seconds, size = round(time.time() - begin, 3), (place / "state.pt").stat().st_size
            self._report("checkpoint", step=self.step, seconds=seconds, bytes=size)
            self.request.answer()
        self.distributed.wait()
        self.logbook.pause(time.time() - begin)
        self.saves.done(self.step, time.time() - begin)

    # Records ---------------------------------------------------------------------------------------------------------

    def _tracker(self) -> tracking.Tracker:
        if self.distributed.first:
            return tracking.All(self.run.folder, self.params, self.step, self._report)
        return tracking.Tracker()

    def _report(self, kind: str, **fields: Any) -> None:
        """An event of the run, told once."""
        if self.distributed.first:
            self.run.event(kind, **fields)
