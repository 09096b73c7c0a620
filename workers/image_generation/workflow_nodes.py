"""Nodes that are put into a graph: LoRAs behind the loaders, and a picture in place of the empty latent."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from backend.contract import BaseModelSpec
from backend.errors import BaseModelRejected
from workers.image_generation.workflow_trace import Field, Graph, Trace, is_link

# What needs no place in a workflow: nodes are added for it.
ADDED: tuple[Field, ...] = ("init_image", "denoise")
_LONGEST_SCHEDULE = 4096  # steps; what ComfyUI's nodes take at most


class LoraName(NamedTuple):
    """A LoRA file under ComfyUI's models/loras, and how strongly it acts."""

    file: str
    strength: float


def chain_loras(graph: Graph, trace: Trace, loras: Sequence[LoraName], spec: BaseModelSpec) -> None:
    """Put the LoRAs one behind another between the loaders and everything that they feed."""
    acting = [lora for lora in loras if lora.strength]
    if not acting:
        return
    if trace.model is None:
        raise BaseModelRejected(
            f"{spec.id}/workflow.json shows no model loader, so a LoRA can't be put behind it.",
            "Take the LoRAs out, or link the sampler to the loader.",
        )
    model: list[Any] = list(trace.model)
    clip: list[Any] | None = list(trace.clip) if trace.clip else None
    before = list(graph)
    for lora in acting:
        inputs: dict[str, Any] = {"model": model, "lora_name": lora.file, "strength_model": lora.strength}
        if clip is None:
            node = _add(graph, "LoraLoaderModelOnly", "LoRA", inputs)
        else:
            node = _add(graph, "LoraLoader", "LoRA", inputs | {"clip": clip, "strength_clip": lora.strength})
        model, clip = [node, 0], [node, 1] if clip else None
    _relink(graph, before, trace.model, model)
    if trace.clip and clip:
        _relink(graph, before, trace.clip, clip)


def start_from_picture(
    graph: Graph, trace: Trace, picture: str, denoise: float | None, batch_size: int, spec: BaseModelSpec
) -> None:
    """Let the samplers start from a picture of ComfyUI's input folder, and do the end of their schedule alone.

    Raises BaseModelRejected for a workflow that can't.
    """
    if not trace.places["init_image"]:
        if trace.latent is None or trace.vae is None:
            raise BaseModelRejected(
                f"{spec.id}/workflow.json can't start from a picture: no latent or no VAE leads to SaveImage.",
                "Leave the picture out, or put a LoadImage node before the sampler.",
            )
        load = _add(graph, "LoadImage", "Picture to start from", {"image": picture})
        latent = _add(graph, "VAEEncode", "VAE Encode", {"pixels": [load, 0], "vae": list(trace.vae)})
        if batch_size > 1:
            repeat = {"samples": [latent, 0], "amount": batch_size}
            latent = _add(graph, "RepeatLatentBatch", "Repeat Latent Batch", repeat)
        for sampler in trace.samplers:
            graph[sampler]["inputs"]["latent_image"] = [latent, 0]
    if not trace.places["denoise"] and denoise is not None and denoise < 1:
        _shorten_schedules(graph, trace, denoise, spec)


def _shorten_schedules(graph: Graph, trace: Trace, denoise: float, spec: BaseModelSpec) -> None:
    """Cut off the beginning of a schedule that knows no 'denoise', made longer so that all steps asked for remain."""
    for sampler in trace.samplers:
        sigmas = graph[sampler]["inputs"].get("sigmas")
        if not is_link(sigmas):
            raise BaseModelRejected(
                f"{spec.id}/workflow.json can't start from a picture: its sampler has no 'denoise'.",
                "Leave the picture out, or use a sampler that has one.",
            )
        split = _add(graph, "SplitSigmasDenoise", "Denoise", {"sigmas": sigmas, "denoise": denoise})
        graph[sampler]["inputs"]["sigmas"] = [split, 1]
    for place in trace.places["steps"]:
        inputs = graph[place.node]["inputs"]
        inputs[place.input] = min(_LONGEST_SCHEDULE, round(inputs[place.input] / denoise))


def _add(graph: Graph, class_type: str, title: str, inputs: dict[str, Any]) -> str:
    """Add a node and return its id."""
    node = str(max((int(node) for node in graph if node.isdigit()), default=0) + 1)
    graph[node] = {"inputs": inputs, "class_type": class_type, "_meta": {"title": title}}
    return node


def _relink(graph: Graph, nodes: Sequence[str], old: tuple[str, int], new: list[Any]) -> None:
    for node in nodes:
        for name, value in graph[node]["inputs"].items():
            if is_link(value) and (str(value[0]), int(value[1])) == old:
                graph[node]["inputs"][name] = list(new)
