from types import SimpleNamespace
from typing import Any

from app.tabs.generate import GenerateHandlers, picker_value
from backend.contract import GenerationRequest
from backend.storage import RunKeys, Storage
from backend.studio import Studio
from tests.app.conftest import BASE_MODEL, Past, Visit


def event(**data: Any) -> Any:
    return SimpleNamespace(**data)


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
    ):  # fmt: skip
        assert handlers.start(wishes, Visit())["error"].endswith(".")
    elsewhere = Visit(headers={"origin": "https://evil.example", "host": "127.0.0.1:7860"})
    assert "another site" in handlers.start({"base_model": BASE_MODEL, "prompt": "x"}, elsewhere)["error"]


def test_reuse_brings_prompt_seed_and_a_size_that_is_not_among_the_shapes(quiet_studio: Studio, past: Past) -> None:
    record = past.picture()

    prompt, base_model, picked, size, count, seed, steps, guidance, said = GenerateHandlers(quiet_studio).reuse(
        event(image_id=record.id), Visit()
    )

    assert (prompt, base_model, count, seed) == (record.prompt, BASE_MODEL, 1, str(record.seed))
    assert (steps, guidance, picked["loras"], said["text"]) == (12, 2.5, [], "")
    assert (size.value, size.choices[-1]) == ("160x112", ("160 × 112", "160x112"))


def test_reuse_of_a_deleted_picture_says_so(quiet_studio: Studio) -> None:
    *_, said = GenerateHandlers(quiet_studio).reuse(event(image_id="8204527280935-41f35a41-0"), Visit())

    assert said["text"]


def test_a_checkpoint_opens_with_its_base_model_and_trigger(quiet_studio: Studio) -> None:
    pressed = event(key="runs/local/r/checkpoints/x_1.safetensors", base_model="flux1-dev", trigger_word="zorbot")

    prompt, base_model, picked, *_ = GenerateHandlers(quiet_studio).prompt_lora(pressed, "")
    kept, *_ = GenerateHandlers(quiet_studio).prompt_lora(pressed, "my own words")

    assert (prompt, base_model, kept) == ("zorbot", "flux1-dev", "my own words")
    assert picked == picker_value(quiet_studio.base_models["flux1-dev"], [{"key": pressed.key, "strength": 1}])


def test_another_base_model_brings_its_shapes(quiet_studio: Studio) -> None:
    picked, size, steps, _ = GenerateHandlers(quiet_studio).choose_base_model("flux1-dev", {"loras": []})

    assert ("Square", "1024x1024") in size.choices
    assert (picked["architecture"], steps) == ("flux", 28)
