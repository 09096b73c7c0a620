"""`atelier deploy` in words: what will happen, whether to, what was done, and what to put into the Space."""

from collections.abc import Callable
from pathlib import Path

from backend.operations.declaration import load_declaration
from backend.operations.deployment import Deployment, Step
from backend.operations.runpod_account import RunPodAccount
from backend.settings import Settings

_SIGNS = {"create": "+ make  ", "update": "~ change", "keep": "= as is "}
_DONE = {"create": "made", "update": "changed"}
_FOR_THE_SPACE = ("R2_ACCOUNT_ID", "R2_ENDPOINT_URL", "R2_LORA_BUCKET", "R2_OUTPUT_BUCKET")
_SECRETS = ("RUNPOD_API_KEY", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "HF_TOKEN")


def deploy(settings: Settings, declaration: Path, agreed: Callable[[], bool]) -> None:
    """Print the plan, do it if that is agreed to, and print the variables. Raises AtelierError for what fails."""
    account = RunPodAccount(settings)
    try:
        deployment = Deployment(load_declaration(declaration), settings, account)
        steps = deployment.plan()
        _print_plan(steps)
        if any(step.action != "keep" for step in steps) and not agreed():
            print("Nothing was changed.")
            return
        ids = deployment.apply(_print_done)
    finally:
        account.close()
    _print_variables(ids, settings)


def _print_plan(steps: list[Step]) -> None:
    print("On RunPod:")
    for step in steps:
        print(f"  {_SIGNS[step.action]} {step.label}")
        for line in step.lines:
            print(f"             {line}")
    if all(step.action == "keep" for step in steps):
        print("Everything is as declared.")


def _print_done(step: Step) -> None:
    if step.action != "keep":
        print(f"  {step.label}: {_DONE[step.action]}", flush=True)


def _print_variables(ids: dict[str, str], settings: Settings) -> None:
    print("\nVariables for the Space, or for the studio on your own computer:")
    print(f"  RUNPOD_TRAINING_ENDPOINT_ID={ids['training endpoint']}")
    print(f"  RUNPOD_IMAGE_GENERATION_ENDPOINT_ID={ids['image generation endpoint']}")
    for name in _FOR_THE_SPACE:
        if value := getattr(settings, name.lower()):
            print(f"  {name}={value}")
    used = [name for name in _SECRETS if getattr(settings, name.lower())]
    print(f"Secrets, with the values you used here: {', '.join(used)}.")
    print("And the secret SESSION_SECRET: any long random text, so that a restart signs nobody out.")
    print("Then `atelier doctor` says whether everything works together.")
