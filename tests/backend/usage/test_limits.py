"""Who may start and store more, and what the ledger says was used: real storage, a scripted RunPod."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from pydantic import SecretStr

from backend.contract import (
    GeneratedImage,
    GenerationRequest,
    GenerationResult,
    JobFailure,
    PhaseTime,
    Progress,
    TrainingRequest,
    TrainingResult,
    new_run_id,
)
from backend.datasets.datasets import Datasets
from backend.datasets.intake import Upload
from backend.errors import LimitReached
from backend.keys import RunKeys, ledger_prefix
from backend.pictures import Limits
from backend.runs.runpod_client import Endpoint
from backend.runs.runs import Runs
from backend.settings import Settings
from backend.storage import Storage
from backend.usage.caps import CapTable
from backend.usage.ledger import Entry, Ledger, month_of
from backend.usage.limits import Spent, UsageLimits
from backend.usage.spending_watch import SpendingWatch
from backend.usage.storage_use import StorageUse
from tests.backend.runpod_server import RunPodServer

Start = Callable[..., "App"]
DOLLAR_AN_HOUR = 1.0


@pytest.fixture
def runpod() -> Iterator[RunPodServer]:
    server = RunPodServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def fresh_ledger(storage: Storage) -> None:
    """What is used in all is everybody's: tests before have left theirs."""
    storage.loras.delete([each.key for each in storage.loras.list_all(ledger_prefix(month_of(time.time())))])


class App(NamedTuple):
    """A studio that pays for its GPU, which one with everything on this computer does not."""

    runs: Runs
    usage: UsageLimits
    spending_watch: SpendingWatch
    datasets: Datasets


@pytest.fixture
def start(storage: Storage, runpod: RunPodServer) -> Iterator[Start]:
    """Start studios, each with limits of its own."""
    apps: list[App] = []
    reached = Settings(
        runpod_base_url=f"http://127.0.0.1:{runpod.http.server_port}/v2", runpod_api_key=SecretStr("key")
    )

    def begin(**caps: Any) -> App:
        limits = {name if name == "public" else f"atelier_max_{name}": value for name, value in caps.items()}
        table = CapTable.of(Settings.model_validate(limits))
        usage = UsageLimits(table, Ledger(storage.loras, DOLLAR_AN_HOUR), StorageUse(storage))
        runs = Runs(
            storage, {"train": Endpoint(reached, "t", "training"), "image": Endpoint(reached, "i", "image")}, usage
        )
        apps.append(
            App(runs, usage, SpendingWatch(runs, usage), Datasets(storage, Limits(20, 2**20, 2**24, 10**6), usage))
        )
        return apps[-1]

    yield begin
    for app in apps:
        app.runs.close()
        app.usage.close()


def training(owner: str, **wishes: Any) -> TrainingRequest:
    """One whose base model says nothing of how long it takes: an hour is expected, a dollar."""
    made = {"run_id": new_run_id("train"), "owner": owner, "lora_name": "Zorbot", "dataset_key": "x/y"}
    return TrainingRequest.model_validate(made | {"base_model": "tiny-flux"} | wishes)


def picture(owner: str, count: int = 1) -> GenerationRequest:
    run_id = new_run_id("image")
    return GenerationRequest(run_id=run_id, owner=owner, prompt="a cat", base_model="tiny-flux", count=count)


def keys_of(request: TrainingRequest | GenerationRequest) -> RunKeys:
    return RunKeys(request.owner, str(request.run_id))


def done(storage: Storage, request: TrainingRequest, seconds: float, attempt: int = 1) -> None:
    phases = [PhaseTime(phase="queued", seconds=900), PhaseTime(phase="training", seconds=seconds)]
    ended = TrainingResult(
        run_id=str(request.run_id), attempt=attempt, lora_key="loras/x/y/z.safetensors", sha256="0" * 64, bytes=1,
        steps=300, seconds=seconds, phases=phases, checkpoints=[], samples=[],
    )  # fmt: skip
    storage.loras.put_message(keys_of(request).result, ended)


def drawn(storage: Storage, request: GenerationRequest, seconds: float = 36) -> None:
    image = GeneratedImage(key="a/b", url="https://x", thumb_key="a/c", width=64, height=64, seed=1)
    phases = [PhaseTime(phase="generating", seconds=seconds)]
    images = [image] * (request.count or 1)
    ended = GenerationResult(run_id=str(request.run_id), images=images, seconds=seconds, phases=phases)
    storage.loras.put_message(keys_of(request).result, ended)


