"""The training itself, step by step to the last checkpoint; what a step teaches is the learner's."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.contract import TrainingSettings
from backend.diffusers_options import DiffusersOptions, options_of
from backend.errors import EngineError
from workers.pipelines import best_device
from workers.training.engines import EngineJob
from workers.training.engines.diffusers_child.adapter import Adapter, load_state, save_state
from workers.training.engines.diffusers_child.examples import draw
from workers.training.engines.diffusers_child.learner import Learner
from workers.training.engines.diffusers_child.parent import Parent, StopRequested
from workers.training.engines.diffusers_child.preparation import Prepared, prepare
from workers.training.engines.events import CheckpointSaved, PhaseEntered, SampleSaved, StepDone

TIMED_STEPS = 20  # the time of a step is the mean of so many
STATE_VERSION = 1


def train(job: EngineJob, parent: Parent) -> None:
    """Train to the end, or save and return when the parent wants to stop."""
    options = options_of(job.spec)
    device, dtype = best_device()
    with _arithmetic(device, dtype):
        trainer = Trainer(job, options, parent, prepare(job, options, parent, device, dtype), device)
        parent.expect_stop()
        try:
            trainer.run()
        except StopRequested:
            trainer.save()


@contextmanager
def _arithmetic(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute in `dtype` where that is safe. On a CPU attention is plain: faster for the short sequences it can do."""
    attention: AbstractContextManager[Any] = sdpa_kernel([SDPBackend.MATH]) if device.type == "cpu" else nullcontext()
    # Its cache would keep the LoRA's first values until this context ends.
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False), attention:
        yield


def learning_rate_at(step: int, settings: TrainingSettings, options: DiffusersOptions) -> float:
    """Return the rate of the step after `step`: rising at first, then falling evenly to what shall be left."""
    rising = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    falling = 1 - (1 - options.final_rate) * step / settings.steps
    return settings.learning_rate * rising * falling


class Trainer:
    """One LoRA in training."""

    def __init__(
        self,
        job: EngineJob,
        options: DiffusersOptions,
        parent: Parent,
        prepared: Prepared,
        device: torch.device,
    ) -> None:
        self._job, self._options, self._parent, self._device = job, options, parent, device
        self._pipeline, self._texts = prepared.pipeline, prepared.texts
        transformer = prepared.pipeline.transformer
        self._adapter = Adapter(transformer, job.settings, options.targets)
        if device.type == "cuda":
            transformer.enable_gradient_checkpointing()
        self._optimizer = _make_optimizer(self._adapter.parameters, job.settings.learning_rate, options)
        self._learner = Learner(job.settings, options, *prepared, device)
        self._times: deque[float] = deque(maxlen=TIMED_STEPS)
        self.step = self._saved_step = 0
        if job.resume:
            self._restore(load_state(job.resume.state))

    def run(self) -> None:
        """Go on to the last step, saving and sampling on the way. Raises StopRequested between two steps."""
        resumed = self._job.resume
        if self._is_due():
            self._sample(resumed.samples if resumed else ())
        self._parent.tell(PhaseEntered(phase="training"))
        while self.step < self._job.settings.steps:
            self._parent.check()
            self._take_step()
            wishes, due = self._parent.take_wishes(), self._is_due()
            if due or "save" in wishes:
                self.save()
            if due or "sample" in wishes:
                self._sample(())
            if (due or wishes) and self.step < self._job.settings.steps:
                self._parent.tell(PhaseEntered(phase="training"))
        if self._saved_step != self.step:
            self.save()

    def save(self) -> None:
        """Save this step, unless it is saved already or nothing has been learned yet."""
        if self.step in (0, self._saved_step):
            return
        self._parent.tell(PhaseEntered(phase="saving"))
        path = self._job.output / f"{self._job.stem}_{self.step:09d}.safetensors"
        state = self._job.output / f"{self.step:09d}.bin"
        save_state(self._state(), state)
        self._adapter.save(path)
        self._saved_step = self.step
        self._parent.tell(CheckpointSaved(step=self.step, path=path, state=state))

    # -------------------------------------------------------------------------------- steps

    def _take_step(self) -> None:
        started = time.monotonic()
        rate = learning_rate_at(self.step, self._job.settings, self._options)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._learner.learn()
        if not math.isfinite(loss):
            raise EngineError(
                f"The loss became {loss} at step {self.step + 1}: the training has blown up.",
                f"Lower the learning rate (it is {self._job.settings.learning_rate:g}) and start a new training.",
            )
        torch.nn.utils.clip_grad_norm_(self._adapter.parameters, self._options.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        self._times.append(time.monotonic() - started)
        seconds = sum(self._times) / len(self._times)
        self._parent.tell(StepDone(step=self.step, loss=loss, learning_rate=rate, seconds_per_step=round(seconds, 4)))

    # -------------------------------------------------------------------------------- samples and state

    def _is_due(self) -> bool:
        """Return whether a checkpoint and its samples belong to this step."""
        return self.step % self._job.settings.save_every == 0 or self.step == self._job.settings.steps

    def _sample(self, done: tuple[int, ...]) -> None:
        """Draw the sample of each prompt that is not `done`."""
        for index in range(len(self._job.prompts)):
            if index in done:
                continue
            self._parent.tell(PhaseEntered(phase="sampling", message=f"{index + 1} of {len(self._job.prompts)}"))
            text = self._texts[self._job.prompts[index]]
            image = draw(self._pipeline, self._job, text, self._device, self._check_between_steps)
            path = self._job.output / f"{self.step:09d}-{index}.webp"
            image.save(path, "WEBP", quality=92, method=4)
            self._parent.tell(SampleSaved(step=self.step, index=index, path=path))

    def _check_between_steps(self, pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        self._parent.check()
        return values

    def _state(self) -> dict[str, Any]:
        return {
            "version": STATE_VERSION,
            "step": self.step,
            "parameters": self._adapter.state(),
            "optimizer": self._optimizer.state_dict(),
            **self._learner.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if state["version"] != STATE_VERSION:
            raise EngineError("The saved state is of another version of this trainer.", "Start a new training.")
        self._adapter.restore(state["parameters"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._learner.restore(state)
        self.step = self._saved_step = state["step"]


def _make_optimizer(
    parameters: list[torch.nn.Parameter], learning_rate: float, options: DiffusersOptions
) -> torch.optim.Optimizer:
    if options.optimizer == "muon":
        return torch.optim.Muon(
            parameters,
            lr=learning_rate,
            weight_decay=options.weight_decay,
            momentum=0.9,
            ns_steps=4,
            adjust_lr_fn="match_rms_adamw",
        )
    return torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=options.weight_decay)
