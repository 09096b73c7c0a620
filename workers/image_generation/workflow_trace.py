"""Where a workflow ("Save (API Format)") takes its inputs, and where its LoRAs go. What is put there is `workflow`'s.

An input is found by the node title that the base model names for it, else by going back from SaveImage.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeGuard, get_args

from backend.contract import BaseModelSpec
from backend.errors import BaseModelRejected

Field = Literal[
    "prompt", "negative_prompt", "seed", "steps", "guidance", "sampler", "scheduler", "width", "height", "batch_size",
    "filename_prefix", "init_image", "denoise",
]  # fmt: skip
FIELDS: tuple[Field, ...] = get_args(Field)
Graph = dict[str, dict[str, Any]]

_TEXT_INPUTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt")
_SEED_INPUTS = ("noise_seed", "seed")
# Where a number or a text stands in a node that does nothing but hold it.
_HELD_IN = ("value", "int", "float", "string", "number", *_TEXT_INPUTS, *_SEED_INPUTS)
# Nodes beside the latent that must know the size of the picture.
_TOLD_THE_SIZE = ("ModelSamplingFlux", "Flux2Scheduler", "CLIPTextEncodeSDXL")
_EXPORT = "In ComfyUI, choose Workflow > Export (API), and use that file."


class Place(NamedTuple):
    """An input of a node."""

    node: str
    input: str


class Trace(NamedTuple):
    """Where a workflow takes its inputs, and where its LoRAs go."""

    save_node: str
    samplers: tuple[str, ...]
    places: dict[Field, list[Place]]
    model: tuple[str, int] | None  # the output that LoRAs change
    clip: tuple[str, int] | None
    latent: tuple[str, int] | None  # what the samplers start from
    vae: tuple[str, int] | None


def trace_workflow(spec: BaseModelSpec, file: str = "") -> Trace:
    """Return where a base model's workflow takes its inputs. Raises BaseModelRejected when that can't be told."""
    file = file or f"{spec.id}/workflow.json"
    graph = _checked(spec.workflow, file)
    trace = _Tracer(graph, file).trace()
    for name, target in spec.workflow_inputs.items():
        if name not in FIELDS:
            raise BaseModelRejected(
                f"{spec.id}/model.toml: 'workflow_inputs.{name}' is not an input of a workflow.",
                f"Use one of: {', '.join(FIELDS)}.",
            )
        trace.places[name] = [_titled(graph, part.strip(), name, spec.id) for part in target.split(",")]
    _check_places(graph, trace, file, prompt_is_named="prompt" in spec.workflow_inputs)
    return trace


def _check_places(graph: Graph, trace: Trace, file: str, *, prompt_is_named: bool) -> None:
    texts = {place.node for place in trace.places["prompt"]}
    if len(texts) > 1 and not prompt_is_named:
        titles = " and ".join(repr(_title(graph, node)) for node in sorted(texts))
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


def _checked(workflow: Mapping[str, Any], file: str) -> Graph:
    """Return a workflow as a graph. Raises BaseModelRejected for the editor's format and for anything else."""
    if not workflow:
        raise BaseModelRejected(f"There is no {file}, which ComfyUI needs to draw with this base model.", _EXPORT)
    if isinstance(workflow.get("nodes"), list):
        raise BaseModelRejected(f"{file} is in the format of ComfyUI's editor, which can't be run.", _EXPORT)
    for node_id, node in workflow.items():
        if not isinstance(node, dict) or "class_type" not in node or not isinstance(node.get("inputs"), dict):
            raise BaseModelRejected(f"{file}: '{node_id}' is not a node with a class_type and inputs.", _EXPORT)
        for name, value in node["inputs"].items():
            if is_link(value) and str(value[0]) not in workflow:
                raise BaseModelRejected(
                    f"{file}: '{node_id}.{name}' leads to the node '{value[0]}', which is not there.", _EXPORT
                )
    return dict(workflow)


