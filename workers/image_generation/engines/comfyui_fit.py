"""Whether a LoRA fits what ComfyUI loads: by the sizes of its layers before it draws, by ComfyUI's log afterwards.

ComfyUI draws on without the layers that don't fit, and says so nowhere but in its log.
"""

import re
from pathlib import Path

from backend.contract import BaseModelSpec
from backend.errors import LoraRejected
from workers.image_generation.engines import Drawing, LoraInUse
from workers.image_generation.engines.comfyui_loras import read_header, tensor_names
from workers.image_generation.engines.comfyui_process import Remarks
from workers.image_generation.workflow_trace import trace_workflow

HINT = "Choose a LoRA that was trained on this base model."
_HALF = re.compile(r"^(?P<layer>.+?)[._]lora[._](?P<side>A|B|down|up)(\.[^.]+)?\.weight$")
_OF_TEXT_ENCODER = re.compile(r"^(base_model\.model\.)?(lora_te|te\d?[._]|text_encoder|clip)")
_IN_CHECKPOINT = "model.diffusion_model."
_PLAIN_NUMBERS = re.compile(r"B?F\d+")  # quantised to fewer bits, a tensor's shape says little of its layer
_FOLDERS = ("diffusion_models", "unet", "checkpoints")

Sizes = dict[int, int]  # the most outputs of a layer by its inputs


def model_sizes(spec: BaseModelSpec, models: Path) -> Sizes:
    """Return the sizes of the layers that LoRAs would change in a base model; none where they can't be told. Blocks."""
    loader = trace_workflow(spec).model
    named = spec.workflow[loader[0]]["inputs"].values() if loader else ()
    files = [models / folder / str(name) for name in named for folder in _FOLDERS if str(name).endswith(".safetensors")]
    found = next((file for file in files if file.is_file()), None)
    return _sizes_in(found) if found else {}


def check_sizes(lora: LoraInUse, sizes: Sizes, base_model: str) -> None:
    """Raise LoraRejected, naming the LoRA and the layer, for one that no layer of the base model is large enough for.

    A layer may be larger than the LoRA's: several that are one in this file have LoRAs of their own. Blocks.
    """
    with lora.path.open("rb") as file:
        header, _ = read_header(file)
    layers: dict[str, dict[str, int]] = {}
    for name, tensor in header.items():
        half = _HALF.match(name)
        if half and len(tensor["shape"]) > 1 and not _OF_TEXT_ENCODER.match(name):
            side, of = ("in", 1) if half["side"] in ("A", "down") else ("out", 0)
            layers.setdefault(half["layer"], {})[side] = tensor["shape"][of]
    for layer, size in layers.items():
        inputs, outputs = size.get("in", 0), size.get("out", 0)
        if outputs > sizes.get(inputs, 0):
            raise LoraRejected(
                f"The LoRA '{lora.name}' was made for another base model than {base_model}: "
                f"'{layer}' is {outputs}x{inputs}, and no layer there takes that.",
                HINT,
            )


def misfit_in(remarks: Remarks, lora: LoraInUse, drawing: Drawing) -> str:
    """Say why a LoRA does not fit, going by ComfyUI's log; nothing when it does. Blocks."""
    tensors = {name for name in tensor_names(lora.path) if not name.endswith(".alpha")}
    homeless = tensors & remarks.unmatched
    # Few are no harm, such as those of a text encoder that isn't used; models of like names share their first blocks.
    if 2 * len(homeless) >= len(tensors):
        return (
            f"The LoRA '{lora.name}' was made for another base model than {drawing.spec.name}: {len(homeless)} of its "
            f"{len(tensors)} tensors have no place in it, such as '{min(homeless, default='none')}'."
        )
    if remarks.misshapen:
        alone = len(drawing.loras) == 1
        which = f"The LoRA '{lora.name}' does" if alone else f"'{lora.name}', or another of these LoRAs, does"
        return f"{which} not fit {drawing.spec.name}: '{remarks.misshapen}' has another size."
    return ""


def _sizes_in(file: Path) -> Sizes:
    with file.open("rb") as opened:
        header, _ = read_header(opened)
    denoiser = {name: tensor for name, tensor in header.items() if name.startswith(_IN_CHECKPOINT)} or header
    sizes: Sizes = {}
    for tensor in denoiser.values():
        if not _PLAIN_NUMBERS.match(tensor["dtype"]):
            return {}
        if len(tensor["shape"]) > 1:
            outputs, inputs = tensor["shape"][:2]
            sizes[inputs] = max(outputs, sizes.get(inputs, 0))
    return sizes
