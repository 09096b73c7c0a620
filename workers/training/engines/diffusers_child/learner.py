"""What is learned in one step: a batch and its noise, what the model makes of it, and the gradients of its loss."""

from typing import Any

import torch
from diffusers import FluxPipeline
from peft.helpers import disable_input_dtype_casting

from backend.contract import TrainingSettings
from backend.diffusers_options import DiffusersOptions
from workers.training.engines.diffusers_child.buckets import Batches
from workers.training.engines.diffusers_child.examples import Example, Text


def draw_noise_levels(count: int, options: DiffusersOptions, random: torch.Generator) -> torch.Tensor:
    """Return how much of each picture is noise: shape (count,), between 0 and 1."""
    bell = torch.sigmoid(torch.randn(count, generator=random) * options.noise_spread + options.noise_mean)
    even = torch.rand(count, generator=random).clamp(min=0.01)
    return torch.where(torch.rand(count, generator=random) < options.noise_even, even, bell)


class Learner:
    """Draws batches and adds up the gradients of the transformer's adapter."""

    def __init__(
        self,
        settings: TrainingSettings,
        options: DiffusersOptions,
        pipeline: FluxPipeline,
        texts: dict[str, Text],
        examples: list[Example],
        prior: list[Example],
        device: torch.device,
    ) -> None:
        self._settings, self._options, self._device = settings, options, device
        self._pipeline, self._transformer = pipeline, pipeline.transformer
        self._texts, self._examples, self._prior = texts, examples, prior
        self._random = torch.Generator().manual_seed(settings.seed)
        self._batches = Batches(_by_size(examples), settings.batch_size)
        self._prior_batches = Batches([range(len(prior))], options.prior_batch_size)

    def state(self) -> dict[str, Any]:
        """Return what chance will bring next."""
        return {
            "random": self._random.get_state(),
            "batches": self._batches.state(),
            "prior_batches": self._prior_batches.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._random.set_state(state["random"])
        self._batches.restore(state["batches"])
        self._prior_batches.restore(state["prior_batches"])

    def learn(self) -> float:
        """Add up the gradients of one batch and return the loss of its pictures, the prior left out."""
        # Else peft turns every layer's input into float32 and autocast turns it back: a fifth of the time.
        with disable_input_dtype_casting(self._transformer):
            return self._learn()

    def _learn(self) -> float:
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
        dropped = torch.rand(1, generator=self._random).item() < self._settings.caption_dropout
        return example._replace(text="") if dropped else example


def _only(inputs: dict[str, Any], part: slice) -> dict[str, Any]:
    """Return the transformer's inputs for a part of the batch; the position ids are everybody's."""
    shared = ("img_ids", "txt_ids")
    return {name: value if name in shared or value is None else value[part] for name, value in inputs.items()}


def _by_size(examples: list[Example]) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.size, []).append(index)
    return list(groups.values())
