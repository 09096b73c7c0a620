"""The page: theme, tabs, and what one tab does to another."""

from typing import Any, NamedTuple

import gradio as gr

from app.api import offer
from app.routes import routes
from app.tabs import compare, gallery, generate, loras, runs, train
from app.tabs.choices import QUICK
from app.theme import FAVICON, SCRIPTS, STYLESHEETS, studio_theme
from app.widgets import stylesheets
from app.widgets.account_sheet import account_sheet
from app.widgets.generate_mode import generate_mode
from app.widgets.picture_compare import picture_compare
from app.widgets.picture_view import picture_view
from app.widgets.top_bar import top_bar
from backend.studio import Studio

_CACHE_SWEEP_S, _CACHE_AGE_S = 3600, 86_400  # uploads that were taken in need not stay
_MAX_QUEUED = 200
_QUEUE_LOOKS_EVERY_S = 0.05
_STARTING = """(...values) => {
  document.getElementById('start').classList.add('busy');
  atelier.ask_to_notify();
  return values;
}"""


class _Shell(NamedTuple):
    """What is beside and around the tabs. A tab's own widgets are there only once it has been opened."""

    bar: Any
    view: Any
    tabs: Any


def build(studio: Studio) -> gr.Blocks:
    """Return the page, ready to be launched with `launch_options`."""
    with gr.Blocks(title="LoRA Atelier", delete_cache=(_CACHE_SWEEP_S, _CACHE_AGE_S), analytics_enabled=False) as page:
        bar = top_bar()
        with gr.Tabs(selected="train", elem_id="nav", overflow_behavior="wrap") as tabs:
            with gr.Tab("Train", id="train", elem_id="tab-train") as train_page:
                train_tab = train.build(studio)
            with gr.Tab("Runs", id="runs", elem_id="tab-runs"):
                runs_tab = runs.build()
            with gr.Tab("LoRAs", id="loras", elem_id="tab-loras"):
                loras_tab = loras.build(studio)
            with gr.Tab("Generate", id="generate", elem_id="tab-generate"):
                generate_mode()
                with gr.Column(elem_id="generate-pictures"):
                    generate_tab = generate.build(studio)
                with gr.Column(elem_id="generate-compare"):
                    compare.build()
            with gr.Tab("Gallery", id="gallery", elem_id="tab-gallery"):
                gallery_tab = gallery.build()
        train_page.select(**train_tab.setup.look_ahead)
        view = picture_view()
        picture_compare()
        account_sheet()
        offer(studio)
        _wire(_Shell(bar, view, tabs), train_tab, runs_tab, loras_tab, generate_tab, gallery_tab)
    # Gradio's default lets one handler of a kind run at a time, for everybody.
    page.queue(default_concurrency_limit=20, max_size=_MAX_QUEUED, api_open=False)
    # The queue looks for work a thousand times a second, 4 % of a core; nothing of ours waits in it.
    page._queue.sleep_when_free = _QUEUE_LOOKS_EVERY_S
    # Told of its Space, Gradio's script asks Google and the Hub for a bar with likes, which our policy blocks.
    page.space_id = None
    return page


def launch_options(studio: Studio) -> dict[str, Any]:
    """Return what `Blocks.launch` is to be called with, beside host and port."""
    return {
        "theme": studio_theme(),
        "head": _head(),
        "favicon_path": FAVICON,
        "ssr_mode": False,
        "run_history": False,
        "footer_links": [],
        "show_error": False,
        "max_file_size": studio.limits.file_bytes,
        "app_kwargs": {"routes": routes(studio), "docs_url": None, "redoc_url": None, "openapi_url": None},
    }


def _head() -> str:
    """Return our own css and script. Gradio rewrites the selectors of css given as `css_paths`, and breaks some."""
    shell = "\n".join(path.read_text(encoding="utf-8") for path in STYLESHEETS)
    # Within the container a widget's rule weighs more than Gradio's reset of every button.
    widgets = "\n".join(path.read_text(encoding="utf-8") for path in stylesheets())
    script = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    return f"<style>{shell}\n.gradio-container {{\n{widgets}\n}}</style><script>{script}</script>"


def _wire(
    shell: _Shell,
    train_tab: train.TrainTab,
    runs_tab: runs.RunsTab,
    loras_tab: loras.LorasTab,
    generate_tab: generate.GenerateTab,
    gallery_tab: gallery.GalleryTab,
) -> None:
    def prompt_lora(prompt: str, event: gr.EventData) -> tuple[Any, ...]:
        return (gr.Tabs(selected="generate"), *generate_tab.handlers.prompt_lora(event, prompt))

    def reuse(prompt: str, base_model: str, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        return (gr.Tabs(selected="generate"), *generate_tab.handlers.reuse(event, request, prompt, base_model))

    def train_alike(event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        return (gr.Tabs(selected="train"), *train_tab.setup.handlers.fill(event, request))

    # While one press is under way Gradio ignores a second, and the script shows at once that it was heard.
    train_tab.start.click(
        train_tab.setup.handlers.start,
        train_tab.start_inputs,
        [shell.bar, train_tab.message],
        js=_STARTING,
        **QUICK,
    ).then(None, None, None, js="() => document.getElementById('start').classList.remove('busy')", **QUICK)
    form = generate_tab.form
    standing = [generate_tab.field("prompt"), generate_tab.field("base_model")]
    runs_tab.card.prompt_lora(prompt_lora, standing[0], [shell.tabs, *form], **QUICK)
    filled = runs_tab.card.clone(train_alike, None, [shell.tabs, train_tab.dataset.bar, *train_tab.setup.form], **QUICK)
    for said in train_tab.say_anew:
        filled.success(**said)
    loras_tab.panel.prompt_lora(prompt_lora, standing[0], [shell.tabs, *form], **QUICK)
    for source in (shell.view, gallery_tab.drop):
        source.reuse(reuse, standing, [shell.tabs, *form], **QUICK)
