"""The LoRA on the transformer: its layers, its file, and the state that lets a training go on bit for bit."""

import os
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig, get_peft_model_state_dict

from backend.contract import TrainingSettings


class Adapter:
    """A new LoRA on a transformer whose own weights stay as they are."""

    def __init__(self, transformer: FluxTransformer2DModel, settings: TrainingSettings, targets: str) -> None:
        self._transformer = transformer
        self._settings = settings
        transformer.requires_grad_(False)
        torch.manual_seed(settings.seed)  # of the first values
        transformer.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets))
        # In bfloat16 most of the small updates would round to nothing.
        cast_training_params(transformer, dtype=torch.float32)
        self._named = {name: value for name, value in transformer.named_parameters() if value.requires_grad}

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self._named.values())

    def state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu() for name, value in self._named.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take values over. Raises ValueError when they are of another LoRA."""
        shapes = {name: tuple(value.shape) for name, value in self._named.items()}
        if shapes != {name: tuple(value.shape) for name, value in state.items()}:
            raise ValueError("the saved state is of a LoRA with other layers or another rank")
        with torch.no_grad():
            for name, value in self._named.items():
                value.copy_(state[name])

    def save(self, path: Path) -> None:
        """Write the LoRA so that diffusers and ComfyUI read it; `path` appears when it is complete."""
        layers = {
            name: value.detach().to("cpu", torch.bfloat16).contiguous()
            for name, value in get_peft_model_state_dict(self._transformer).items()
        }
        if self._settings.alpha != self._settings.rank:
            modules = {name.removesuffix(".lora_A.weight") for name in layers if name.endswith(".lora_A.weight")}
            # Readers take alpha for the rank where the file doesn't say.
            layers |= {f"{module}.alpha": torch.tensor(float(self._settings.alpha)) for module in sorted(modules)}
        partial = path.with_suffix(".partial")
        FluxPipeline.save_lora_weights(path.parent, transformer_lora_layers=layers, weight_name=partial.name)
        partial.replace(path)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write what resuming needs; `path` appears when it is complete."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; tensors and plain values only, never code."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
