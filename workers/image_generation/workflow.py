"""A workflow and what is asked of it become the graph that ComfyUI runs: pure functions on "Save (API Format)" files.

`python -m workers.image_generation.workflow REQUEST.json` prints the graph of a request.
"""

import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from backend.base_models import load_base_model
from backend.contract import BaseModelSpec, GenerationRequest, explain
from backend.errors import AtelierError, InvalidRequest
from backend.settings import Settings
from workers.image_generation.workflow_graph import Graph
from workers.image_generation.workflow_nodes import (
    ADDED,
    LoraName,
    chain_loras,
    move_stages,
    refuse_absent_pictures,
    start_from_picture,
)
from workers.image_generation.workflow_trace import FIELDS, Field, trace_workflow


class Asked(NamedTuple):
    """What a graph is made for. None, or an empty text, leaves the workflow's own value."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    width: int | None = None  # pixels
    height: int | None = None
    batch_size: int | None = 1
    filename_prefix: str = "atelier"
    init_image: str = ""  # a picture in ComfyUI's input folder to start from
    denoise: float | None = None  # how much of it is drawn anew
    loras: Sequence[LoraName] = ()


class Rendered(NamedTuple):
    """A graph to send, and what whoever sends it has to know of it."""

    graph: Graph
    save_node: str
    samplers: tuple[str, ...]  # the nodes whose progress is the picture's
    sampler: str  # such as 'euler'; '' if the workflow does not say
    left_out: tuple[Field, ...]  # asked for, but the workflow has no place for it


def workflow_of(request: GenerationRequest, spec: BaseModelSpec) -> BaseModelSpec:
    """Return the base model with the request's own workflow in place of its own, if it carries one.

    Raises BaseModelRejected for one that can't be used.
    """
    if request.workflow is None:
        return spec
    own = spec.model_copy(update={"workflow": request.workflow, "workflow_inputs": {}})
    trace_workflow(own, "The request's workflow")
    return own


def render(spec: BaseModelSpec, asked: Asked) -> Rendered:
    """Return the graph that makes what is asked. Raises BaseModelRejected, naming the file and the field."""
    trace = trace_workflow(spec)
    graph: Graph = copy.deepcopy(spec.workflow)
    left_out: list[Field] = []
    move_stages(graph, trace, asked.steps)
    for field in FIELDS:
        value, places = getattr(asked, field), trace.places[field]
        if value in (None, ""):
            continue
        if not places and field not in ADDED and not _means_nothing(field, value):
            left_out.append(field)
        for place in places:
            # A model without guidance is 0 to diffusers; here 1 is what leaves the prompt as it is.
            graph[place.node]["inputs"][place.input] = max(1.0, value) if place.input == "cfg" else value
    if asked.init_image:
        start_from_picture(graph, trace, asked.init_image, asked.denoise, asked.batch_size or 1, spec)
    refuse_absent_pictures(graph, trace, asked.init_image, spec)
    chain_loras(graph, trace, asked.loras, spec)
    names = [graph[place.node]["inputs"][place.input] for place in trace.places["sampler"]]
    return Rendered(graph, trace.save_node, trace.samplers, names[0] if names else "", tuple(left_out))


def _means_nothing(field: Field, value: Any) -> bool:
    """Return whether a workflow without a place for this value does the same as one with it."""
    return field == "batch_size" or (field == "guidance" and value <= 1)


def graph_of_request(request: GenerationRequest, spec: BaseModelSpec) -> Graph:
    """Return the graph of a request's first picture; LoRAs are named by their files in storage, a free seed is 0."""
    settings = request.settings_for(spec)
    asked = Asked(
        prompt=request.prompt_of(0),
        negative_prompt=request.negative_prompt,
        seed=request.seed or 0,
        steps=settings.steps,
        guidance=settings.guidance,
        width=settings.width,
        height=settings.height,
        init_image=Path(request.init_image).name if request.init_image else "",
        denoise=settings.denoise if request.init_image else None,
        loras=[LoraName(Path(use.key).name, use.strength) for use in request.lora_uses],
    )
    return render(workflow_of(request, spec), asked).graph


def main(arguments: list[str]) -> None:
    """Print the graph of the request in a file."""
    if len(arguments) != 1:
        sys.exit("usage: python -m workers.image_generation.workflow REQUEST.json")
    try:
        request = GenerationRequest.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
        named = request.base_model
        spec = named if isinstance(named, BaseModelSpec) else load_base_model(named, Settings().atelier_base_models)
        print(json.dumps(graph_of_request(request, spec), indent=2, ensure_ascii=False))
    except ValidationError as error:
        sys.exit(str(InvalidRequest(f"{arguments[0]}: {explain(error)}")))
    except AtelierError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
