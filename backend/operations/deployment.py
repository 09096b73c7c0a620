"""Brings RunPod in line with assets/deploy.toml: a plan of what to make or change, and its doing.

What is wanted is declared in `declared_deployment`, how RunPod is asked is in `runpod_account`; here is what differs.
No value of the environment is ever put into words.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from backend.base_models import load_base_models
from backend.errors import InvalidRequest, RunPodError
from backend.operations.declaration import Declaration, Wanted, all_wanted
from backend.operations.runpod_account import Kind, RunPodAccount, Thing
from backend.settings import Settings

_LEAST_GPU_GB = 24
_MADE_LATER = "the one made before"
_NEVER_CHANGED = frozenset({"name", "type", "templateId", "dataCenter"})

Action = Literal["create", "update", "keep"]


class Step(NamedTuple):
    """One thing on RunPod, and what is to happen to it. `lines` say what, without any secret."""

    label: str
    action: Action
    lines: list[str]


class Deployment:
    """Brings an account in line with a declaration. Safe to run twice: what is there is known by its name."""

    def __init__(self, declared: Declaration, settings: Settings, account: RunPodAccount) -> None:
        self._declared = declared
        self._base_models = load_base_models(settings.atelier_base_models)
        self._account = account
        self._wanted = all_wanted(declared, settings)

    def plan(self) -> list[Step]:
        """Return what would happen, having changed nothing. Raises what makes it impossible."""
        self._check_gpus()
        self._check_room()
        ids: dict[str, str] = {}
        steps = []
        for wanted in self._wanted:
            found = self._find(wanted)
            ids[wanted.label] = found["id"] if found else _MADE_LATER
            body = wanted.body(ids)
            if found is None:
                steps.append(Step(wanted.label, "create", list(_described(wanted.kind, body))))
                continue
            _refuse_the_impossible(wanted, found, body)
            lines = list(_differences(found, body))
            steps.append(Step(wanted.label, "update" if lines else "keep", lines))
        return steps

    def apply(self, on_step: Callable[[Step], None]) -> dict[str, str]:
        """Do it, telling each step when it is done. Return the ids by label.

        Raises RunPodError for the first thing that fails; running it again goes on from there.
        """
        ids: dict[str, str] = {}
        for wanted in self._wanted:
            try:
                found = self._find(wanted)
                body = wanted.body(ids)
                changed = _changed_fields(found, body) if found else {}
                if found is None:
                    action: Action = "create"
                    found = self._account.create(wanted.kind, body)
                elif changed:
                    action = "update"
                    self._account.update(wanted.kind, found["id"], changed)
                else:
                    action = "keep"
            except RunPodError as error:
                done = ", ".join(ids) or "nothing"
                hint = f"{error.hint} Done before: {done}. Run it again to finish.".strip()
                raise RunPodError(f"{wanted.label}: {error.message}", hint) from error
            ids[wanted.label] = found["id"]
            on_step(Step(wanted.label, action, []))
        return ids

    def _find(self, wanted: Wanted) -> Thing | None:
        # RunPod puts "-fb" behind the names of endpoints that start from a snapshot.
        names = {wanted.name, f"{wanted.name} -fb"}
        found = [thing for thing in self._account.everything(wanted.kind) if thing.get("name") in names]
        if len(found) > 1:
            raise RunPodError(
                f"RunPod has {len(found)} of the name '{wanted.name}' ({wanted.label}).",
                "Rename or delete all but one, or give it another name in deploy.toml.",
            )
        return found[0] if found else None

    def _check_gpus(self) -> None:
        types = self._account.gpus()
        pools = {gpu["pool"]: gpu["memory"] for gpu in types if gpu.get("pool")}
        place = self._declared.volume.data_center
        there = {gpu["pool"] for gpu in types if _can_be_had(gpu, place)}
        for name, endpoint in self._declared.endpoints.items():
            unknown = [pool for pool in endpoint.gpus if pool not in pools]
            if unknown:
                known = ", ".join(sorted(pools))
                raise InvalidRequest(f"[{name}] gpus: RunPod has no pool {unknown[0]}.", f"It has {known}.")
            if small := [pool for pool in endpoint.gpus if pools[pool] < _LEAST_GPU_GB]:
                raise InvalidRequest(
                    f"[{name}] gpus: {small[0]} has {pools[small[0]]} GB.", f"FLUX needs {_LEAST_GPU_GB} GB or more."
                )
            if not there & set(endpoint.gpus):
                raise InvalidRequest(
                    f"None of {', '.join(endpoint.gpus)} can be had in {place} ([{name}] gpus, [volume] data_center).",
                    f"There now: {', '.join(sorted(there)) or 'nothing'}. Choose others, or another data center.",
                )

    def _check_room(self) -> None:
        """Refuse a volume that can't hold what is fetched onto it ahead: training and ComfyUI each have a layout."""
        models, fetched_gb = self._base_models, 0.0
        for name, endpoint in self._declared.endpoints.items():
            for model in endpoint.prefetched:
                if model not in models:
                    raise InvalidRequest(
                        f"[{name}.environment] PREFETCH_MODELS: there is no base model '{model}'.",
                        f"Choose from {', '.join(models)}.",
                    )
                fetched_gb += models[model].weights.bytes / 1e9
        if fetched_gb > self._declared.volume.size_gb:
            raise InvalidRequest(
                f"The base models to be fetched ahead take about {fetched_gb:.0f} GB, and the volume has "
                f"{self._declared.volume.size_gb} GB ([volume] size_gb).",
                "Raise it, or name fewer in PREFETCH_MODELS.",
            )


