"""Measures how soon the Generate tab answers a hand: python -m tests.bench.first_feedback http://127.0.0.1:7860

From the browser's own time of the press to the frame that shows it, for every control, several times. It presses
Generate and cancels again, so the studio should be one to try things in; without a LoRA in it, those are left out.
"""

import shutil
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

from tests.journeys.conftest import BROWSERS, FLAGS

ROUNDS = 7
SLOW_MS = 100
WAIT_MS = 20_000
# Notes when the browser took a press in, and when a frame first shows another value than before.
WATCH = """
(() => {
  let pressed = 0;
  for (const name of ['pointerdown', 'keydown']) addEventListener(name, event => { pressed = event.timeStamp; }, true);
  window.watch_for = read => {
    const before = String(read());
    window.answered = new Promise(resolve => {
      const look = () => requestAnimationFrame(() => {
        if (pressed && String(read()) !== before) setTimeout(() => resolve(performance.now() - pressed)); else look();
      });
      pressed = 0;
      look();
    });
  };
})()
"""


class Control(NamedTuple):
    """What is pressed, and an expression of the page that changes once that can be seen."""

    name: str
    press: Callable[[Page], None]
    reads: str


def key(selector: str, name: str) -> Callable[[Page], None]:
    def press(page: Page) -> None:
        page.locator(selector).first.focus()
        page.keyboard.press(name)

    return press


def click(selector: str) -> Callable[[Page], None]:
    return lambda page: page.locator(selector).first.click()


def of(selector: str, reads: str) -> str:
    return f"document.querySelector('{selector}')?.{reads}"


def count(selector: str) -> str:
    return f"document.querySelectorAll('{selector}').length"


ADVANCED = "#tab-generate button.label-wrap"
FEED = count(".image-feed article")
CONTROLS = (
    Control("style chip", click(".prompt-tools .style"), of(".prompt-tools .style", "ariaPressed")),
    Control("shape", key(".shape-picker input:checked", "ArrowRight"), of(".shape-picker input:checked", "value")),
    Control("seed plus one", click(".seed-field .more"), of(".seed-field input", "value")),
    Control("seed drawn", click(".seed-field .shuffle"), of(".seed-field input", "value")),
    Control("seed lock", click(".seed-field .lock"), of(".seed-field .lock", "ariaPressed")),
    Control("fewer pictures", key("#count input", "ArrowDown"), of("#count input", "value")),
    Control("more pictures", key("#count input", "ArrowUp"), of("#count input", "value")),
    Control("LoRA added", click(".lora-picker .choice:not([aria-disabled])"), count(".lora-picker .chosen li")),
    Control("LoRA strength", key(".lora-picker .chosen .track", "ArrowLeft"), of(".lora-picker .exact", "value")),
    Control("LoRA removed", click(".lora-picker .remove"), count(".lora-picker .chosen li")),
    Control("Advanced", click(ADVANCED), of(ADVANCED, "className")),
    Control("letter typed", key("#prompt textarea", "x"), of("#prompt textarea", "value")),
    Control("earlier prompts", click(".prompt-tools .earlier summary"), of(".prompt-tools .earlier", "open")),
    Control("Generate", click("#generate"), FEED),
    Control("Generate by keyboard", key("#prompt textarea", "Control+Enter"), FEED),
    Control("Cancel", click(".image-feed article[aria-busy] .about button"), of(".image-feed .about", "textContent")),
    Control("Compare", click(".generate-mode [data-mode=new]"), of("body", "dataset.mode")),
    Control("Pictures", click(".generate-mode [data-mode='']"), of("body", "dataset.mode")),
)


def main() -> None:
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1200})
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{sys.argv[1]}/?tab=generate")
        page.locator("#generate").wait_for()
        page.wait_for_timeout(3000)
        page.locator("#prompt textarea").fill("an apple")
        page.evaluate(WATCH)
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for control in CONTROLS:
                if (
                    control.name.startswith("LoRA")
                    and not page.locator(".lora-picker :is(.choice, .chosen li)").count()
                ):
                    continue
                times.setdefault(control.name, []).append(measured(page, control))
        browser.close()
    for name, each in times.items():
        mark = " <- slow" if statistics.median(each) > SLOW_MS else ""
        print(f"{name}: median {statistics.median(each):.0f} ms, worst {max(each):.0f} ms{mark}")


def measured(page: Page, control: Control) -> float:
    page.evaluate(f"watch_for(() => {control.reads})")
    control.press(page)
    took: float = page.evaluate("window.answered")
    page.wait_for_timeout(250)
    return took


if __name__ == "__main__":
    main()
