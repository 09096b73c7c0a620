"""How grids are shown: what can be compared, what it would take, and each grid with its cells as they fill."""

from collections.abc import Iterable

from app.views import PictureView, Problem, View, Views, problem_of, version_of, version_of_run
from backend.grids.grids import Outlook
from backend.grids.plan import AxisWish, GridWish
from backend.grids.record import CellState, Grid, GridRecord
from backend.keys import ImageKeys
from backend.loras.loras import LoraChoice
from backend.runs.makings import Making
from backend.runs.state import RunState, RunStatus

_THUMBS = 4


class ShapeChoice(View):
    name: str
    width: int
    height: int


class BaseModelChoice(View):
    base_model: str
    name: str
    architecture: str
    shapes: list[ShapeChoice]
    steps: int
    guidance: float


class FileChoice(View):
    """A LoRA, or a checkpoint without one."""

    key: str
    name: str
    architecture: str
    trigger_word: str


class TrainingChoice(View):
    run_id: str
    name: str
    architecture: str
    base_model: str
    trigger_word: str
    steps: list[int]
    prompts: list[str]  # of its samples


class GridChoices(View):
    """What can be compared, and the base model to begin with."""

    default_base_model: str
    base_models: list[BaseModelChoice]
    loras: list[FileChoice]
    trainings: list[TrainingChoice]


class OutlookView(View):
    """What a grid would take; None is what isn't known."""

    lengths: list[int]
    cells: int  # pictures to draw; places that show the same one share it
    places: int
    seconds: float | None
    dollars: float | None


class GridRow(View):
    grid_id: str
    title: str
    created_at: float
    axes: list[str]
    cells: int
    thumbs: list[str]  # of the first cells; one that isn't drawn yet isn't there


class GridRows(View):
    grids: list[GridRow]


class CellView(View):
    run_id: str
    status: RunStatus
    step: int
    steps: int
    words: str  # what sets it apart, for who can't see where it is
    picture: PictureView | None
    problem: Problem | None


class CheckpointAxis(View):
    """The checkpoints that a grid compares, and which of them are LoRAs by now; a step of 0 is none of them."""

    at: int  # which axis
    run_id: str
    steps: list[int]
    loras: list[str]


class WishView(View):
    """What a grid was asked for, to ask for another like it."""

    base_model: str
    prompt: str
    lora_key: str | None
    strength: float
    width: int | None
    height: int | None
    seed: str | None  # a browser's numbers are too short for it
    steps: int | None
    guidance: float | None
    axes: list[AxisWish]
    with_none: bool


class GridView(View):
    """A grid: `places` names the cell at each place, along columns, then rows, then sheets."""

    grid_id: str
    version: str
    title: str
    base_model: str
    created_at: float
    width: int
    height: int
    axes: list[str]  # the kind of each
    columns: list[str]
    rows: list[str]
    sheets: list[str]
    places: list[int]
    cells: list[CellView]
    checkpoints: CheckpointAxis | None
    wish: WishView | None


