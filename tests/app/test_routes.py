import pytest
from starlette.testclient import TestClient

from app.session import LOCAL_OWNER
from backend.contract import FailureKind, JobFailure, new_run_id
from backend.keys import RunKeys
from backend.storage import Storage
from tests.app.conftest import Past


def test_a_training_is_answered_with_all_its_page_shows(browser: TestClient, past: Past) -> None:
    run = browser.get(f"/api/runs/{past.training().run_id}").json()

    assert (run["status"], run["step"], run["steps"]) == ("running", 140, 300)
    assert run["samples"][0]["url"].startswith("/media/loras/runs/")
    assert run["checkpoints"][0]["download"].endswith("?download=Zorbot_000100.safetensors")


def test_what_a_worker_does_just_now_is_said_but_not_what_it_did_in_an_earlier_attempt(
    browser: TestClient, past: Past
) -> None:
    keys = past.training(phase="fetching data", message="Downloading FLUX: 3 of 24 GB", seconds_left=70)
    said = browser.get(f"/api/runs/{keys.run_id}").json()
    assert (said["phase"], said["message"]) == ("fetching data", "Downloading FLUX: 3 of 24 GB")

    again = past.training(wishes={"attempt": 2}, phase="uploading", message="the last checkpoint", seconds_left=70)
    said = browser.get(f"/api/runs/{again.run_id}").json()
    assert (said["phase"], said["message"], said["seconds_left"], said["step"]) == ("", "", None, 140)


@pytest.mark.parametrize(
    ("kind", "at_fault"),
    [("out of memory", True), ("invalid request", True), ("not found", True), ("engine", False), ("weights", False)],
)
def test_a_failure_that_would_come_again_is_told_from_one_that_may_not(
    browser: TestClient, past: Past, storage: Storage, kind: FailureKind, at_fault: bool
) -> None:
    keys = past.training()
    failure = JobFailure(run_id=keys.run_id, attempt=1, kind=kind, message="It broke.")
    storage.loras.put_message(keys.failure, failure)

    assert browser.get(f"/api/runs/{keys.run_id}").json()["settings_at_fault"] is at_fault


def test_a_poll_that_finds_no_change_costs_next_to_nothing(browser: TestClient, past: Past) -> None:
    keys = past.training()
    address = f"/api/runs/{keys.run_id}"
    version = browser.get(address).json()["version"]

    unchanged = browser.get(address, params={"since": version})
    past.progress(keys, seq=2, step=141)
    changed = browser.get(address, params={"since": version})

    assert (unchanged.status_code, unchanged.content) == (204, b"")
    assert changed.json()["step"] == 141


def test_the_list_of_trainings_is_new_when_one_of_them_moves(browser: TestClient, past: Past) -> None:
    keys = past.training()
    before = browser.get("/api/runs?kind=train").json()
    assert browser.get("/api/runs", params={"kind": "train", "since": before["version"]}).status_code == 204

    past.progress(keys, seq=9)

    assert browser.get("/api/runs", params={"kind": "train", "since": before["version"]}).status_code == 200


def test_the_curve_goes_on_where_the_page_has_it(browser: TestClient, past: Past) -> None:
    keys = past.training()
    past.curve(keys, range(500))
    past.curve(keys, range(500, 620))

    whole = browser.get(f"/api/runs/{keys.run_id}/curve").json()
    rest = browser.get(f"/api/runs/{keys.run_id}/curve", params={"after": 560}).json()

    assert whole["steps"] == list(range(620))
    assert rest["steps"] == list(range(500, 620))


def test_the_config_of_a_run_is_plain_text(browser: TestClient, past: Past) -> None:
    keys = past.training()

    config = browser.get(f"/api/runs/{keys.run_id}/config")

    # The model that comes with the studio has none.
    assert config.status_code == 400
    assert "[ai_toolkit]" in config.json()["error"]


def test_a_log_is_plain_text(browser: TestClient, past: Past, storage: Storage) -> None:
    keys = past.training()
    storage.loras.put(keys.log, b"<script>alert(1)</script>\n")

    log = browser.get(f"/api/runs/{keys.run_id}/log")

    assert log.headers["content-type"].startswith("text/plain")
    assert browser.get(log.url, headers={"if-none-match": log.headers["etag"]}).status_code == 304
    assert log.headers["x-content-type-options"] == "nosniff"


def test_seeds_keep_every_digit(browser: TestClient, past: Past) -> None:
    keys = past.generation("a zorbot")
    runs = browser.get("/api/generations").json()["runs"]

    assert next(run for run in runs if run["run_id"] == keys.run_id)["seed"] == str(2**63 + 1)


def test_a_grid_is_one_of_the_feed_and_its_cells_are_counted(browser: TestClient, past: Past) -> None:
    grid_id = "8204031921303-393c7a7b"
    cells = [past.generation("a zorbot", grid_id=grid_id).run_id for _ in range(3)]
    press = past.generation("a fox").run_id

    runs = browser.get("/api/generations").json()["runs"]

    # Run ids sort newest first.
    assert [run["run_id"] for run in runs if run["grid_id"] == grid_id] == [min(cells)]
    newest = next(run for run in runs if run["run_id"] == press)
    assert newest["ahead"] >= 3


