"""The training itself: load, cache, and step by step to the last checkpoint."""

import gc
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from diffusers import FluxPipeline
from peft.helpers import disable_input_dtype_casting
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.contract import TrainingSettings
from backend.errors import EngineError
from workers.pipelines import best_device, load_pipeline
from workers.training.engines import EngineJob
from workers.training.engines.diffusers_child.adapter import Adapter, load_state, save_state
from workers.training.engines.diffusers_child.buckets import Batches
from workers.training.engines.diffusers_child.examples import (
    Example,
    Text,
    draw,
    encode_pictures,
    encode_texts,
    make_prior,
)
from workers.training.engines.diffusers_child.options import DiffusersOptions, options_of
from workers.training.engines.diffusers_child.parent import Parent, StopRequested
from workers.training.engines.events import CheckpointSaved, PhaseEntered, SampleSaved, StepDone

TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
TIMED_STEPS = 20  # the time of a step is the mean of so many
STATE_VERSION = 1


def train(job: EngineJob, parent: Parent) -> None:
    """Train to the end, or save and return when the parent wants to stop."""
    options = options_of(job.spec)
    device, dtype = best_device()
    with _arithmetic(device, dtype):
        trainer = _prepare(job, options, parent, device, dtype)
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


def _prepare(
    job: EngineJob, options: DiffusersOptions, parent: Parent, device: torch.device, dtype: torch.dtype
) -> "Trainer":
    """Load and cache. The text encoders are gone before the transformer comes: together they don't fit a 24 GB GPU."""
    prior_prompts = job.spec.prior_prompts if job.settings.prior_preservation else []
    parent.tell(PhaseEntered(phase="loading model", message="text encoders"))
    encoders = load_pipeline(job.model, device, dtype, without=["transformer"])
    parent.tell(PhaseEntered(phase="caching", message=f"{len(job.pictures)} pictures"))
    prompts = [picture.caption for picture in job.pictures] + job.prompts + prior_prompts + [""]
    texts = encode_texts(encoders, prompts, job.spec.max_sequence_length)
    examples = encode_pictures(encoders, job, options, device)
    encoders = None
    _free(device)
    parent.tell(PhaseEntered(phase="loading model", message="transformer"))
    pipeline = load_pipeline(job.model, device, dtype, without=TEXT_PARTS)
    prior: list[Example] = []
    if prior_prompts:
        parent.tell(PhaseEntered(phase="caching", message="what the model can do already"))
        prior = make_prior(pipeline, job, options, texts, device, _prior_progress(parent))
    return Trainer(job, options, parent, pipeline, texts, examples, prior, device)


