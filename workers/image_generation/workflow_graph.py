"""A workflow file ("Save (API Format)") as a graph: what makes it one, and how to walk along its links."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from backend.errors import BaseModelRejected

Graph = dict[str, dict[str, Any]]

TEXT_INPUTS = ("text", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "prompt")
SEED_INPUTS = ("noise_seed", "seed")
# Where a number or a text stands in a node that does nothing but hold it.
_HELD_IN = ("value", "int", "float", "string", "number", *TEXT_INPUTS, *SEED_INPUTS)
_EXPORT = "In ComfyUI, choose Workflow > Export (API), and use that file."


class Place(NamedTuple):
    """An input of a node."""

    node: str
    input: str


def checked_graph(workflow: Mapping[str, Any], file: str) -> Graph:
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


def title_of(graph: Graph, node: str) -> str:
    """Return what the editor shows above a node."""
    about = graph[node].get("_meta")
    return str((about if isinstance(about, dict) else {}).get("title", graph[node]["class_type"]))


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Return whether an input is fed by another node: so ComfyUI tells a link from a list of values."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


class Wiring:
    """The links of a graph, walked from a node back to what feeds it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def kind(self, node: str) -> str:
        return str(self.graph[node]["class_type"])

    def inputs(self, node: str) -> dict[str, Any]:
        inputs: dict[str, Any] = self.graph[node]["inputs"]
        return inputs

    def text(self, place: Place) -> str:
        return str(self.graph[place.node]["inputs"][place.input])

    def linked(self, node: str, name: str) -> tuple[str, int] | None:
        """Return the output that feeds an input."""
        value = self.inputs(node).get(name)
        return (str(value[0]), int(value[1])) if value is not None and is_link(value) else None

    def held(self, node: str, name: str) -> list[Place]:
        """Return where an input's value stands: in the node, or in one that does nothing but hold it."""
        value = self.inputs(node).get(name)
        for _ in range(8):
            if not is_link(value):
                return [] if value is None else [Place(node, name)]
            node = str(value[0])
            inputs = self.inputs(node)
            if len(inputs) > 2 or not (name := next((name for name in _HELD_IN if name in inputs), "")):
                return []
            value = inputs[name]
        return []

    def along(self, nodes: Sequence[str], way: Sequence[str], names: Sequence[str]) -> list[Place]:
        """Return the first of `names` met in `nodes`, then in what feeds their inputs called as in `way`, and so on."""
        seen: set[str] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop(0)
            if node in seen:
                continue
            seen.add(node)
            if found := [place for name in names for place in self.held(node, name)]:
                return found[:1]
            waiting += [link[0] for name in way if (link := self.linked(node, name))]
        return []

    def source(self, nodes: Sequence[str], name: str) -> tuple[str, int] | None:
        """Follow an input called `name` back to the output that it begins at."""
        link = next((link for node in nodes if (link := self.linked(node, name))), None)
        seen: set[str] = set()
        while link and link[0] not in seen and (further := self.linked(link[0], name)):
            seen.add(link[0])
            link = further
        return link

    def upstream(self, start: str, only: str = "") -> list[str]:
        """Return every node that feeds `start`, nearest first, its input called `only` alone if that is given."""
        found: list[str] = []
        waiting = [start]
        while waiting:
            node = waiting.pop(0)
            for feeding in self._feeding(node, only if node == start else ""):
                if feeding not in found:
                    found.append(feeding)
                    waiting.append(feeding)
        return found

    def _feeding(self, node: str, only: str) -> Iterator[str]:
        inputs = self.inputs(node)
        values = [inputs.get(only)] if only else inputs.values()
        return (str(value[0]) for value in values if is_link(value))
