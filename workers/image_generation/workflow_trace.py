"""Where a workflow ("Save (API Format)") takes its inputs, and where its LoRAs go. What is put there is `workflow`'s.

An input is found by the node title that the base model names for it, else by going back from SaveImage.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from backend.contract import BaseModelSpec
from backend.errors import BaseModelRejected
from workers.image_generation.workflow_graph import (
    SEED_INPUTS,
    TEXT_INPUTS,
    Graph,
    Place,
    Wiring,
    checked_graph,
    is_link,
    title_of,
)

Field = Literal[
    "prompt", "negative_prompt", "seed", "steps", "guidance", "sampler", "scheduler", "width", "height", "batch_size",
    "filename_prefix", "init_image", "denoise",
]  # fmt: skip
FIELDS: tuple[Field, ...] = get_args(Field)

# Nodes beside the latent that must know the size of the picture.
_TOLD_THE_SIZE = ("ModelSamplingFlux", "Flux2Scheduler", "CLIPTextEncodeSDXL")
_POSITIVE = ("positive", "conditioning", "cond1")
_NEGATIVE = ("negative", "neg_conditioning")
_EDGES = ("start_at_step", "end_at_step")
_LATENT = ("latent_image", "latent", "samples", "pixels", "image")


class Trace(NamedTuple):
    """Where a workflow takes its inputs, and where its LoRAs go."""

    save_node: str
    samplers: tuple[str, ...]
    places: dict[Field, list[Place]]
    stages: list[Place]  # where one sampler hands over to the next, in steps of the schedule they share
    model: tuple[str, int] | None  # the output that LoRAs change
    clip: tuple[str, int] | None
    latent: tuple[str, int] | None  # what the samplers start from
    vae: tuple[str, int] | None


def trace_workflow(spec: BaseModelSpec, file: str = "") -> Trace:
    """Return where a base model's workflow takes its inputs. Raises BaseModelRejected when that can't be told."""
    file = file or f"{spec.id}/workflow.json"
    graph = checked_graph(spec.workflow, file)
    tracer = _Tracer(graph, file)
    trace = tracer.trace()
    for name, target in spec.workflow_inputs.items():
        if name not in FIELDS:
            raise BaseModelRejected(
                f"{spec.id}/model.toml: 'workflow_inputs.{name}' is not an input of a workflow.",
                f"Use one of: {', '.join(FIELDS)}.",
            )
        trace.places[name] = [_titled(graph, part.strip(), name, spec.id) for part in target.split(",")]
    _check_places(graph, trace, file, prompt_is_named="prompt" in spec.workflow_inputs)
    tracer.add_what_later_samplers_share(trace.places)
    return trace


def _check_places(graph: Graph, trace: Trace, file: str, *, prompt_is_named: bool) -> None:
    texts = {place.node for place in trace.places["prompt"]}
    if len(texts) > 1 and not prompt_is_named:
        titles = " and ".join(repr(title_of(graph, node)) for node in sorted(texts))
        raise BaseModelRejected(
            f"{file} has two possible prompts, {titles}: 'prompt' can't be told.",
            'Give one of them a title of its own, and write prompt = "That title.text" under [workflow_inputs].',
        )
    needed: Field
    for needed in ("prompt", "seed", "filename_prefix"):
        if not trace.places[needed]:
            raise BaseModelRejected(
                f"{file} shows no place for '{needed}' on the way back from SaveImage.",
                f'Give the node a title, and write {needed} = "That title.its input" under [workflow_inputs].',
            )


def _titled(graph: Graph, target: str, field: str, base_model: str) -> Place:
    title, _, name = target.rpartition(".")
    where = f"{base_model}/model.toml: 'workflow_inputs.{field}' is '{target}'"
    nodes = [node for node in graph if title_of(graph, node) == title]
    if len(nodes) != 1:
        titles = ", ".join(sorted({f"'{title_of(graph, node)}'" for node in graph}))
        found = "no node has" if not nodes else f"{len(nodes)} nodes have"
        raise BaseModelRejected(f"{where}, but {found} the title '{title}'.", f"workflow.json has: {titles}.")
    inputs = graph[nodes[0]]["inputs"]
    if name not in inputs:
        raise BaseModelRejected(
            f"{where}, but the node '{title}' has no input '{name}'.", f"It has: {', '.join(inputs)}."
        )
    if is_link(inputs[name]):
        raise BaseModelRejected(
            f"{where}, but another node feeds that input.", "Name the node that holds the value itself."
        )
    return Place(nodes[0], name)


class _Tracer:
    """Goes back from SaveImage through a graph."""

    def __init__(self, graph: Graph, file: str) -> None:
        self._wiring = Wiring(graph)
        self._file = file
        self._later: tuple[str, ...] = ()  # samplers that go on from another one's latent

    def trace(self) -> Trace:
        save_node = self._save_node()
        first, self._later = self._samplers(save_node)
        if not first:
            raise BaseModelRejected(
                f"{self._file}: no sampler leads to SaveImage, so nothing there draws from a prompt.",
                "Use a workflow with a KSampler, SamplerCustom or SamplerCustomAdvanced.",
            )
        places: dict[Field, list[Place]] = {field: [] for field in FIELDS}
        # A name of its own, whatever the workflow would put together there.
        places["filename_prefix"] = [Place(save_node, "filename_prefix")]
        model = clip = latent = None
        for sampler in first:
            _add_places(places, self._of_sampler(sampler))
            model = model or self._wiring.source(self._with_guider(sampler), "model")
            latent = latent or self._wiring.linked(sampler, "latent_image")
        for place in places["prompt"]:
            clip = clip or self._wiring.source([place.node], "clip")
        # One text for both is the prompt's: what it says of the negative is decided by what lies between.
        places["negative_prompt"] = [place for place in places["negative_prompt"] if place not in places["prompt"]]
        stages = [
            place for sampler in (*first, *self._later) for edge in _EDGES for place in self._wiring.held(sampler, edge)
        ]
        return Trace(save_node, first, places, [*dict.fromkeys(stages)], model, clip, latent, self._vae(save_node))

    def _save_node(self) -> str:
        found = [node for node in self._wiring.graph if self._wiring.kind(node) == "SaveImage"]
        if len(found) == 1:
            return found[0]
        has = "no SaveImage node" if not found else f"{len(found)} SaveImage nodes"
        raise BaseModelRejected(
            f"{self._file} has {has}; it needs exactly one, which saves the picture.",
            "Turn the others into PreviewImage and export again." if found else "Add one and export again.",
        )

    def _samplers(self, save_node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the samplers that start from a latent of no other one, and those that go on from them."""
        samplers = [node for node in self._wiring.upstream(save_node) if self._is_sampler(node)]
        later = {
            node
            for node in samplers
            if any(self._is_sampler(other) for other in self._wiring.upstream(node, only="latent_image"))
        }
        return tuple(node for node in samplers if node not in later), tuple(node for node in samplers if node in later)

    def _is_sampler(self, node: str) -> bool:
        inputs = self._wiring.inputs(node)
        return "latent_image" in inputs and any(name in inputs for name in ("guider", *_POSITIVE))

    def _vae(self, save_node: str) -> tuple[str, int] | None:
        """Return the VAE that decodes the picture."""
        nodes = self._wiring.upstream(save_node)
        decoders = [node for node in nodes if {"samples", "vae"} <= set(self._wiring.inputs(node))]
        return self._wiring.linked(decoders[0], "vae") if decoders else None

    def _of_sampler(self, sampler: str) -> Iterator[tuple[Field, list[Place]]]:
        """Yield where one sampler's inputs come from."""
        along, nodes = self._wiring.along, self._with_guider(sampler)
        yield "prompt", self._texts(nodes, _POSITIVE)
        yield "negative_prompt", self._texts(nodes, _NEGATIVE)
        yield "seed", along([sampler], ("noise",), SEED_INPUTS)
        yield "steps", along([sampler], ("sigmas",), ("steps",))
        yield "scheduler", along([sampler], ("sigmas",), ("scheduler",))
        yield "sampler", along([sampler], ("sampler",), ("sampler_name",))
        yield "guidance", along(nodes, _POSITIVE, ("guidance",)) or along(nodes, (), ("cfg",))
        yield "denoise", along([sampler], ("sigmas",), ("denoise",))
        yield "width", along([sampler], _LATENT, ("width",)) + self._beside(sampler, ("width", "target_width"))
        yield "height", along([sampler], _LATENT, ("height",)) + self._beside(sampler, ("height", "target_height"))
        yield "batch_size", along([sampler], _LATENT, ("batch_size", "amount"))
        # Other nodes hold a picture's address or the picture itself there, not its name in the input folder.
        pictures = along([sampler], _LATENT, ("image",))
        yield "init_image", [place for place in pictures if self._wiring.kind(place.node) == "LoadImage"]

    def add_what_later_samplers_share(self, places: dict[Field, list[Place]]) -> None:
        """Add the places of later samplers, such as a refiner's, that must say what the first one's say."""
        wiring = self._wiring
        said = {field: {wiring.text(place) for place in places[field]} for field in ("prompt", "negative_prompt")}
        for sampler in self._later:
            nodes = self._with_guider(sampler)
            field: Field
            for field, starts in (("prompt", _POSITIVE), ("negative_prompt", _NEGATIVE)):
                # It may have text nodes of its own; where they say the same, they are meant to.
                texts = [place for place in self._texts(nodes, starts) if wiring.text(place) in said[field]]
                _add_places(places, [(field, texts)])
            if any(wiring.held(sampler, edge) for edge in _EDGES):
                _add_places(places, [("steps", wiring.held(sampler, "steps"))])

    def _beside(self, sampler: str, names: Sequence[str]) -> list[Place]:
        nodes = [node for node in self._wiring.upstream(sampler) if self._wiring.kind(node) in _TOLD_THE_SIZE]
        return [place for node in nodes for name in names for place in self._wiring.held(node, name)]

    def _with_guider(self, sampler: str) -> list[str]:
        guider = self._wiring.linked(sampler, "guider")
        return [sampler, guider[0]] if guider else [sampler]

    def _texts(self, nodes: Sequence[str], starts: Sequence[str]) -> list[Place]:
        """Return the texts behind conditionings, one entry for each input of each text node."""
        found: list[Place] = []
        waiting = [link for node in nodes for name in starts if (link := self._wiring.linked(node, name))]
        seen: set[tuple[str, int]] = set()
        while waiting:
            node, slot = waiting.pop()
            if (node, slot) in seen or self._wiring.kind(node) == "ConditioningZeroOut":
                continue  # zeroed out, a text says nothing
            seen.add((node, slot))
            texts = [place for name in TEXT_INPUTS for place in self._wiring.held(node, name)]
            found += [place for place in texts if place not in found]
            if not texts:
                waiting += self._conditionings(node, slot)
        return found

    def _conditionings(self, node: str, slot: int) -> list[tuple[str, int]]:
        # A ControlNet passes on both; its first output is the positive.
        inputs = self._wiring.inputs(node)
        if "positive" in inputs and "negative" in inputs:
            names = ["negative" if slot else "positive"]
        else:
            names = [name for name in inputs if name.startswith(("cond", "positive"))]
        return [link for name in names if (link := self._wiring.linked(node, name))]


def _add_places(places: dict[Field, list[Place]], found: Iterable[tuple[Field, list[Place]]]) -> None:
    for field, more in found:
        places[field] += [place for place in more if place not in places[field]]