def _prior_progress(parent: Parent) -> Callable[[int, int], None]:
    return lambda done, total: parent.tell(
        PhaseEntered(phase="caching", message=f"what the model can do already: {done} of {total}")
    )


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def learning_rate_at(step: int, settings: TrainingSettings, options: DiffusersOptions) -> float:
    """Return the rate of the step after `step`: rising at first, then falling evenly to what shall be left."""
    rising = min(1.0, (step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    falling = 1 - (1 - options.final_rate) * step / settings.steps
    return settings.learning_rate * rising * falling


def draw_noise_levels(count: int, options: DiffusersOptions, random: torch.Generator) -> torch.Tensor:
    """Return how much of each picture is noise: shape (count,), between 0 and 1."""
    bell = torch.sigmoid(torch.randn(count, generator=random) * options.noise_spread + options.noise_mean)
    even = torch.rand(count, generator=random).clamp(min=0.01)
    return torch.where(torch.rand(count, generator=random) < options.noise_even, even, bell)


class Trainer:
    """One LoRA in training."""

    def __init__(
        self,
        job: EngineJob,
        options: DiffusersOptions,
        parent: Parent,
        pipeline: FluxPipeline,
        texts: dict[str, Text],
        examples: list[Example],
        prior: list[Example],
        device: torch.device,
    ) -> None:
        self._job, self._options, self._parent, self._device = job, options, parent, device
        self._pipeline = pipeline
        self._transformer = pipeline.transformer
        self._texts, self._examples, self._prior = texts, examples, prior
        self._adapter = Adapter(self._transformer, job.settings, options.targets)
        if device.type == "cuda":
            self._transformer.enable_gradient_checkpointing()
        self._optimizer = _make_optimizer(self._adapter.parameters, job.settings.learning_rate, options)
        self._random = torch.Generator().manual_seed(job.settings.seed)
        self._batches = Batches(_by_size(examples), job.settings.batch_size)
        self._prior_batches = Batches([range(len(prior))], options.prior_batch_size)
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
        # Else peft turns every layer's input into float32 and autocast turns it back: a fifth of the time.
        with disable_input_dtype_casting(self._transformer):
            loss = self._learn()
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

    def _learn(self) -> float:
        """Add up the gradients of one batch and return the loss of its pictures, the prior left out."""
        chosen = [self._examples[index] for index in self._batches.draw(self._random)]
        chosen = [self._maybe_without_caption(example) for example in chosen]
        prior = [self._prior[index] for index in self._prior_batches.draw(self._random)] if self._prior else []
        if prior and prior[0].size == chosen[0].size:
            # One pass instead of two; a picture counts the same in either.
            return self._learn_from(chosen + prior, len(chosen), share=1.0)
        share = len(chosen) / (len(chosen) + len(prior) * self._options.prior_weight)
        loss = self._learn_from(chosen, len(chosen), share)
        if prior:
            self._learn_from(prior, 0, 1 - share)
        return loss

    def _learn_from(self, examples: list[Example], subjects: int, share: float) -> float:
        """Back-propagate the loss, weighted by `share`; return the mean loss of the first `subjects` of them."""
        # Shape: (B, tokens, 64)
        clean = torch.stack([example.latents for example in examples])
        noise = torch.randn(clean.shape, generator=self._random)
        level = draw_noise_levels(len(examples), self._options, self._random)
        blend = level[:, None, None]
        inputs = self._inputs((1 - blend) * clean + blend * noise, level, examples)
        target = (noise - clean).to(self._device)
        if len(examples) > subjects and self._options.prior_target == "model":
            target[subjects:] = self._without_lora(_only(inputs, slice(subjects, None)))
        # Shape: (B,)
        losses = (self._velocity(inputs) - target).pow(2).mean(dim=(1, 2))
        weights = torch.ones(len(examples), device=self._device)
        weights[subjects:] = self._options.prior_weight if subjects else 1.0
        ((losses * weights).sum() / weights.sum() * share).backward()
        return float(losses[:subjects].mean().detach()) if subjects else 0.0

    def _inputs(self, noisy: torch.Tensor, level: torch.Tensor, examples: list[Example]) -> dict[str, Any]:
        device = self._device
        texts = [self._texts[example.text] for example in examples]
        width, height = examples[0].size
        vae_scale = self._pipeline.vae_scale_factor * 2  # pixels along one side of a token
        ids = self._pipeline._prepare_latent_image_ids(
            1, height // vae_scale, width // vae_scale, device, torch.float32
        )
        guidance = torch.full((len(examples),), self._options.guidance, device=device)
        return {
            "hidden_states": noisy.to(device),
            "encoder_hidden_states": torch.stack([text.tokens for text in texts]).to(device),
            "pooled_projections": torch.stack([text.pooled for text in texts]).to(device),
            "timestep": level.to(device),
            "guidance": guidance if self._transformer.config.guidance_embeds else None,
            "img_ids": ids,
            "txt_ids": torch.zeros(texts[0].tokens.shape[0], 3, device=device),
        }

    def _velocity(self, inputs: dict[str, Any]) -> torch.Tensor:
        velocity: torch.Tensor = self._transformer(**inputs, return_dict=False)[0].float()
        return velocity

    def _without_lora(self, inputs: dict[str, Any]) -> torch.Tensor:
        self._transformer.disable_adapters()
        try:
            with torch.no_grad():
                return self._velocity(inputs)
        finally:
            self._transformer.enable_adapters()

    def _maybe_without_caption(self, example: Example) -> Example:
        dropped = torch.rand(1, generator=self._random).item() < self._job.settings.caption_dropout
        return example._replace(text="") if dropped else example

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
            "random": self._random.get_state(),
            "batches": self._batches.state(),
            "prior_batches": self._prior_batches.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if state["version"] != STATE_VERSION:
            raise EngineError("The saved state is of another version of this trainer.", "Start a new training.")
        self._adapter.restore(state["parameters"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._random.set_state(state["random"])
        self._batches.restore(state["batches"])
        self._prior_batches.restore(state["prior_batches"])
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


def _only(inputs: dict[str, Any], part: slice) -> dict[str, Any]:
    """Return the transformer's inputs for a part of the batch; the position ids are everybody's."""
    shared = ("img_ids", "txt_ids")
    return {name: value if name in shared or value is None else value[part] for name, value in inputs.items()}


def _by_size(examples: list[Example]) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.size, []).append(index)
    return list(groups.values())