@pytest.mark.parametrize("run_id", ["train-1", "..", "train-1234567890123-XXXXXXXX", "image-1234567890123-12345678%00"])
def test_an_impossible_run_is_not_found_in_words(browser: TestClient, run_id: str) -> None:
    reply = browser.get(f"/api/runs/{run_id}")

    assert reply.status_code == 404
    if run_id != "..":  # the client itself resolves that one
        assert reply.json() == {"error": "There is no such run. Check the address, or reload the page."}


def test_a_run_that_never_was_is_not_found(browser: TestClient) -> None:
    assert browser.get(f"/api/runs/{new_run_id('train')}").status_code == 404


def test_checkpoints_of_a_training_can_be_chosen_while_it_goes_on(browser: TestClient, past: Past) -> None:
    keys = past.training("Fresh")

    cards = browser.get("/api/loras").json()["loras"]

    card = next(card for card in cards if card["key"] == keys.checkpoint("zorbot", 100))
    assert (card["name"], card["detail"], card["architecture"]) == ("Fresh", "step 100", "flux-tiny")


class TestMedia:
    def test_a_picture_may_be_kept_for_ever_and_is_nothing_but_a_picture(self, browser: TestClient, past: Past) -> None:
        reply = browser.get(f"/media/outputs/{past.picture().key}")

        assert reply.content.startswith(b"a picture of forty bytes")
        assert reply.headers["content-type"] == "image/png"
        assert "immutable" in reply.headers["cache-control"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in reply.headers["content-security-policy"]
        assert "content-disposition" not in reply.headers

    def test_a_part_of_it_can_be_asked_for(self, browser: TestClient, past: Past) -> None:
        address = f"/media/outputs/{past.picture().key}"

        part = browser.get(address, headers={"range": "bytes=2-8"})
        rest = browser.get(address, headers={"range": "bytes=38-"})
        beyond = browser.get(address, headers={"range": "bytes=4000-"})

        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"picture", "bytes 2-8/40")
        assert (rest.status_code, rest.content) == (206, b"..")
        assert beyond.status_code == 416

    def test_head_tells_the_length_alone(self, browser: TestClient, past: Past) -> None:
        reply = browser.head(f"/media/outputs/{past.picture().key}")

        assert (reply.headers["content-length"], reply.content) == ("40", b"")

    def test_it_is_not_sent_twice(self, browser: TestClient, past: Past) -> None:
        address = f"/media/outputs/{past.picture().key}"
        etag = browser.get(address).headers["etag"]

        assert browser.get(address, headers={"if-none-match": etag}).status_code == 304

    def test_a_download_carries_its_name(self, browser: TestClient, past: Past) -> None:
        reply = browser.get(f"/media/outputs/{past.picture().key}", params={"download": 'zörbot "x"\r\n.png'})

        assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''z%C3%B6rbot%20%22x%22%0D%0A.png"

    @pytest.mark.parametrize(
        "address",
        [
            "outputs/images/somebody-else/8204527280935-41f35a41-0.png",
            "outputs/records/local/8204527280935-41f35a41-0.json",
            "loras/runs/local/train-8204527280935-41f35a41/request.json",
            "loras/runs/local/../../loras/somebody-else/x.png",
            "loras/loras/local/%00.png",
            "loras/jobs/x.txt",
            "secrets/images/local/x.png",
        ],
    )
    def test_what_is_not_ones_own_or_not_for_showing_is_not_there(self, browser: TestClient, address: str) -> None:
        assert browser.get(f"/media/{address}").status_code == 404


class TestOtherSites:
    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},  # whatever else runs on this computer
            {"sec-fetch-site": "", "origin": "https://evil.example"},
            {"sec-fetch-site": "", "origin": "null"},
        ],
    )
    def test_another_sites_page_can_change_nothing(
        self, browser: TestClient, past: Past, headers: dict[str, str]
    ) -> None:
        record = past.picture()

        reply = browser.post("/api/gallery/delete", headers=headers)

        assert reply.status_code == 403
        assert "another site" in reply.json()["error"]
        assert browser.get(f"/api/gallery/{record.id}").status_code == 200

    def test_a_program_may(self, browser: TestClient, past: Past) -> None:
        record = past.picture()

        told = {"image_ids": [record.id]}
        assert browser.post("/api/gallery/delete", json=told, headers={"sec-fetch-site": ""}).status_code == 204

    def test_changes_are_posts(self, browser: TestClient, past: Past) -> None:
        assert browser.get(f"/api/runs/{past.training().run_id}/cancel").status_code == 405


def test_the_health_check_asks_nobody(browser: TestClient) -> None:
    assert browser.get("/healthz").json() == {"ok": True}


def test_sample_pictures_are_there_and_nothing_else_is(browser: TestClient) -> None:
    assert browser.get("/sample/00.png").headers["content-type"] == "image/png"
    assert browser.get("/sample/00.txt").status_code == 404
    assert browser.get("/sample/..%2fbase_models%2fx.png").status_code == 404


def test_what_does_not_answer_is_said_in_a_sentence(browser: TestClient, past: Past, storage: Storage) -> None:
    keys = past.training()
    submission = {"run_id": keys.run_id, "attempt": 1, "job_id": "job", "submitted_at": 1.0}
    storage.loras.put(RunKeys(LOCAL_OWNER, keys.run_id).submission, str(submission).replace("'", '"').encode())

    reply = browser.get(f"/api/runs/{keys.run_id}")
    storage.loras.delete([keys.submission])

    assert reply.status_code == 200
    assert reply.json()["unsure"].startswith("The training endpoint is not responding (ConnectError).")
    assert "Traceback" not in reply.text
