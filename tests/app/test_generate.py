from types import SimpleNamespace
from typing import Any

from app.tabs.generate_form import FIELDS, GenerateHandlers, picker_value
from backend.contract import GenerationRequest
from backend.keys import RunKeys
from backend.storage import Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Past, Visit


def event(**data: Any) -> Any:
    return SimpleNamespace(**data)


def fields(updates: tuple[Any, ...]) -> dict[str, Any]:
    """What a handler fills in, by field."""
    return {name: update for name, update in zip(FIELDS, updates, strict=True) if not _is_skip(update)}


def _is_skip(update: Any) -> bool:
    return isinstance(update, dict) and set(update) == {"__type__"}


def test_a_press_is_stored_even_when_nobody_takes_it(quiet_studio: Studio, storage: Storage) -> None:
    wishes = {
        "base_model": BASE_MODEL, "prompt": "a zorbot",
        "loras": [{"key": "loras/local/x.safetensors", "strength": 0.5}],
        "width": 128, "height": 128, "count": 2, "seed": str(2**63 + 1), "steps": 4, "guidance": 2,
        "owner": "mallory",
    }  # fmt: skip

    answer = GenerateHandlers(quiet_studio).start(wishes, Visit())

    assert set(answer) == {"error"}  # nothing listens at RunPod's address
    run_id = storage.loras.list_folders("runs/local/image-")[0]
    request = storage.loras.get_message(RunKeys("local", run_id).request, GenerationRequest)
    assert (request.owner, request.seed, request.loras[0].strength) == ("local", 2**63 + 1, 0.5)


def test_hostile_wishes_are_refused_in_words(quiet_studio: Studio) -> None:
    handlers = GenerateHandlers(quiet_studio)
    for wishes in (
        None, [], {}, {"base_model": 3}, {"base_model": "../x", "prompt": "x"},
        {"base_model": BASE_MODEL, "prompt": ["x"]}, {"base_model": BASE_MODEL, "prompt": "x", "count": 9},
        {"base_model": BASE_MODEL, "prompt": "x", "seed": "12a"}, {"base_model": BASE_MODEL, "prompt": "x", "loras": 1},
        {"base_model": BASE_MODEL, "prompt": "x", "styles": "Ink"},
        {"base_model": BASE_MODEL, "prompt": "x", "styles": [[]]},
        {"base_model": BASE_MODEL, "prompt": "x", "styles": ["no such"]},
        {"base_model": BASE_MODEL, "prompt": 3, "styles": ["Ink"]},
        {"base_model": BASE_MODEL, "prompt": "__x__"},
        {"base_model": BASE_MODEL, "prompt": "x", "prompts": ["y"], "count": 0},
    ):  # fmt: skip
        assert handlers.start(wishes, Visit())["error"].endswith(".")
    elsewhere = Visit(headers={"origin": "https://evil.example", "host": "127.0.0.1:7860"})
    assert "another site" in handlers.start({"base_model": BASE_MODEL, "prompt": "x"}, elsewhere)["error"]


def test_reuse_brings_prompt_seed_and_a_size_that_is_not_among_the_shapes(quiet_studio: Studio, past: Past) -> None:
    record = past.picture()

    form = fields(GenerateHandlers(quiet_studio).reuse(event(image_id=record.id), Visit(), "", BASE_MODEL))

    assert (form["prompt"], form["base_model"], form["count"]) == (record.prompt, BASE_MODEL, 1)
    assert (form["seed"], form["steps"].value, form["guidance"].value) == (str(record.seed), 12, 2.5)
    assert (form["picker"]["loras"], form["message"]["text"], form["start"]["key"]) == ([], "", "")
    assert (form["size"]["width"], form["size"]["height"], len(form["size"]["sizes"])) == (160, 112, 3)


def test_a_picture_that_took_more_than_the_sliders_have_stretches_them(quiet_studio: Studio) -> None:
    pressed = event(settings={"prompt": "x", "steps": 120, "guidance": 15.0})

    form = fields(GenerateHandlers(quiet_studio).reuse(pressed, Visit(), "", BASE_MODEL))

    assert (form["steps"].value, form["steps"].maximum, form["guidance"].maximum) == (120, 120, 15)


def test_a_picture_is_started_from_with_the_words_that_stand_there(quiet_studio: Studio, past: Past) -> None:
    record, pressed = past.picture(), GenerateHandlers(quiet_studio).reuse

    form = fields(pressed(event(image_id=record.id, part="img2img"), Visit(), "a cat", BASE_MODEL))
    elsewhere = fields(pressed(event(image_id=record.id, part="img2img"), Visit(), "", "sdxl"))

    assert (form["prompt"], elsewhere["prompt"]) == ("a cat", record.prompt)
    assert (form["start"]["key"], form["start"]["denoise"]) == (record.key, 0.6)
    assert form["start"]["url"].startswith("/media/outputs/thumbs/")
    assert (
        form["size"] | {"sizes": []} == elsewhere["size"] | {"sizes": []} == {"sizes": [], "width": 160, "height": 112}
    )
    assert "seed" not in form


