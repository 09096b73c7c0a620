"""What a ComfyUI graph in the API format makes: followed back from its sampler, whatever nodes stand between."""

from collections.abc import Iterator
from typing import Any

_MOST_NODES = 2000
# What a sampler's inputs are called, by the name we give them; the first that is a plain value counts.
_VALUES = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "guidance": ("guidance", "cfg"),
    "width": ("width",),
    "height": ("height",),
    "model": ("ckpt_name", "unet_name", "model_name"),
}
_TEXTS = ("text", "t5xxl", "text_g", "clip_l", "text_l", "prompt", "string", "value")

Graph = dict[str, dict[str, Any]]


def made_by_graph(data: Any) -> dict[str, Any]:
    """Return prompt, negative_prompt, seed, steps, guidance, width, height and model, those that are found, and loras.

    `loras` is a list of (file name, strength). Raises ValueError for what is no graph.
    """
    graph = _nodes(data)
    sampler = next((each for each in graph if "sampler" in _kind(graph, each) and _links(graph, each)), "")
    if not sampler:
        raise ValueError("no sampler")
    upstream = list(_upstream(graph, sampler))
    made: dict[str, Any] = {"loras": list(_loras(graph, upstream))}
    for name, inputs in _VALUES.items():
        # Flux's own guidance goes before a sampler's cfg, which is then 1.
        found = [graph[node]["inputs"].get(key) for key in inputs for node in upstream]
        plain = [value for value in found if isinstance(value, (int, float, str)) and not isinstance(value, bool)]
        if plain:
            made[name] = plain[0]
    for name, inputs in {"prompt": ("positive", "conditioning"), "negative_prompt": ("negative",)}.items():
        made[name] = next(filter(None, (_text_behind(graph, node, inputs) for node in upstream)), "")
    return made


def _nodes(data: Any) -> Graph:
    if not isinstance(data, dict) or len(data) > _MOST_NODES:
        raise ValueError("no graph")
    return {
        str(name): node
        for name, node in data.items()
        if isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
    }


def _kind(graph: Graph, node: str) -> str:
    return str(graph[node]["class_type"]).lower()


def _links(graph: Graph, node: str) -> list[tuple[str, str]]:
    """The inputs of a node that come from others: each with that node."""
    return [
        (name, str(value[0]))
        for name, value in graph[node]["inputs"].items()
        if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph
    ]


def _upstream(graph: Graph, node: str) -> Iterator[str]:
    """Yield a node and all that feed it, the nearest first, each once."""
    seen, waiting = {node}, [node]
    while waiting:
        node = waiting.pop(0)
        yield node
        for _, source in _links(graph, node):
            if source not in seen:
                seen.add(source)
                waiting.append(source)


def _text_behind(graph: Graph, node: str, inputs: tuple[str, ...]) -> str:
    """Return the text that feeds one of these inputs of a node."""
    for name, source in _links(graph, node):
        if name not in inputs:
            continue
        for each in _upstream(graph, source):
            for key in _TEXTS:
                text = graph[each]["inputs"].get(key)
                if isinstance(text, str) and text.strip():
                    return text
    return ""


def _loras(graph: Graph, nodes: list[str]) -> Iterator[tuple[str, Any]]:
    for node in reversed(nodes):  # as they are applied: the farthest first
        inputs = graph[node]["inputs"]
        if isinstance(inputs.get("lora_name"), str):
            yield inputs["lora_name"], inputs.get("strength_model", inputs.get("strength", 1))