def _can_be_had(gpu: Thing, place: str) -> bool:
    """Whether a pool's GPU is offered there, be it all taken just now."""
    return bool(gpu.get("pool")) and any(each["id"] == place for each in gpu.get("dataCenters") or [])


def _changed_fields(found: Thing, body: Thing) -> Thing:
    """Return what an update has to say: only what differs, with what RunPod or somebody else has added kept."""
    changed: Thing = {}
    for field, value in body.items():
        there = found.get(field)
        if field in _NEVER_CHANGED or _is_in(value, there):
            continue
        changed[field] = {**there, **value} if field == "env" and isinstance(there, dict) else value
    return changed


def _is_in(wanted: Any, there: Any) -> bool:
    """Whether what is wanted is there; a table there may hold more."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(_is_in(value, there.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return sorted(wanted) == sorted(there)
    return bool(wanted == there)


def _refuse_the_impossible(wanted: Wanted, found: Thing, body: Thing) -> None:
    if wanted.kind != "network-volumes":
        return
    if found["dataCenter"] != body["dataCenter"]:
        raise InvalidRequest(
            f"The volume '{wanted.name}' is in {found['dataCenter']}, not in {body['dataCenter']}, and can't be moved.",
            "Give the one in deploy.toml another name, or its old data_center.",
        )
    if found["size"] > body["size"]:
        raise InvalidRequest(
            f"The volume '{wanted.name}' has {found['size']} GB and can't shrink to {body['size']} GB.",
            "Raise size_gb in deploy.toml.",
        )


def _described(kind: Kind, body: Thing) -> Iterator[str]:
    # An endpoint says again what its template has said; what is off is as nobody would expect otherwise.
    said = {"name", "type", "templateId", *(("image", "disk", "env") if kind == "serverless" else ())}
    for field, value in body.items():
        if field in said or isinstance(value, bool):
            continue
        yield f"env: {', '.join(value)}" if field == "env" else f"{field}: {_in_units(field, value)}"


def _differences(found: Thing, body: Thing) -> Iterator[str]:
    for field in _changed_fields(found, body):
        there = found.get(field)
        if field != "env":
            yield f"{field}: {_in_units(field, there)} → {_in_units(field, body[field])}"
            continue
        for name, value in body["env"].items():
            if (there or {}).get(name) != value:
                yield f"env {name}: {'another value' if name in (there or {}) else 'not set'} → set"


def _in_units(field: str, value: Any) -> str:
    if field in ("size", "disk") and isinstance(value, int):
        return f"{value} GB"
    if field == "timeout" and isinstance(value, int):
        return f"{value / 3_600_000:g} h a job"
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