def _titled(graph: Graph, target: str, field: str, base_model: str) -> Place:
    title, _, name = target.rpartition(".")
    where = f"{base_model}/model.toml: 'workflow_inputs.{field}' is '{target}'"
    nodes = [node for node in graph if _title(graph, node) == title]
    if len(nodes) != 1:
        titles = ", ".join(sorted({f"'{_title(graph, node)}'" for node in graph}))
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
        self._graph = graph
        self._file = file

    def trace(self) -> Trace:
        save_node = self._save_node()
        samplers = self._first_samplers(save_node)
        if not samplers:
            raise BaseModelRejected(f"{self._file}: no sampler leads to SaveImage.", _EXPORT)
        places: dict[Field, list[Place]] = {field: [] for field in FIELDS}
        places["filename_prefix"] = self._held(save_node, "filename_prefix")
        model = clip = latent = None
        for sampler in samplers:
            for field, found in self._of_sampler(sampler):
                places[field] += [place for place in found if place not in places[field]]
            model = model or self._source(self._with_guider(sampler), "model")
            latent = latent or self._linked(sampler, "latent_image")
        for place in places["prompt"]:
            clip = clip or self._source([place.node], "clip")
        # One text for both is the prompt's: what it says of the negative is decided by what lies between.
        places["negative_prompt"] = [place for place in places["negative_prompt"] if place not in places["prompt"]]
        return Trace(save_node, tuple(samplers), places, model, clip, latent, self._vae(save_node))

    def _save_node(self) -> str:
        found = [node for node in self._graph if self._class(node) == "SaveImage"]
        if len(found) == 1:
            return found[0]
        has = "no SaveImage node" if not found else f"{len(found)} SaveImage nodes"
        raise BaseModelRejected(
            f"{self._file} has {has}; it needs exactly one, which saves the picture.",
            "Turn the others into PreviewImage and export again." if found else "Add one and export again.",
        )

    def _vae(self, save_node: str) -> tuple[str, int] | None:
        """Return the VAE that decodes the picture."""
        decoders = [node for node in self._upstream(save_node) if {"samples", "vae"} <= set(self._inputs(node))]
        return self._linked(decoders[0], "vae") if decoders else None

    def _of_sampler(self, sampler: str) -> Iterator[tuple[Field, list[Place]]]:
        """Yield where one sampler's inputs come from."""
        nodes = self._with_guider(sampler)
        positive = self._texts(nodes, ("positive", "conditioning", "cond1"))
        yield "prompt", positive
        yield "negative_prompt", self._texts(nodes, ("negative",))
        yield "seed", self._along([sampler], ("noise",), _SEED_INPUTS)
        yield "steps", self._along([sampler], ("sigmas",), ("steps",))
        yield "scheduler", self._along([sampler], ("sigmas",), ("scheduler",))
        yield "sampler", self._along([sampler], ("sampler",), ("sampler_name",))
        told = self._along(nodes, ("positive", "conditioning", "cond1"), ("guidance",))
        yield "guidance", told or self._along(nodes, (), ("cfg",))
        yield "denoise", self._along([sampler], ("sigmas",), ("denoise",))
        latent = ("latent_image", "latent", "samples", "pixels", "image")
        for side, names in (("width", ("width", "target_width")), ("height", ("height", "target_height"))):
            beside = [
                place
                for node in self._upstream(sampler)
                if self._class(node) in _TOLD_THE_SIZE
                for name in names
                for place in self._held(node, name)
            ]
            yield side, self._along([sampler], latent, (side,)) + beside  # type: ignore[misc]
        yield "batch_size", self._along([sampler], latent, ("batch_size", "amount"))
        yield "init_image", self._along([sampler], latent, ("image",))

    def _with_guider(self, sampler: str) -> list[str]:
        guider = self._linked(sampler, "guider")
        return [sampler, guider[0]] if guider else [sampler]

    def _first_samplers(self, save_node: str) -> list[str]:
        """Return the samplers that start from a latent of no other sampler, such as the first of two passes."""
        samplers = [node for node in self._upstream(save_node) if self._is_sampler(node)]
        return [
            node
            for node in samplers
            if not any(self._is_sampler(other) for other in self._upstream(node, only="latent_image"))
        ]

    def _is_sampler(self, node: str) -> bool:
        inputs = self._inputs(node)
        return "latent_image" in inputs and ("positive" in inputs or "guider" in inputs)

    def _texts(self, nodes: Sequence[str], starts: Sequence[str]) -> list[Place]:
        """Return the texts behind conditionings, one entry for each input of each text node."""
        found: list[Place] = []
        waiting = [link for node in nodes for name in starts if (link := self._linked(node, name))]
        seen: set[tuple[str, int]] = set()
        while waiting:
            node, slot = waiting.pop()
            if (node, slot) in seen or self._class(node) == "ConditioningZeroOut":
                continue  # zeroed out, a text says nothing
            seen.add((node, slot))
            texts = [place for name in _TEXT_INPUTS for place in self._held(node, name)]
            found += [place for place in texts if place not in found]
            if not texts:
                waiting += self._conditionings(node, slot)
        return found

    def _conditionings(self, node: str, slot: int) -> list[tuple[str, int]]:
        # A ControlNet passes on both; its first output is the positive.
        inputs = self._inputs(node)
        if "positive" in inputs and "negative" in inputs:
            names = ["negative" if slot else "positive"]
        else:
            names = [name for name in inputs if name.startswith(("cond", "positive"))]
        return [link for name in names if (link := self._linked(node, name))]

    def _along(self, nodes: Sequence[str], way: Sequence[str], names: Sequence[str]) -> list[Place]:
        """Return the first of `names` met in `nodes`, then in what feeds their inputs called as in `way`, and so on."""
        seen: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if found := [place for name in names for place in self._held(node, name)]:
                return found[:1]
            waiting += [link[0] for name in way if (link := self._linked(node, name))]
        return []

    def _source(self, nodes: Sequence[str], name: str) -> tuple[str, int] | None:
        """Follow an input called `name` back to the output that it begins at."""
        link = next((link for node in nodes if (link := self._linked(node, name))), None)
        seen: set[str] = set()
        while link and link[0] not in seen and (further := self._linked(link[0], name)):
            seen.add(link[0])
            link = further
        return link

    def _held(self, node: str, name: str) -> list[Place]:
        """Return where an input's value stands: in the node, or in one that does nothing but hold it."""
        value = self._inputs(node).get(name)
        for _ in range(8):
            if not is_link(value):
                return [] if value is None else [Place(node, name)]
            node = str(value[0])
            inputs = self._inputs(node)
            if len(inputs) > 2 or not (name := next((name for name in _HELD_IN if name in inputs), "")):
                return []
            value = inputs[name]
        return []

    def _upstream(self, start: str, only: str = "") -> list[str]:
        """Return every node that feeds `start`, nearest first, its input called `only` alone if that is given."""
        found: list[str] = []
        waiting = [start]
        while waiting:
            inputs = self._inputs(node := waiting.pop(0))
            values = [inputs.get(only)] if only and node == start else inputs.values()
            for feeding in (str(value[0]) for value in values if is_link(value)):
                if feeding not in found:
                    found.append(feeding)
                    waiting.append(feeding)
        return found

    def _linked(self, node: str, name: str) -> tuple[str, int] | None:
        value = self._inputs(node).get(name)
        return (str(value[0]), int(value[1])) if value is not None and is_link(value) else None

    def _inputs(self, node: str) -> dict[str, Any]:
        inputs: dict[str, Any] = self._graph[node]["inputs"]
        return inputs

    def _class(self, node: str) -> str:
        return str(self._graph[node]["class_type"])


def _title(graph: Graph, node: str) -> str:
    return str(graph[node].get("_meta", {}).get("title", graph[node]["class_type"]))


def is_link(value: Any) -> TypeGuard[list[Any]]:
    # So ComfyUI tells a link from a list of values.
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int