def at_work(storage: Storage, request: TrainingRequest, seconds: float) -> None:
    phases = [PhaseTime(phase="training", seconds=seconds)]
    said = Progress(
        run_id=str(request.run_id), attempt=1, seq=1, updated_at=time.time(), phase="training", phases=phases, step=7
    )
    storage.loras.put_message(keys_of(request).progress, said)


def entries(storage: Storage, owner: str) -> list[Entry]:
    listed = storage.loras.list_all(ledger_prefix(month_of(time.time()), owner))
    return [storage.loras.get_message(each.key, Entry) for each in listed]


def test_without_limits_everything_is_written_down_and_nothing_refused(
    start: Start, storage: Storage, owner: str
) -> None:
    studio = start()
    for _ in range(3):
        studio.runs.submit(picture(owner, count=8))
    assert [(each.settled, each.pictures) for each in entries(storage, owner)] == [(False, 8)] * 3


def test_a_run_costs_its_estimate_until_it_has_ended(start: Start, storage: Storage, owner: str) -> None:
    studio, request = start(), training(owner)
    studio.runs.submit(request)
    assert Spent.of(studio.usage.entries(owner)).dollars_today == DOLLAR_AN_HOUR
    done(storage, request, seconds=900)
    studio.runs.settle()
    spent = Spent.of(studio.usage.entries(owner))
    assert (spent.running_jobs, spent.dollars_today, spent.gpu_seconds_this_month) == (0, 0.25, 900)


def test_a_second_attempt_pays_only_for_itself(start: Start, storage: Storage, owner: str) -> None:
    studio, request = start(), training(owner)
    studio.runs.submit(request)
    phases = [PhaseTime(phase="training", seconds=600)]
    broken = JobFailure(run_id=str(request.run_id), attempt=1, kind="engine", message="x", phases=phases)
    storage.loras.put_message(keys_of(request).failure, broken)
    studio.runs.retry(owner, str(request.run_id))
    done(storage, request, seconds=1000, attempt=2)
    studio.runs.settle()
    assert [(each.attempt, each.seconds) for each in entries(storage, owner)] == [(1, 600), (2, 400)]


def test_a_deleted_run_stays_in_the_ledger(start: Start, storage: Storage, owner: str) -> None:
    studio, request = start(), training(owner)
    studio.runs.submit(request)
    done(storage, request, seconds=360)
    studio.runs.delete(owner, str(request.run_id))
    assert [(each.settled, each.dollars) for each in entries(storage, owner)] == [(True, 0.1)]


def test_runs_under_way_are_counted(start: Start, storage: Storage, owner: str) -> None:
    studio, first = start(running_jobs=1), picture(owner)
    studio.runs.submit(first)
    with pytest.raises(LimitReached, match=r"You have 1 of 1 runs under way\. Wait for one to end"):
        studio.runs.submit(picture(owner))
    studio.runs.submit(picture(f"{owner}-2"))
    drawn(storage, first)
    studio.runs.submit(picture(owner))


def test_what_is_refused_leaves_nothing_behind(
    start: Start, storage: Storage, owner: str, runpod: RunPodServer
) -> None:
    studio, refused = start(pictures_a_day=3), picture(owner, count=4)
    with pytest.raises(LimitReached):
        studio.runs.submit(refused)
    assert (entries(storage, owner), storage.loras.exists(keys_of(refused).request), runpod.jobs) == ([], False, {})


def test_pictures_are_counted_by_the_day(start: Start, storage: Storage, owner: str) -> None:
    studio = start(pictures_a_day=6)
    studio.runs.submit(picture(owner, count=4))
    with pytest.raises(
        LimitReached, match=r"used 4 of 6 pictures today; this would make 4\. It frees up in .* UTC"
    ) as no:
        studio.runs.submit(picture(owner, count=4))
    assert "Up to 2 can be made before" in no.value.hint
    studio.runs.submit(picture(owner, count=2))
    old = studio.usage.ledger.expect(picture(owner, count=8)).model_copy(update={"opened_at": time.time() - 86_400})
    studio.usage.ledger.open(old)
    assert Spent.of(studio.usage.entries(owner)).pictures_today == 6


@pytest.mark.parametrize(("cap", "when"), [("dollars_a_day", "today"), ("dollars_a_month", "this month")])
def test_dollars_are_counted_with_what_runs_at_its_estimate(start: Start, owner: str, cap: str, when: str) -> None:
    studio = start(**{cap: 1.5})
    studio.runs.submit(training(owner))
    with pytest.raises(LimitReached, match=rf"used \$1\.00 of \$1\.50 {when}; this would take about \$1\.00 more"):
        studio.runs.submit(training(owner))


