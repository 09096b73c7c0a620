"""Grids: pictures that differ in up to three things, drawn as runs of their own and shown side by side.

A grid is one record, stored before its first cell is asked for and never changed: it names the run of every cell, so
what has become of the grid is what has become of its runs.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from backend.contract import (
    BaseModelSpec,
    GenerationRequest,
    RunId,
    new_id,
    new_run_id,
)
from backend.errors import AtelierError, NotFound
from backend.generation.drawing_pace import drawing_seconds
from backend.generation.generation import Generation
from backend.grids.plan import CellSettings, GridPlan, GridWish, plan_grid
from backend.grids.record import CellState, Grid, GridCell, GridId, GridRecord
from backend.grids.sheet import draw_sheet
from backend.keys import GridKeys, grid_prefix
from backend.loras.loras import Loras
from backend.runs.runs import Runs
from backend.storage import Storage
from backend.training.estimate import Estimates

_LISTED = 60
_SEEDS = 10**10
_TITLE = 120  # characters
_RECENT = 30  # runs an estimate goes by
_WATCHED = 16  # cells whose job is asked after at a time: a worker takes them in order
_SENDING_S = 60.0  # a cell that isn't a run yet is taken to be on its way
_SHEETS_AT_ONCE = 2


class Outlook(NamedTuple):
    """What a grid would take."""

    plan: GridPlan
    seconds: float | None  # on one worker; None when there is nothing to go by
    dollars: float | None


class Grids:
    """Plans, starts, shows and deletes grids."""

    def __init__(
        self,
        storage: Storage,
        runs: Runs,
        generation: Generation,
        loras: Loras,
        estimates: Estimates,
        base_models: dict[str, BaseModelSpec],
    ) -> None:
        self._bucket = storage.outputs
        self._runs = runs
        self._generation = generation
        self._loras = loras
        self._estimates = estimates
        self._base_models = base_models
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="grids")
        self._sheets = threading.Semaphore(_SHEETS_AT_ONCE)

    def close(self) -> None:
        """Stop asking for cells."""
        self._pool.shutdown(wait=False)

    def outlook(self, owner: str, wish: GridWish) -> Outlook:
        """Return what would be drawn, how long it would take and at what price. Raises InvalidRequest and NotFound."""
        spec, plan, requests = self._prepared(owner, wish)
        wanted = [request.settings_for(spec) for request in requests]
        seconds = drawing_seconds(self._runs.list(owner, "image", limit=_RECENT), spec, wanted)
        return Outlook(plan, seconds, None if seconds is None else self._estimates.price_of(seconds))

    def start(self, owner: str, wish: GridWish) -> GridId:
        """Store a grid, then ask for its cells. One that can't be asked for can be asked for again later.

        Raises InvalidRequest, NotFound and LimitReached before anything is stored, and what went wrong when no cell
        could be sent.
        """
        spec, plan, requests = self._prepared(owner, wish)
        self._runs.check_together(requests)
        size = requests[0].settings_for(spec)
        record = GridRecord(
            id=new_id(),
            owner=owner,
            title=plan.cells[0].prompt[:_TITLE],
            base_model=spec.id,
            width=size.width,
            height=size.height,
            axes=plan.axes,
            cells=[GridCell(**cell.model_dump(), run_id=new_run_id("image")) for cell in plan.cells],
            places=plan.places,
            wish=wish,
        )
        self._bucket.put_message(GridKeys(owner, record.id).record, record)
        errors = [error for error in self._pool.map(lambda cell: self._send(record, cell), record.cells) if error]
        if len(errors) == len(record.cells):
            self._bucket.delete([GridKeys(owner, record.id).record])
            raise errors[0]
        return record.id

    def recent(self, owner: str) -> list[GridRecord]:
        """Return the owner's newest grids, newest first."""
        keys = [stored.key for stored in self._bucket.list_page(grid_prefix(owner), limit=_LISTED)]
        found = self._pool.map(lambda key: self._bucket.find_message(key, GridRecord), keys)
        return [record for record in found if record]

    def open(self, owner: str, grid_id: GridId) -> Grid:
        """Return a grid as it is now. Raises NotFound."""
        record = self._record(owner, grid_id)
        run_id = next((axis.run_id for axis in record.axes if axis.run_id), None)
        return Grid(record, list(self._cells(record)), self._loras.made_of(owner, run_id) if run_id else {})

    def cancel(self, owner: str, grid_id: GridId) -> None:
        """Ask for every cell to be stopped that is at work or waits. What waits longest goes last."""
        record = self._record(owner, grid_id)
        states = self._runs.states(owner, [cell.run_id for cell in record.cells])
        self._runs.cancel_all(owner, [state.run_id for state in reversed(states) if state and not state.ended])

    def retry(self, owner: str, grid_id: GridId, run_id: RunId | None = None) -> None:
        """Draw again what ended without a picture: one cell, or all of them."""
        record = self._record(owner, grid_id)
        wanted = [cell for cell in record.cells if run_id in (None, cell.run_id)]
        if not wanted:
            raise NotFound("There is no such cell in this grid.", "Reload the page.")
        states = self._runs.states(owner, [cell.run_id for cell in wanted])
        for cell, state in zip(wanted, states, strict=True):
            if state:
                self._runs.retry(owner, cell.run_id)
            elif error := self._send(record, cell):
                raise error

    def delete(self, owner: str, grid_id: GridId) -> None:
        """Delete a grid, and stop what of it is still drawn. Its finished pictures stay in the gallery."""
        self.cancel(owner, grid_id)
        self._bucket.delete([GridKeys(owner, grid_id).record])

    def sheet(self, owner: str, grid_id: GridId, number: int) -> tuple[str, bytes]:
        """Return a file name, and one sheet of a grid with its labels as a PNG. Cells without a picture stay empty."""
        grid = self.open(owner, grid_id)
        across, down, sheets = grid.record.lengths
        if not 0 <= number < sheets:
            raise NotFound(f"This grid has {sheets} sheets.", "Reload the page.")
        spec = self._base_models.get(grid.record.base_model)
        labels = [axis.labels for axis in grid.record.axes]
        title = f"{grid.record.title} · {labels[2][number]}" if sheets > 1 else grid.record.title
        shown = grid.record.places[number * across * down : (number + 1) * across * down]
        with self._sheets:
            sheet = draw_sheet(
                title=title,
                about=grid.record.about(spec.name if spec else grid.record.base_model),
                columns=labels[0],
                rows=labels[1] if len(labels) > 1 else [""],
                shape=(grid.record.width, grid.record.height),
                cells=[self._picture(grid.cells[index]) for index in shown],
            )
        return f"grid-{grid_id[-8:]}{f'-{number + 1}' if sheets > 1 else ''}.png", sheet

    # -------------------------------------------------------------------------------- cells

    def _prepared(self, owner: str, wish: GridWish) -> tuple[BaseModelSpec, GridPlan, list[GenerationRequest]]:
        """Return the plan, and what would be asked for each of its cells: whatever can't be is refused here."""
        spec = self._spec(wish.base_model)
        plan = plan_grid(wish, owner, spec, self._loras, secrets.randbelow(_SEEDS))
        requests = [self._generation.request_for(owner, spec.id, **_wishes(cell, wish)) for cell in plan.cells]
        return spec, plan, requests

    def _spec(self, base_model: str) -> BaseModelSpec:
        if spec := self._base_models.get(base_model):
            return spec
        raise NotFound(
            f"There is no base model '{base_model[:64]}'.", f"Choose one of: {', '.join(self._base_models)}."
        )

    def _record(self, owner: str, grid_id: GridId) -> GridRecord:
        if record := self._bucket.find_message(GridKeys(owner, grid_id).record, GridRecord):
            return record
        raise NotFound("This grid no longer exists.", "It may have been deleted, or belong to somebody else.")

    def _send(self, record: GridRecord, cell: GridCell) -> AtelierError | None:
        """Ask for a cell; return why it could not be."""
        wishes = cell.model_dump(exclude={"run_id"}) | {"width": record.width, "height": record.height, "count": 1}
        wishes["grid_id"] = record.id
        try:
            self._generation.start(record.owner, record.base_model, run_id=cell.run_id, **wishes)
        except AtelierError as error:
            return error
        return None

    def _cells(self, record: GridRecord) -> Iterator[CellState]:
        """Yield what has become of each cell. Behind `_WATCHED` that go on, the others are taken to wait."""
        going = 0
        on_its_way = time.time() - record.created_at < _SENDING_S
        for first in range(0, len(record.cells), _WATCHED):
            some = record.cells[first : first + _WATCHED]
            if going >= _WATCHED:
                yield from (CellState("queued", None) for _ in some)
                continue
            for state in self._runs.states(record.owner, [cell.run_id for cell in some]):
                going += bool(state and not state.ended)
                yield CellState(state.status, state) if state else CellState("queued" if on_its_way else "lost", None)

    def _picture(self, cell: CellState) -> bytes | None:
        if cell.run is None or cell.run.generation is None:
            return None
        try:
            return self._bucket.get(cell.run.generation.images[0].key)
        except NotFound:
            return None  # deleted in the gallery


def _wishes(cell: CellSettings, wish: GridWish) -> dict[str, Any]:
    return cell.model_dump() | {"width": wish.width, "height": wish.height, "count": 1}
