"""Generations: from a prompt to a submitted run."""

import secrets
from typing import Any

from pydantic import ValidationError

from backend.contract import BaseModelSpec, GenerationRequest, RunId, explain, new_run_id
from backend.errors import InvalidRequest, NotFound
from backend.runs import Runs, RunState

_SEEDS = 10**10  # drawn seeds are short enough to read and to type
_RECENT = 60  # runs


class Generation:
    """Starts generations."""

    def __init__(self, runs: Runs, base_models: dict[str, BaseModelSpec]) -> None:
        self._runs = runs
        self._base_models = base_models

    def start(self, owner: str, base_model: str, *, run_id: RunId | None = None, **wishes: Any) -> RunId:
        """Make pictures and return the run's id; `run_id` is one that was noted before.

        `wishes` are fields of GenerationRequest. Raises InvalidRequest for one that can't be, naming it.
        """
        return self._runs.submit(self.request_for(owner, base_model, run_id=run_id, **wishes))

    def request_for(
        self, owner: str, base_model: str, *, run_id: RunId | None = None, **wishes: Any
    ) -> GenerationRequest:
        """Return what would be asked of a worker. The seed is drawn here, so that a retry makes the same pictures.

        Raises InvalidRequest for a wish that can't be, naming it.
        """
        if base_model not in self._base_models:
            raise NotFound(f"There is no base model '{base_model}'.", f"Choose one of: {', '.join(self._base_models)}.")
        spec = self._base_models[base_model]
        given = {name: value for name, value in wishes.items() if value is not None}
        fixed = {"run_id": run_id or new_run_id("image"), "owner": owner, "base_model": spec.model_dump()}
        try:
            request = GenerationRequest.model_validate({"seed": secrets.randbelow(_SEEDS)} | given | fixed)
            request.settings_for(spec)
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error
        return request

    def recent(self, owner: str) -> list[RunState]:
        """Return what became of the owner's newest presses, newest first."""
        return self._runs.list(owner, "image", limit=_RECENT)

    def cancel_all(self, owner: str) -> None:
        """Ask for everything to be stopped that is at work or waits. What waits longest goes last."""
        for state in self.recent(owner):
            if not state.ended:
                self._runs.cancel(owner, state.run_id)
