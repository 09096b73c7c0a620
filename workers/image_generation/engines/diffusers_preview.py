"""What a picture looks like while diffusers still draws it: its latents so far, as the VAE itself shows them, small.

Only where a step says where the picture is going, which Euler's does, and where the latents are of a kind known here:
other pipelines draw without a preview. Nothing of the drawing is changed.
"""

import io
import time
import traceback
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import torch

PREVIEW_EVERY_S = 1.0
_MOST_OF_THE_TIME = 0.1  # what previews may take of it
_SIDE = 32  # latents; a larger picture is shrunk first, so that it costs no more than a small one
_SCHEDULERS = ("EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler")


class Previewer:
    """Makes previews of one drawing, so seldom that they don't hold it up."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size  # pixels of the picture, across and down
        self._before: torch.Tensor | None = None  # the latents of the step before
        # The first steps show little.
        self._next_at = time.monotonic() + PREVIEW_EVERY_S / 2

    def begin_picture(self) -> None:
        """Say that the next step is the first of a picture."""
        self._before = None

    def after_step(self, pipeline: Any, latents: "torch.Tensor") -> bytes:
        """Return the picture as a small JPEG, or nothing where it isn't due or can't be shown."""
        before, self._before = self._before, latents
        began = time.monotonic()
        if before is None or began < self._next_at or type(pipeline.scheduler).__name__ not in _SCHEDULERS:
            return b""
        try:
            outcome = _outcome(pipeline.scheduler, before, latents)
            shown = None if outcome is None else _shown(pipeline, outcome, self._size)
        except Exception:
            # Whatever a pipeline has otherwise than those known here: the picture is worth more than its preview.
            traceback.print_exc()
            self._next_at = float("inf")
            return b""
        now = time.monotonic()
        self._next_at = now + max(PREVIEW_EVERY_S, (now - began) / _MOST_OF_THE_TIME)
        return b"" if shown is None else _jpeg(shown)


def _outcome(scheduler: Any, before: "torch.Tensor", after: "torch.Tensor") -> "torch.Tensor | None":
    """Return where the step leads in a straight line, to no noise at all; nothing when that is reached."""
    sigmas, step = scheduler.sigmas, scheduler.step_index
    if not step or step >= len(sigmas):
        return None
    noise_before, noise = float(sigmas[step - 1]), float(sigmas[step])
    if noise in (0.0, noise_before):
        return None
    return after.float() - noise * (after.float() - before.float()) / (noise - noise_before)


def _shown(pipeline: Any, latents: "torch.Tensor", size: tuple[int, int]) -> "torch.Tensor | None":
    """Return pixels from 0 to 1, shape (height, width, 3), smaller than the picture's; nothing for unknown latents."""
    import torch

    vae, (width, height) = pipeline.vae, size
    if latents.dim() == 3 and type(pipeline).__name__ in ("FluxPipeline", "FluxImg2ImgPipeline"):
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    # A VAE that lies elsewhere than the model waits for its turn on the GPU.
    if latents.dim() != 4 or latents.shape[1] != vae.config.latent_channels or vae.device != latents.device:
        return None
    with torch.no_grad():
        shrunk = min(1.0, _SIDE / max(latents.shape[2:]))
        if shrunk < 1:
            latents = torch.nn.functional.interpolate(latents, scale_factor=shrunk, mode="area")
        latents = latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
        pixels: torch.Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return (pixels[0].float() / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu()


def _jpeg(pixels: "torch.Tensor") -> bytes:
    if not bool(pixels.isfinite().all()):
        return b""
    buffer = io.BytesIO()
    Image.fromarray((pixels * 255).round().byte().numpy()).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()