class GridViews(Views):
    """Makes the answers about grids."""

    def choices(self, default_base_model: str, loras: Iterable[LoraChoice], makings: Iterable[Making]) -> GridChoices:
        """Return what can be compared."""
        return GridChoices(
            default_base_model=default_base_model,
            base_models=[
                BaseModelChoice(
                    base_model=spec.id,
                    name=spec.name,
                    architecture=spec.architecture,
                    shapes=[ShapeChoice(**size.model_dump()) for size in spec.sizes],
                    steps=spec.generation.steps,
                    guidance=spec.generation.guidance,
                )
                for spec in self._base_models.values()
            ],
            loras=[
                FileChoice(
                    key=each.key,
                    name=f"{each.name} {each.detail}".strip(),
                    architecture=each.architecture,
                    trigger_word=each.trigger_word,
                )
                for each in loras
            ],
            trainings=[
                TrainingChoice(
                    run_id=making.run_id,
                    name=making.name,
                    architecture=making.spec.architecture,
                    base_model=making.spec.id,
                    trigger_word=making.trigger_word,
                    steps=[checkpoint.step for checkpoint in making.checkpoints],
                    prompts=list(dict.fromkeys(sample.prompt for sample in making.samples)),
                )
                for making in makings
            ],
        )

    def outlook(self, outlook: Outlook) -> OutlookView:
        """Return what a grid would take."""
        return OutlookView(
            lengths=[len(axis.labels) for axis in outlook.plan.axes],
            cells=len(outlook.plan.cells),
            places=len(outlook.plan.places),
            seconds=outlook.seconds,
            dollars=outlook.dollars,
        )

    def rows(self, records: Iterable[GridRecord]) -> GridRows:
        """Return the grids there are."""
        return GridRows(
            grids=[
                GridRow(
                    grid_id=record.id,
                    title=record.title,
                    created_at=record.created_at,
                    axes=[axis.kind for axis in record.axes],
                    cells=len(record.cells),
                    thumbs=[
                        self._media.url("outputs", ImageKeys.of_run(record.owner, cell.run_id, 0).thumb)
                        for cell in record.cells[:_THUMBS]
                    ],
                )
                for record in records
            ]
        )

    def grid(self, grid: Grid) -> GridView:
        """Return a grid as it is now."""
        record = grid.record
        columns, rows, sheets = [*(axis.labels for axis in record.axes), [""], [""]][:3]
        checkpoints = _checkpoints(grid)
        marks = [version_of_run(cell.run) if cell.run else cell.status for cell in grid.cells]
        return GridView(
            grid_id=record.id,
            version=version_of([*marks, str(checkpoints)]),
            title=record.title,
            base_model=self._base_model_name(record.base_model),
            created_at=record.created_at,
            width=record.width,
            height=record.height,
            axes=[axis.kind for axis in record.axes],
            columns=columns,
            rows=rows,
            sheets=sheets,
            places=record.places,
            cells=[self._cell(record, index, cell) for index, cell in enumerate(grid.cells)],
            checkpoints=checkpoints,
            wish=_wish(record.wish) if record.wish else None,
        )

    def _cell(self, record: GridRecord, index: int, cell: CellState) -> CellView:
        progress = cell.run.progress if cell.run and cell.run.status == "running" else None
        return CellView(
            run_id=record.cells[index].run_id,
            status=cell.status,
            step=progress.step if progress else 0,
            steps=progress.steps if progress else 0,
            words=_words(record, index),
            picture=self._drawn(cell.run, record.cells[index].prompt) if cell.run else None,
            problem=problem_of(cell.run) if cell.run else None,
        )

    def _drawn(self, run: RunState, prompt: str) -> PictureView | None:
        if run.generation is None or not run.generation.images:
            return None
        image = run.generation.images[0]
        return PictureView(
            **self._picture(image.key, image.thumb_key, prompt),
            width=image.width,
            height=image.height,
            seed=str(image.seed),
            prompt=prompt,
        )


def _wish(wish: GridWish) -> WishView:
    seed = None if wish.seed is None else str(wish.seed)
    return WishView(**wish.model_dump(exclude={"seed", "axes"}), seed=seed, axes=wish.axes)


def _checkpoints(grid: Grid) -> CheckpointAxis | None:
    for at, axis in enumerate(grid.record.axes):
        if axis.run_id:
            loras = [grid.promoted.get(step, "") for step in axis.steps]
            return CheckpointAxis(at=at, run_id=axis.run_id, steps=axis.steps, loras=loras)
    return None


def _words(record: GridRecord, index: int) -> str:
    """Return the labels of the first place that shows a cell."""
    place = record.places.index(index)
    words = []
    for axis in record.axes:
        place, at = divmod(place, len(axis.labels))
        words.append(axis.labels[at])
    return ", ".join(words)
