"""The look as Gradio's theme knows it: tokens only. What the theme can't say is in assets/theme."""

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

THEME_FOLDER = Path(__file__).parents[1] / "assets" / "theme"
STYLESHEETS = [THEME_FOLDER / f"{name}.css" for name in ("tokens", "shell", "gradio", "parts")]
# Each adds to what the widgets share; the later ones use the earlier.
SCRIPTS = [
    THEME_FOLDER / f"{name}.js"
    for name in ("kept", "elements", "server", "messages", "places", "leaving", "drafts", "light_and_dark", "keys")
]
FAVICON = THEME_FOLDER / "favicon.svg"


def studio_theme() -> gr.themes.Base:
    """Return violet on zinc, with the fonts that come with Gradio: nothing is fetched from elsewhere."""
    theme = gr.themes.Base(
        primary_hue=colors.violet,
        secondary_hue=colors.violet,
        neutral_hue=colors.zinc,
        radius_size=sizes.radius_lg,
        text_size=sizes.text_md,
        spacing_size=sizes.spacing_md,
        # The SemiBold files that come with Gradio lack most letters: 400 and 700 are whole.
        font=[fonts.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[fonts.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    )
    return theme.set(**_text(), **_surfaces(), **_inputs(), **_buttons())


def _text() -> dict[str, str]:
    # Gradio's own subdued greys are too pale to read.
    return {
        "body_text_color": "*neutral_900",
        "body_text_color_dark": "*neutral_100",
        "body_text_color_subdued": "*neutral_600",
        "body_text_color_subdued_dark": "*neutral_400",
        "link_text_color": "*primary_700",
        "link_text_color_dark": "*primary_300",
        "block_info_text_color": "*neutral_600",
        "block_info_text_color_dark": "*neutral_400",
        "block_label_text_color": "*neutral_600",
        "block_label_text_color_dark": "*neutral_400",
        "block_title_text_color": "*neutral_700",
        "block_title_text_color_dark": "*neutral_200",
        "block_title_text_weight": "700",
        "block_title_text_size": "*text_sm",
    }


def _surfaces() -> dict[str, str]:
    return {
        "body_background_fill": "*neutral_50",
        "body_background_fill_dark": "*neutral_950",
        "background_fill_secondary": "*neutral_50",
        "background_fill_secondary_dark": "*neutral_900",
        "block_background_fill": "white",
        "block_background_fill_dark": "*neutral_900",
        "block_border_width": "1px",
        "block_border_color": "*neutral_200",
        "block_border_color_dark": "*neutral_800",
        "block_radius": "16px",
        "block_shadow": "0 1px 2px rgba(0,0,0,.04)",
        "block_shadow_dark": "none",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "border_color_primary": "*neutral_200",
        "border_color_primary_dark": "*neutral_800",
        "container_radius": "16px",
    }


def _inputs() -> dict[str, str]:
    return {
        "input_radius": "11px",
        "input_background_fill": "*neutral_50",
        "input_background_fill_dark": "*neutral_950",
        "input_border_color": "*neutral_300",
        "input_border_color_dark": "*neutral_700",
        "input_border_color_focus": "*primary_500",
        "input_border_color_focus_dark": "*primary_400",
        "input_shadow_focus": "0 0 0 3px color-mix(in srgb, *primary_500 22%, transparent)",
        "input_placeholder_color": "*neutral_500",
        "input_placeholder_color_dark": "*neutral_400",
        "checkbox_label_background_fill": "transparent",
        "checkbox_label_background_fill_dark": "transparent",
        "checkbox_label_background_fill_hover": "*neutral_100",
        "checkbox_label_background_fill_hover_dark": "*neutral_800",
        "checkbox_label_background_fill_selected": "*primary_50",
        "checkbox_label_background_fill_selected_dark": "color-mix(in srgb, *primary_500 18%, transparent)",
        "checkbox_label_border_width": "1px",
        "checkbox_label_border_width_dark": "1px",
        "checkbox_label_border_color": "*neutral_200",
        "checkbox_label_border_color_dark": "*neutral_800",
        "checkbox_label_border_color_selected": "*primary_500",
        "checkbox_label_border_color_selected_dark": "*primary_400",
        "slider_color": "*primary_500",
    }


def _buttons() -> dict[str, str]:
    return {
        "button_large_radius": "13px",
        "button_small_radius": "10px",
        "button_large_text_weight": "700",
        "button_medium_text_weight": "700",
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_dark": "*primary_600",
        "button_primary_background_fill_hover": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_500",
        "button_primary_text_color": "white",
        "button_primary_text_color_dark": "white",
    }