def test_a_picture_that_was_started_from_another_brings_that_one(
    quiet_studio: Studio, past: Past, storage: Storage
) -> None:
    first = past.picture()
    second = past.picture(init_image=first.key, denoise=0.35)
    orphan = past.picture(init_image="images/local/gone.png", denoise=0.35)
    stolen = past.picture(init_image="images/mallory/secret.png", denoise=0.35)
    reuse = GenerateHandlers(quiet_studio).reuse

    form = fields(reuse(event(image_id=second.id), Visit(), "", BASE_MODEL))
    lost = fields(reuse(event(image_id=orphan.id), Visit(), "", BASE_MODEL))
    not_theirs = fields(reuse(event(image_id=stolen.id), Visit(), "", BASE_MODEL))

    assert (form["start"]["key"], form["start"]["denoise"], form["message"]["text"]) == (first.key, 0.35, "")
    assert (lost["start"]["key"], "no longer exists" in lost["message"]["text"]) == ("", True)
    assert (not_theirs["start"]["key"], "This picture isn't yours" in not_theirs["message"]["text"]) == ("", True)


def test_a_page_can_not_name_a_picture_to_be_shown(quiet_studio: Studio) -> None:
    claimed = {"prompt": "x", "width": 128, "height": 128, "key": "images/eve/1.png", "thumb_key": "images/eve/1.png"}
    pressed = event(settings=claimed | {"init_image": "images/eve/1.png"}, part="img2img")
    again = event(settings=claimed | {"init_image": "images/eve/1.png"})

    for form in (
        fields(GenerateHandlers(quiet_studio).reuse(pressed, Visit(), "", BASE_MODEL)),
        fields(GenerateHandlers(quiet_studio).reuse(again, Visit(), "", BASE_MODEL)),
    ):
        assert "eve" not in str(form)
        assert "picture isn't" in form["message"]["text"]


def test_words_that_were_drawn_come_back_as_they_were_and_the_template_to_go_on_from(
    quiet_studio: Studio, past: Past
) -> None:
    drawn = past.picture("a red cat", prompt_template="a {red|blue} cat")
    braces = past.picture("code like {a|b}")
    reuse = GenerateHandlers(quiet_studio).reuse

    def prompt(image_id: str, part: str) -> str:
        form = fields(reuse(event(image_id=image_id, part=part), Visit(), "", BASE_MODEL))
        assert "styles" not in form or form["styles"] == {"styles": []}
        return str(form["prompt"])

    assert [prompt(drawn.id, part) for part in ("all", "prompt", "variations", "img2img")] == [
        "a red cat", "a {red|blue} cat", "a {red|blue} cat", "a {red|blue} cat",
    ]  # fmt: skip
    assert prompt(braces.id, "all") == r"code like \{a\|b\}"


def test_reuse_of_a_deleted_picture_says_so(quiet_studio: Studio) -> None:
    form = fields(
        GenerateHandlers(quiet_studio).reuse(event(image_id="8204527280935-41f35a41-0"), Visit(), "", BASE_MODEL)
    )

    assert list(form) == ["message"]
    assert form["message"]["text"]


def test_a_checkpoint_opens_with_its_base_model_and_trigger(quiet_studio: Studio) -> None:
    pressed = event(key="runs/local/r/checkpoints/x_1.safetensors", base_model="flux1-dev", trigger_word="zorbot")

    form = fields(GenerateHandlers(quiet_studio).prompt_lora(pressed, ""))
    kept = fields(GenerateHandlers(quiet_studio).prompt_lora(pressed, "my own words"))

    assert (form["prompt"], form["base_model"], kept["prompt"]) == ("zorbot", "flux1-dev", "my own words")
    assert form["picker"] == picker_value(quiet_studio.base_models["flux1-dev"], [{"key": pressed.key, "strength": 1}])


def test_another_base_model_brings_its_shapes(quiet_studio: Studio) -> None:
    form = fields(GenerateHandlers(quiet_studio).choose_base_model("flux1-dev", {"loras": []}))

    assert {"name": "Square", "width": 1024, "height": 1024} in form["size"]["sizes"]
    assert (form["picker"]["architecture"], form["steps"], form["negative_prompt"].visible) == ("flux", 28, False)


def test_what_should_not_be_in_it_is_asked_where_the_base_model_heeds_it(quiet_studio: Studio) -> None:
    form = fields(GenerateHandlers(quiet_studio).choose_base_model("sdxl", None))

    assert form["negative_prompt"].visible
