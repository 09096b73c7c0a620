"""Generations: from a prompt to a submitted run."""

import secrets
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from backend.contract import MAX_SEED, BaseModelSpec, GenerationRequest, RunId, explain, new_run_id
from backend.errors import InvalidRequest, NotFound
from backend.generation.prompt_book import PromptBook, PromptBooks
from backend.generation.wildcards import expand, has_wildcards, names_lists
from backend.runs.runs import Runs
from backend.runs.state import RunState

_SEEDS = 10**10  # drawn seeds are short enough to read and to type
_RECENT = 60  # runs


class Generation:
    """Starts generations."""

    def __init__(self, runs: Runs, base_models: dict[str, BaseModelSpec], prompt_books: PromptBooks) -> None:
        self._runs = runs
        self._base_models = base_models
        self._prompt_books = prompt_books

    def start(self, owner: str, base_model: str, **wishes: Any) -> RunId:
        """Make pictures and return the run's id; wishes and errors are those of `request_for`."""
        return self._runs.submit(self.request_for(owner, base_model, **wishes))

    def request_for(
        self,
        owner: str,
        base_model: str,
        *,
        run_id: RunId | None = None,
        styles: Sequence[str] = (),
        **wishes: Any,
    ) -> GenerationRequest:
        """Return what would be asked of a worker. The seed is drawn here, so that a retry makes the same pictures.

        `run_id` is one that was noted before. `wishes` are fields of GenerationRequest. The prompts are written in
        `styles`, and wildcards in them are worked out for each picture by its seed. Raises InvalidRequest for a wish
        that can't be, naming it.
        """
        if base_model not in self._base_models:
            raise NotFound(f"There is no base model '{base_model}'.", f"Choose one of: {', '.join(self._base_models)}.")
        spec = self._base_models[base_model]
        given = {name: value for name, value in wishes.items() if value is not None}
        fixed = {"run_id": run_id or new_run_id("image"), "owner": owner, "base_model": spec.model_dump()}
        try:
            request = GenerationRequest.model_validate({"seed": secrets.randbelow(_SEEDS)} | given | fixed)
            return self._worked_out(request, spec, styles)
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error

    def recent(self, owner: str) -> list[RunState]:
        """Return what became of the owner's newest presses, newest first."""
        return self._runs.list(owner, "image", limit=_RECENT)

    def going_behind(self, states: list[RunState]) -> list[RunState]:
        """Return the presses older than the last of these that are at work or wait; only behind one that waits, too."""
        return self._runs.going_behind(states[-1]) if states and not states[-1].ended else []

    def cancel_all(self, owner: str) -> None:
        """Ask for everything to be stopped that is at work or waits. What waits longest goes last."""
        newest = self.recent(owner)
        going = [state.run_id for state in newest + self.going_behind(newest) if not state.ended]
        self._runs.cancel_all(owner, going)

    def _worked_out(self, request: GenerationRequest, spec: BaseModelSpec, styles: Sequence[str]) -> GenerationRequest:
        """Return the request in its styles, with a prompt for each picture where there are wildcards."""
        count, seed = request.settings_for(spec).count, request.seed or 0
        book = PromptBook()
        if styles or names_lists(request.prompt) or names_lists(request.negative_prompt):
            book = self._prompt_books.of_owner(request.owner)
        prompt, negative_prompt = book.written(request.prompt, request.negative_prompt, styles)
        changed: dict[str, Any] = {"prompt": prompt}
        lists = book.words_by_list
        if has_wildcards(prompt):
            drawn = [expand(prompt, (seed + index) % (MAX_SEED + 1), lists) for index in range(count)]
            changed |= {"prompts": drawn, "count": count}
        if spec.negative_prompt:
            changed["negative_prompt"] = expand(negative_prompt, seed, lists)
        return GenerationRequest.model_validate(request.model_dump() | changed)