def test_a_job_is_given_no_more_time_than_there_is_money(start: Start, owner: str, runpod: RunPodServer) -> None:
    start(dollars_a_day=1.5).runs.submit(training(owner))
    assert runpod.policies == [{"executionTimeout": 5400 * 1000, "ttl": 3 * 24 * 3600 * 1000}]


def test_everybody_together_is_counted_too(start: Start, owner: str) -> None:
    studio = start(running_jobs_in_all=2)
    studio.runs.submit(picture(f"{owner}-1"))
    studio.runs.submit(picture(f"{owner}-2"))
    with pytest.raises(LimitReached, match="This studio has 2 of 2 runs under way"):
        studio.runs.submit(picture(f"{owner}-3"))


def test_another_app_counts_the_same_and_a_restart_forgets_nothing(start: Start, owner: str) -> None:
    start(pictures_a_day=6).runs.submit(picture(owner, count=4))
    with pytest.raises(LimitReached, match="used 4 of 6 pictures"):
        start(pictures_a_day=6).runs.submit(picture(owner, count=4))


def test_two_apps_at_once_never_let_in_one_too_many(start: Start, owner: str) -> None:
    apps = [start(pictures_a_day=5), start(pictures_a_day=5)]

    def press(number: int) -> bool:
        try:
            apps[number % 2].runs.submit(picture(owner))
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        started = sum(pool.map(press, range(16)))
    assert started <= 5
    assert Spent.of(apps[0].usage.entries(owner)).pictures_today == started


def test_visitors_have_limits_without_anybody_setting_them(start: Start, owner: str) -> None:
    studio, visitor = start(public=True), f"visitor-{owner}"
    for _ in range(3):
        studio.runs.submit(picture(visitor))
    with pytest.raises(LimitReached, match="You have 3 of 3 runs"):
        studio.runs.submit(picture(visitor))
    studio.runs.submit(picture(f"hf-{owner}"))
    assert studio.usage.caps.in_all.dollars_a_day == 10
    assert start(public=True, dollars_a_day_in_all=0).usage.caps.in_all.dollars_a_day is None


def test_a_run_that_passes_the_cap_is_stopped_and_says_why(
    start: Start, storage: Storage, owner: str, runpod: RunPodServer
) -> None:
    studio, request, harmless = start(dollars_a_day=1.0), training(owner), training(f"{owner}-2")
    studio.runs.submit(request)
    studio.runs.submit(harmless)
    runpod.jobs["job1"]["status"] = runpod.jobs["job2"]["status"] = "IN_PROGRESS"
    at_work(storage, request, seconds=1800)
    studio.spending_watch.look()
    assert runpod.cancelled == []
    at_work(storage, request, seconds=3700)
    studio.spending_watch.look()
    assert runpod.cancelled == ["job1"]
    runpod.jobs["job1"]["status"] = "CANCELLED"
    ended = JobFailure(run_id=str(request.run_id), attempt=1, kind="cancelled", message="Cancelled.", step=7)
    storage.loras.put_message(keys_of(request).failure, ended)
    state = start().runs.state(owner, str(request.run_id))
    assert state.failure
    assert (state.status, state.failure.step) == ("cancelled", 7)
    assert state.failure.message == "Stopped: you have used $1.03 of $1.00 today."


