"""What becomes of a run: storage first, then RunPod, then the last progress; real storage, a scripted RunPod."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from backend.base_models import load_base_models
from backend.contract import (
    Checkpoint,
    GenerationRequest,
    JobFailure,
    Progress,
    RunId,
    Submission,
    TrainingRequest,
    TrainingResult,
    new_run_id,
    reverse_ms,
)
from backend.datasets.datasets import Datasets
from backend.errors import DatasetRejected, InvalidRequest, NotFound, RunPodError
from backend.generation.generation import Generation
from backend.generation.prompt_book import PromptBooks, load_prompt_book
from backend.keys import RunKeys
from backend.pictures import Limits
from backend.runs.memory import Memory
from backend.runs.runpod_client import Endpoint
from backend.runs.runs import Runs
from backend.settings import Settings
from backend.storage import Storage
from backend.training.preflight import Preflight
from backend.training.training import Training
from tests.backend.runpod_server import RunPodServer


@pytest.fixture
def runpod() -> Iterator[RunPodServer]:
    server = RunPodServer()
    yield server
    server.close()


@pytest.fixture
def settings(runpod: RunPodServer) -> Settings:
    url = f"http://127.0.0.1:{runpod.http.server_port}/v2"
    return Settings(runpod_base_url=url, runpod_api_key=SecretStr("key"))


@pytest.fixture
def runs(storage: Storage, settings: Settings) -> Iterator[Runs]:
    runs = Runs(storage, {"train": Endpoint(settings, "t", "training"), "image": Endpoint(settings, "i", "image")})
    yield runs
    runs.close()


@pytest.fixture
def training(owner: str) -> TrainingRequest:
    return TrainingRequest(
        run_id=new_run_id("train"), owner=owner, lora_name="Zorbot", dataset_key="x/y", base_model="tiny-flux"
    )


def progress(run_id: RunId, seconds_ago: float = 0.0) -> Progress:
    return Progress(
        run_id=run_id, attempt=1, seq=3, updated_at=time.time() - seconds_ago, phase="training", phases=[], step=7
    )


def result(run_id: RunId) -> TrainingResult:
    return TrainingResult(
        run_id=run_id,
        lora_key="loras/x/y/z.safetensors",
        sha256="0" * 64,
        bytes=1,
        steps=300,
        seconds=60,
        phases=[],
        checkpoints=[],
        samples=[],
    )


def failure(run_id: RunId, kind: str = "engine") -> JobFailure:
    kept = Checkpoint(step=5, key="a/b", sha256="0" * 64, bytes=1)
    return JobFailure(run_id=run_id, attempt=1, kind=kind, message="It broke.", checkpoints=[kept])


def status_of(runs: Runs, request: TrainingRequest) -> str:
    return runs.state(request.owner, str(request.run_id)).status


def keys_of(request: TrainingRequest) -> RunKeys:
    return RunKeys(request.owner, str(request.run_id))


def test_a_run_goes_from_queued_to_running_to_done(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    runs.submit(training)
    assert status_of(runs, training) == "queued"
    runpod.jobs["job1"]["status"] = "IN_PROGRESS"
    assert status_of(runs, training) == "running"
    storage.loras.put_message(keys_of(training).result, result(str(training.run_id)))
    assert status_of(runs, training) == "done"


def test_a_result_in_storage_outweighs_what_runpod_says(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    runs.submit(training)
    runpod.jobs["job1"]["status"] = "FAILED"
    storage.loras.put_message(keys_of(training).result, result(str(training.run_id)))
    assert status_of(runs, training) == "done"


def test_a_job_that_ended_without_a_word_in_storage_shows_runpods(
    runs: Runs, runpod: RunPodServer, training: TrainingRequest
) -> None:
    runs.submit(training)
    runpod.jobs["job1"] = {"status": "FAILED", "error": "The worker was lost."}
    state = runs.state(training.owner, str(training.run_id))
    assert (state.status, state.failure and state.failure.message) == ("failed", "The worker was lost.")


def forget_at_work(runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest) -> None:
    """Let RunPod forget the job of a run that has just told of its progress."""
    runs.submit(training)
    runpod.jobs.clear()
    storage.loras.put_message(keys_of(training).progress, progress(str(training.run_id)))
    assert status_of(runs, training) == "running"


def test_a_run_whose_job_runpod_has_forgotten_is_cancelled_all_the_same(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    forget_at_work(runs, runpod, storage, training)
    runs.cancel(training.owner, str(training.run_id))
    assert status_of(runs, training) == "cancelling"


def test_a_retry_is_a_new_attempt_that_the_old_failure_does_not_end(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    runs.submit(training)
    storage.loras.put_message(keys_of(training).failure, failure(str(training.run_id)))
    assert status_of(runs, training) == "failed"
    runs.retry(training.owner, str(training.run_id))
    state = runs.state(training.owner, str(training.run_id))
    assert (state.status, state.request.attempt, len(runpod.jobs)) == ("queued", 2, 2)


def test_a_retry_through_another_app_is_seen(settings: Settings, storage: Storage, training: TrainingRequest) -> None:
    runs = Runs(storage, {"train": Endpoint(settings, "t", "training")}, memory=Memory(trusted_s=0))
    runs.submit(training)
    storage.loras.put_message(keys_of(training).failure, failure(str(training.run_id)))
    assert status_of(runs, training) == "failed"
    storage.loras.put_message(keys_of(training).request, training.model_copy(update={"attempt": 2}))
    assert status_of(runs, training) == "queued"


def test_a_run_that_is_done_or_going_on_is_not_retried(
    runs: Runs, runpod: RunPodServer, training: TrainingRequest
) -> None:
    runs.submit(training)
    runs.retry(training.owner, str(training.run_id))
    assert len(runpod.jobs) == 1


def test_cancelling_shows_until_the_worker_has_saved(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    runs.submit(training)
    runpod.jobs["job1"]["status"] = "IN_PROGRESS"
    runs.cancel(training.owner, str(training.run_id))
    assert runpod.cancelled == ["job1"]
    assert status_of(runs, training) == "cancelling"
    runpod.jobs["job1"]["status"] = "CANCELLED"
    storage.loras.put_message(keys_of(training).progress, progress(str(training.run_id)))
    assert status_of(runs, training) == "cancelling"
    storage.loras.put_message(keys_of(training).failure, failure(str(training.run_id), "cancelled"))
    state = runs.state(training.owner, str(training.run_id))
    assert (state.status, state.failure and state.failure.checkpoints[0].step) == ("cancelled", 5)


@pytest.mark.parametrize(("noted", "stopped"), [("", {"job1"}), ("job2", {"job1", "job2"})])
def test_a_job_whose_answer_was_lost_can_be_cancelled(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest, noted: str, stopped: set[str]
) -> None:
    runs.submit(training)
    keys, run_id = keys_of(training), str(training.run_id)
    runpod.jobs |= {"job1": {"status": "IN_PROGRESS"}, "job2": {"status": "IN_QUEUE"}}
    storage.loras.delete([keys.submission])
    if noted:
        submission = Submission(run_id=run_id, attempt=1, job_id=noted, submitted_at=time.time())
        storage.loras.put_message(keys.submission, submission)
    storage.loras.put_message(keys.progress, progress(run_id).model_copy(update={"job_id": "job1"}))
    runs.cancel(training.owner, run_id)
    assert set(runpod.cancelled) == stopped
    assert status_of(runs, training) == "cancelling"


def test_another_studio_sees_that_a_run_is_stopping_and_a_retry_is_not(
    runs: Runs, runpod: RunPodServer, storage: Storage, settings: Settings, training: TrainingRequest
) -> None:
    runs.submit(training)
    runpod.jobs["job1"]["status"] = "IN_PROGRESS"
    runs.cancel(training.owner, str(training.run_id))
    restarted = Runs(storage, {"train": Endpoint(settings, "t", "training")})
    assert status_of(restarted, training) == "cancelling"
    storage.loras.put_message(keys_of(training).failure, failure(str(training.run_id), "cancelled"))
    restarted.retry(training.owner, str(training.run_id))
    runpod.jobs["job2"]["status"] = "IN_PROGRESS"
    assert status_of(restarted, training) == "running"
    restarted.close()


def test_a_run_that_is_started_again_twice_at_once_is_started_once(
    runs: Runs, runpod: RunPodServer, storage: Storage, settings: Settings, training: TrainingRequest
) -> None:
    runs.submit(training)
    run_id = str(training.run_id)
    storage.loras.put_message(keys_of(training).failure, failure(run_id))
    other = Runs(storage, {"train": Endpoint(settings, "t", "training")})
    assert other.state(training.owner, run_id).status == "failed"
    runs.retry(training.owner, run_id)
    other.retry(training.owner, run_id)
    assert len(runpod.jobs) == 2
    assert status_of(other, training) == "queued"
    other.close()


def test_what_is_asked_of_a_training_is_counted_for_its_worker(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    runs.submit(training)
    run_id, keys = str(training.run_id), keys_of(training)
    runpod.jobs["job1"]["status"] = "IN_PROGRESS"
    storage.loras.put_message(keys.progress, progress(run_id))
    with pytest.raises(InvalidRequest, match="can't do that just now"):
        runs.ask(training.owner, run_id, "save")
    storage.loras.put_message(keys.progress, progress(run_id).model_copy(update={"takes_wishes": True}))
    for wish in ("save", "sample", "save"):
        runs.ask(training.owner, run_id, wish)
    asked = storage.loras.get_message(keys.submission, Submission)
    assert (asked.job_id, asked.saves, asked.samplings, asked.cancelled) == ("job1", 2, 1, False)


def test_a_cancelled_job_that_never_began_is_cancelled(
    runs: Runs, runpod: RunPodServer, training: TrainingRequest
) -> None:
    runs.submit(training)
    runpod.jobs["job1"]["status"] = "CANCELLED"
    assert status_of(runs, training) == "cancelled"


def test_a_cancelled_job_that_runpod_has_forgotten_is_cancelled_and_not_lost(
    runs: Runs, runpod: RunPodServer, training: TrainingRequest
) -> None:
    old = training.model_copy(update={"run_id": f"train-{reverse_ms(time.time() - 100)}-0123abcd"})
    runs.submit(old)
    runs.cancel(old.owner, str(old.run_id))
    runpod.jobs.clear()
    state = runs.state(old.owner, str(old.run_id))
    assert (state.status, state.failure and state.failure.message) == ("cancelled", "Cancelled before it began.")


def test_a_forgotten_job_is_judged_by_its_last_progress(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    forget_at_work(runs, runpod, storage, training)
    storage.loras.put_message(keys_of(training).progress, progress(str(training.run_id), seconds_ago=100))
    assert status_of(runs, training) == "lost"


def test_a_crash_between_request_and_submission_is_seen(
    runs: Runs, storage: Storage, training: TrainingRequest
) -> None:
    storage.loras.put_message(keys_of(training).request, training)
    assert status_of(runs, training) == "queued"
    old = training.model_copy(update={"run_id": "train-9999999999000-00000000"})
    storage.loras.put_message(keys_of(old).request, old)
    state = runs.state(old.owner, str(old.run_id))
    assert state.failure and state.failure.message == "The run never reached RunPod."


def test_a_request_that_runpod_refuses_leaves_a_run_that_can_be_retried(
    storage: Storage, training: TrainingRequest
) -> None:
    nowhere = Endpoint(Settings(runpod_base_url="http://127.0.0.1:9/v2"), "t", "training")
    runs = Runs(storage, {"train": nowhere, "image": nowhere})
    with pytest.raises(RunPodError):
        runs.submit(training)
    runs.close()
    assert storage.loras.exists(keys_of(training).request)


def test_the_newest_run_is_listed_first_and_kinds_apart(runs: Runs, training: TrainingRequest) -> None:
    first = training.model_copy(update={"run_id": "train-8000000000002-00000000"})
    second = training.model_copy(update={"run_id": "train-8000000000001-00000000"})
    image = GenerationRequest(run_id=new_run_id("image"), owner=training.owner, prompt="a cat", base_model="tiny-flux")
    for request in (first, second, image):
        runs.submit(request)
    assert [state.run_id for state in runs.list(training.owner, "train")] == [second.run_id, first.run_id]
    assert [state.run_id for state in runs.list(training.owner, "image")] == [image.run_id]


def test_somebody_elses_run_is_not_found(runs: Runs, training: TrainingRequest) -> None:
    runs.submit(training)
    with pytest.raises(NotFound):
        runs.state("somebody-else", str(training.run_id))


# -------------------------------------------------------------------------------------- starting


@pytest.fixture
def datasets(storage: Storage) -> Datasets:
    return Datasets(storage, Limits(20, 2**20, 2**24, 10**6))


@pytest.fixture
def trainer(storage: Storage, runs: Runs, datasets: Datasets, settings: Settings) -> Iterator[Training]:
    preflight = Preflight(storage, Endpoint(settings, "t", "training"), settings, local=True)
    yield Training(storage, runs, datasets, load_base_models(), preflight)
    preflight.close()


def test_a_training_keeps_the_dataset_as_it_was(
    storage: Storage, trainer: Training, datasets: Datasets, owner: str
) -> None:
    dataset = datasets.sample(owner)
    run_id = trainer.start(owner, dataset.id, "tiny-flux", lora_name="Zorbot")
    datasets.set_captions(owner, dataset.id, {dataset.images[0].sha256: "changed"})
    used = storage.loras.get(RunKeys(owner, run_id).dataset).decode()
    assert "changed" not in used
    assert '"a zorbot"' in used


def test_bad_wishes_are_refused_before_anything_is_submitted(
    trainer: Training, datasets: Datasets, runpod: RunPodServer, owner: str
) -> None:
    dataset = datasets.sample(owner)
    with pytest.raises(InvalidRequest, match="'steps' is 0"):
        trainer.start(owner, dataset.id, "tiny-flux", lora_name="Zorbot", steps=0)
    with pytest.raises(NotFound, match="no base model 'flux9'"):
        trainer.start(owner, dataset.id, "flux9", lora_name="Zorbot")
    with pytest.raises(DatasetRejected, match="'Empty' has no pictures"):
        trainer.start(owner, datasets.create(owner, "Empty").id, "tiny-flux", lora_name="Zorbot")
    assert runpod.jobs == {}


def test_nobody_starts_from_a_picture_of_another(
    storage: Storage, runs: Runs, runpod: RunPodServer, owner: str
) -> None:
    generation = Generation(runs, load_base_models(), PromptBooks(storage.loras, load_prompt_book()))
    for key in ("images/eve/1.png", f"images/eve/../{owner}/1.png", f"images/{owner}/../eve/1.png"):
        with pytest.raises(NotFound, match="no picture of yours"):
            generation.start(owner, "tiny-flux", prompt="a cat", init_image=key)
    assert runpod.jobs == {}
    generation.start(owner, "tiny-flux", prompt="a cat", init_image=f"images/{owner}/1.png")
    assert len(runpod.jobs) == 1


def test_a_generation_without_a_seed_is_given_one(storage: Storage, runs: Runs, owner: str) -> None:
    run_id = Generation(runs, load_base_models(), PromptBooks(storage.loras, load_prompt_book())).start(
        owner, "tiny-flux", prompt="a cat"
    )
    request = runs.state(owner, run_id).request
    assert isinstance(request, GenerationRequest)
    assert request.seed is not None


def test_wildcards_are_worked_out_for_each_picture_by_its_seed(storage: Storage, runs: Runs, owner: str) -> None:
    books = PromptBooks(storage.loras, load_prompt_book())
    books.save_list(owner, "fruit", ["apple", "pear", "plum"])
    books.save_style(owner, "Ink", "ink drawing of {prompt}", "{blur|noise}")
    generation = Generation(runs, load_base_models(), books)

    def request_of(**wishes: Any) -> GenerationRequest:
        request = runs.state(owner, generation.start(owner, **wishes)).request
        assert isinstance(request, GenerationRequest)
        return request

    wishes = {"base_model": "sdxl", "prompt": "a {red|green} __fruit__", "styles": ["Ink"], "seed": "5"}
    together = request_of(**wishes, count=3)
    last = request_of(**(wishes | {"seed": "7"}))
    plain = request_of(base_model="tiny-flux", prompt="a cat", styles=["Ink"])

    assert together.prompt == "ink drawing of a {red|green} __fruit__"
    assert together.prompts
    assert len(set(together.prompts)) > 1
    assert not any("{" in prompt or "__" in prompt for prompt in together.prompts)
    assert together.prompts[2] == last.prompt_of(0)
    assert together.negative_prompt in ("blur", "noise")
    assert (plain.prompt, plain.prompts, plain.negative_prompt) == ("ink drawing of a cat", None, "")
    for prompt, why in (("a __nothing__", "no list 'nothing'"), ("{a|b}" + "x" * 3999, "4,004 characters")):
        with pytest.raises(InvalidRequest, match=why):
            generation.start(owner, "tiny-flux", prompt=prompt)


def test_the_submission_names_the_job(storage: Storage, runs: Runs, training: TrainingRequest) -> None:
    runs.submit(training)
    assert storage.loras.get_message(keys_of(training).submission, Submission).job_id == "job1"


# -------------------------------------------------------------------------------------- going on, and going away


def end(storage: Storage, request: TrainingRequest, attempt: int = 1) -> None:
    ended = result(str(request.run_id)).model_copy(update={"attempt": attempt})
    storage.loras.put_message(keys_of(request).result, ended)


def test_a_finished_training_can_be_trained_on(storage: Storage, runs: Runs, training: TrainingRequest) -> None:
    spec = load_base_models()["tiny-flux"]
    runs.submit(training.model_copy(update={"base_model": spec, "steps": 300}))
    with pytest.raises(InvalidRequest, match="has ended"):
        runs.extend(training.owner, str(training.run_id), 100)
    end(storage, training)
    assert status_of(runs, training) == "done"
    runs.extend(training.owner, str(training.run_id), 100)
    state = runs.state(training.owner, str(training.run_id))
    assert isinstance(state.request, TrainingRequest)
    assert (state.status, state.request.attempt, state.request.steps) == ("queued", 2, 400)
    end(storage, training, attempt=2)
    assert status_of(runs, training) == "done"
    with pytest.raises(InvalidRequest, match="the most is 20,000"):
        runs.extend(training.owner, str(training.run_id), 50_000)


def test_a_deleted_run_is_gone_and_its_lora_stays(storage: Storage, runs: Runs, training: TrainingRequest) -> None:
    keys, lora = keys_of(training), f"loras/{training.owner}/{training.run_id}/x.safetensors"
    storage.loras.put(lora, b"x")
    runs.submit(training)
    with pytest.raises(InvalidRequest, match="still going on"):
        runs.delete(training.owner, str(training.run_id))
    end(storage, training)
    runs.delete(training.owner, str(training.run_id))
    assert not list(storage.loras.list_all(keys.prefix))
    assert storage.loras.exists(lora)
    with pytest.raises(NotFound):
        runs.state(training.owner, str(training.run_id))


def test_a_time_limit_reaches_runpod_with_room_to_save(
    runs: Runs, runpod: RunPodServer, training: TrainingRequest
) -> None:
    runs.submit(training.model_copy(update={"max_minutes": 30}))
    runs.submit(training)
    assert [policy["executionTimeout"] for policy in runpod.policies] == [(30 * 60 + 600) * 1000, 24 * 3600 * 1000]


def test_more_presses_than_are_shown_are_counted_and_stopped(
    runs: Runs, runpod: RunPodServer, storage: Storage, owner: str
) -> None:
    generation = Generation(runs, load_base_models(), PromptBooks(storage.loras, load_prompt_book()))
    # The oldest have ended, 3 are at work or wait, and 60 newer ones are what a screen lists.
    for number in range(70):
        run_id = generation.start(owner, "tiny-flux", prompt=f"no. {number}")
        if number < 7:
            ended = failure(run_id).model_copy(update={"kind": "cancelled"})
            storage.loras.put_message(RunKeys(owner, run_id).failure, ended)
    newest = generation.recent(owner)
    assert [state.request.prompt for state in generation.going_behind(newest)] == ["no. 9", "no. 8", "no. 7"]
    generation.cancel_all(owner)
    jobs = [f"job{number + 1}" for number in range(7, 70)]
    assert sorted(runpod.cancelled) == sorted(jobs)
    # Those at work last, or what waits would be begun; eight are asked for at a time, so not in order to the last one.
    assert set(jobs[:3]) < set(runpod.cancelled[-8:])


def test_what_is_stored_is_shown_while_runpod_is_away(
    runs: Runs, runpod: RunPodServer, storage: Storage, training: TrainingRequest
) -> None:
    runs.submit(training)
    storage.loras.put_message(keys_of(training).progress, progress(str(training.run_id)))
    runpod.close()
    state = runs.state(training.owner, str(training.run_id))
    assert (state.status, state.progress and state.progress.step) == ("running", 7)
    assert "training endpoint is not responding" in state.unsure
    storage.loras.put_message(keys_of(training).result, result(str(training.run_id)))
    state = runs.state(training.owner, str(training.run_id))
    assert (state.status, state.unsure) == ("done", "")


def test_a_run_that_is_slow_to_reach_runpod_says_so(runs: Runs, storage: Storage, training: TrainingRequest) -> None:
    early = training.model_copy(update={"run_id": f"train-{reverse_ms(time.time() - 10)}-00000000"})
    storage.loras.put_message(keys_of(early).request, early)
    state = runs.state(early.owner, str(early.run_id))
    assert state.status == "queued"
    assert "RunPod doesn't have this yet" in state.unsure
