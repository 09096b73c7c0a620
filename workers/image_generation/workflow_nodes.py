"""Nodes that are put into a graph: LoRAs behind the loaders, and a picture in place of the empty latent."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from backend.contract import BaseModelSpec
from backend.errors import BaseModelRejected
from workers.image_generation.workflow_graph import Graph, is_link, title_of
from workers.image_generation.workflow_trace import Field, Trace

# What needs no place in a workflow: nodes are added for it.
ADDED: tuple[Field, ...] = ("init_image", "denoise")
_PICTURE_LOADERS = ("LoadImage", "LoadImageMask")
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


def refuse_absent_pictures(graph: Graph, trace: Trace, picture: str, spec: BaseModelSpec) -> None:
    """Raise BaseModelRejected for a workflow that loads a picture of its author's: it isn't on a worker."""
    starts = {place.node for place in trace.places["init_image"]}
    for node, about in graph.items():
        if about["class_type"] not in _PICTURE_LOADERS or is_link(about["inputs"].get("image")):
            continue
        if node in starts and not picture:
            raise BaseModelRejected(
                f"The workflow of {spec.id} starts from a picture, and none was given.",
                "Choose a picture to start from.",
            )
        if (name := about["inputs"].get("image")) != picture:
            title = title_of(graph, node)
            raise BaseModelRejected(
                f"The workflow of {spec.id} loads '{name}' in its node '{title}'; a worker has no such picture.",
                f'Take that node out, or write init_image = "{title}.image" under [workflow_inputs] and give a picture '
                "with each prompt.",
            )


def move_stages(graph: Graph, trace: Trace, steps: int | None) -> None:
    """Let samplers that share one schedule hand over at the same part of it when it gets another number of steps."""
    before = next((graph[place.node]["inputs"][place.input] for place in trace.places["steps"]), None)
    if not steps or not isinstance(before, int) or before < 1:
        return
    for place in trace.stages:
        at = graph[place.node]["inputs"][place.input]
        if isinstance(at, int) and at < before:  # else it means the end
            graph[place.node]["inputs"][place.input] = round(at * steps / before)


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