def test_a_grid_is_one_run_under_way_and_each_cell_a_picture(start: Start, owner: str) -> None:
    studio = start(running_jobs=1, pictures_a_day=9)

    def draw(grid_id: str) -> None:
        studio.runs.submit(picture(owner).model_copy(update={"grid_id": grid_id}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(draw, ["8204017455447-becd470c"] * 8))
    used = Spent.of(studio.usage.entries(owner))
    assert (used.running_jobs, used.pictures_today) == (1, 8)
    with pytest.raises(LimitReached, match="You have 1 of 1 runs under way"):
        draw("8204017455447-00000000")
    draw("8204017455447-becd470c")
    with pytest.raises(LimitReached, match="used 9 of 9 pictures"):
        draw("8204017455447-becd470c")


def test_what_is_asked_for_together_is_refused_together(start: Start, owner: str) -> None:
    studio = start(pictures_a_day=9)
    studio.runs.submit(picture(owner, count=4))
    studio.runs.check_together([picture(owner)] * 5)
    with pytest.raises(LimitReached, match=r"used 4 of 9 pictures today; this would make 6\. .*Up to 5"):
        studio.runs.check_together([picture(owner)] * 6)
    assert Spent.of(studio.usage.entries(owner)).pictures_today == 4


@pytest.mark.parametrize(("asked", "taken"), [(None, 10), (30, 10), (3, 3)])
def test_a_training_takes_no_longer_than_one_may(
    start: Start, owner: str, runpod: RunPodServer, asked: float | None, taken: float
) -> None:
    studio, request = start(training_minutes=10), training(owner, max_minutes=asked)
    studio.runs.submit(request)
    assert studio.runs.state(owner, str(request.run_id)).request.max_minutes == taken
    assert runpod.policies[-1]["executionTimeout"] == (taken + 10) * 60_000
    assert start(training_minutes=10).usage.caps.visitor.training_minutes == 10
    assert start().usage.caps.visitor.training_minutes == 60


def test_a_run_that_cannot_be_stopped_keeps_no_other_going(
    start: Start, storage: Storage, owner: str, runpod: RunPodServer
) -> None:
    studio, requests = start(dollars_a_day=2.0), [training(owner), training(owner)]
    for request in requests:
        studio.runs.submit(request)
    runpod.jobs["job1"]["status"] = runpod.jobs["job2"]["status"] = "IN_PROGRESS"
    for request in requests:
        at_work(storage, request, seconds=3700)
    for kept, stopped in (("job1", "job2"), ("job2", "job1")):
        runpod.keeps, runpod.cancelled = {kept}, []
        studio.spending_watch.look()
        assert runpod.cancelled == [stopped]


def test_storage_is_counted_and_bounded(start: Start, storage: Storage, owner: str) -> None:
    storage.loras.put(f"datasets/{owner}/x/picture.png", bytes(2**20))
    storage.outputs.put(f"images/{owner}/x.png", bytes(2**20))
    studio = start(storage_gb=3 / 1024)
    studio.usage.check_storage(owner, 2**19)
    studio.usage.note_stored(owner, 2**19)
    with pytest.raises(LimitReached, match=r"Your things take 0\.00 of 0\.00 GB\. Delete some"):
        studio.usage.check_storage(owner, 2**20)
    with pytest.raises(LimitReached, match="take 2 of 2 files"):
        start(files=2).usage.check_storage(owner, 1)
    everybody = studio.usage.stock_of_everybody()
    assert everybody
    assert everybody[owner].bytes == 2 * 2**20
    studio.usage.note_stored(owner, 2**19)
    everybody = studio.usage.stock_of_everybody()
    assert everybody
    assert everybody[owner].bytes == 2 * 2**20 + 2**19


def test_a_full_store_takes_neither_uploads_nor_runs(start: Start, storage: Storage, owner: str) -> None:
    storage.outputs.put(f"images/{owner}/x.png", bytes(2**20))
    studio = start(storage_gb=1 / 1024)
    with pytest.raises(LimitReached, match="Your things take"):
        studio.runs.submit(picture(owner))
    sample = studio.datasets.sample(owner)
    with pytest.raises(LimitReached, match="Your things take"):
        studio.datasets.duplicate(owner, sample.id)
    with pytest.raises(LimitReached, match="Your things take"):
        studio.datasets.create(owner, "one more")


def test_copies_count_as_soon_as_they_are_made(start: Start, owner: str) -> None:
    studio = start(files=1000)
    sample = studio.datasets.sample(owner)
    before = studio.usage.stock_of(owner)
    studio.datasets.duplicate(owner, sample.id)
    after = studio.usage.stock_of(owner)
    assert after.files - before.files == len(sample.images)
    assert after.bytes - before.bytes == sum(image.bytes for image in sample.images)


def test_a_small_archive_of_large_pictures_is_bounded_too(start: Start, owner: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for shade in range(4):
            picture = io.BytesIO()
            Image.new("RGB", (580, 580), (shade, 0, 0)).save(picture, "PNG", compress_level=0)  # a megabyte
            archive.writestr(f"{shade}.png", picture.getvalue())
    assert (tmp_path / "a.zip").stat().st_size < 2**16
    studio = start(storage_gb=2.5 / 1024)
    dataset = studio.datasets.create(owner, "x")
    intake = studio.datasets.add(owner, dataset.id, Upload("a.zip", tmp_path / "a.zip"))
    assert (intake.added, len(intake.refused)) == (2, 2)
    assert "Your things take" in intake.refused[0].reason
