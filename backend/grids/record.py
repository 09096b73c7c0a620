"""What is kept of a grid, and what has become of it."""

from typing import Annotated, NamedTuple

from pydantic import Field

from backend.contract import BaseModelId, LoraId, Message, Owner, RunId, created_at
from backend.grids.plan import Axis, CellSettings, GridWish
from backend.runs.state import RunState, RunStatus

GridId = Annotated[str, Field(pattern=r"^[0-9]{13}-[0-9a-f]{8}$")]


class GridCell(CellSettings):
    """One cell, and the run that draws it."""

    run_id: RunId


class GridRecord(Message):
    """A grid: `grids/<owner>/<id>.json`. `places` is as in a GridPlan."""

    id: GridId
    owner: Owner
    title: str
    base_model: BaseModelId
    width: int
    height: int
    axes: list[Axis]
    cells: list[GridCell]
    places: list[int]
    wish: GridWish | None = None  # as it was asked for

    @property
    def created_at(self) -> float:
        return created_at(self.id)

    @property
    def lengths(self) -> tuple[int, int, int]:
        """How many columns, rows and sheets there are."""
        across, down, sheets = [*(len(axis.labels) for axis in self.axes), 1, 1][:3]
        return across, down, sheets

    def about(self, base_model: str) -> str:
        """Return in a line what all cells have in common."""
        facts = [base_model, f"{self.width} × {self.height}"]
        for name in ("seed", "steps", "guidance"):
            values = {getattr(cell, name) for cell in self.cells}
            if len(values) == 1 and values != {None}:
                facts.append(f"{name} {values.pop()}")
        return " · ".join(facts)


class CellState(NamedTuple):
    """What has become of a cell; without a run it was never asked for, or its run has been deleted."""

    status: RunStatus
    run: RunState | None


class Grid(NamedTuple):
    """A grid, and what has become of each of its cells."""

    record: GridRecord
    cells: list[CellState]
    promoted: dict[int, LoraId]  # which of the checkpoints on an axis are LoRAs by now, by their steps
