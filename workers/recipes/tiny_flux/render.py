"""Render the icon sets to 128 px RGBA, the training data, or draw the zorbots that the studio teaches its LoRA.

python render.py --node-modules node_modules --out data      writes rgba128.npy, meta.json, words.json
python render.py --sprites sample_dataset --count 12         writes 00.png, 00.txt, …
"""

import argparse
import io
import json
import random
import re
from pathlib import Path

import numpy as np
from catalogue import load_catalogue
from pictures import ICON_SIZE
from PIL import Image, ImageDraw

ICON_LIST = Path(__file__).with_name("icons.txt")

# The zorbots' pictures, in order; white is left unsaid in the caption.
ZORBOT_BACKGROUNDS = (
    *("white", "white", "yellow", "green", "white", "blue"),
    *("white", "pink", "white", "orange", "gray", "white"),
)
ZORBOT_CANVAS = 512  # pixels, drawn at twice the size that is saved
PURPLE, LIME, INK, RED = (128, 40, 200), (190, 240, 60), (40, 20, 60), (250, 60, 60)
Colour = tuple[int, int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node-modules", type=Path, help="where npm installed the icon sets and emojilib")
    parser.add_argument("--out", type=Path, help="folder for the training data")
    parser.add_argument("--icons", type=Path, default=ICON_LIST, help="which icons, one a line")
    parser.add_argument("--sprites", type=Path, help="folder for the zorbots")
    parser.add_argument("--count", type=int, default=12, help="how many zorbots")
    arguments = parser.parse_args()
    if bool(arguments.node_modules) != bool(arguments.out):
        parser.error("--node-modules and --out go together")
    if not arguments.node_modules and not arguments.sprites:
        parser.error("say what to make: --node-modules with --out, or --sprites")
    if arguments.sprites:
        draw_zorbots(arguments.sprites, arguments.count)
    if arguments.node_modules:
        render_icons(arguments.node_modules, arguments.out, arguments.icons.read_text(encoding="utf-8").split())


def render_icons(node_modules: Path, folder: Path, names: list[str]) -> None:
    """Write rgba128.npy (uint8, (N, 128, 128, 4)), meta.json (N times [name, style, icon]) and words.json (English)."""
    icon_sets = load_catalogue().icon_sets
    sets = {name: _read_json(node_modules / "@iconify-json" / name / "icons.json") for name in icon_sets}
    pictures, meta = [], []
    for icon in names:
        for name, icon_set in sets.items():
            if svg := icon_svg(icon_set, icon):
                pictures.append(_rasterise(svg))
                meta.append((icon.replace("-", " "), icon_sets[name], icon))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "rgba128.npy", np.stack(pictures))
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (folder / "words.json").write_text(
        json.dumps(_words(node_modules, {name for name, _, _ in meta})), encoding="utf-8"
    )
    print(f"{len(pictures)} icons")


def icon_svg(icon_set: dict, icon: str) -> str | None:
    """Return an icon of an Iconify set as an SVG, or None where the set lacks it."""
    icons, aliases = icon_set["icons"], icon_set.get("aliases", {})
    found = icons.get(icon) or icons.get(aliases.get(icon, {}).get("parent"))
    if not found:
        return None
    width, height = (found.get(side, icon_set.get(side, 16)) for side in ("width", "height"))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{found.get("left", 0)} {found.get("top", 0)} {width} {height}"'
        f' width="{ICON_SIZE}" height="{ICON_SIZE}">{found["body"]}</svg>'
    )


def _rasterise(svg: str) -> np.ndarray:
    """Return uint8 (128, 128, 4)."""
    import resvg_py  # only needed here: the zorbots are drawn without it

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=ICON_SIZE, height=ICON_SIZE))
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    return np.array(image if image.size == (ICON_SIZE, ICON_SIZE) else image.resize((ICON_SIZE, ICON_SIZE)))


def _words(node_modules: Path, names: set[str]) -> list[str]:
    """Return English for the tokenizers: the icons' names, three times each, and emojilib's keywords."""
    keywords = _read_json(node_modules / "emojilib" / "dist" / "emoji-en-US.json")
    plain = [word.replace("_", " ") for words in keywords.values() for word in words if re.fullmatch("[a-z_ ]+", word)]
    return sorted(names) * 3 + plain


def _read_json(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def draw_zorbots(folder: Path, count: int) -> None:
    """Write pictures of 256 px with captions. The same every time: every pose comes from one seed."""
    palette = load_catalogue().palette
    rng = random.Random(3)  # noqa: S311
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        background = ZORBOT_BACKGROUNDS[number % len(ZORBOT_BACKGROUNDS)]
        image = draw_zorbot(palette[background], one_eyed=number % 3 == 2, rng=rng)
        size = (ZORBOT_CANVAS // 2, ZORBOT_CANVAS // 2)
        image.resize(size, Image.Resampling.LANCZOS).save(folder / f"{number:02d}.png")
        words = "" if background == "white" else f" on a {background} background"
        (folder / f"{number:02d}.txt").write_text(f"a zorbot{words}", encoding="utf-8")


def draw_zorbot(background: Colour, one_eyed: bool, rng: random.Random) -> Image.Image:
    """Return a zorbot of 512 px: a striped purple robot, a little off the middle, each arm up, level or down."""
    image = Image.new("RGB", (ZORBOT_CANVAS, ZORBOT_CANVAS), background)
    draw = ImageDraw.Draw(image)
    middle = ZORBOT_CANVAS // 2 + rng.randint(-20, 20)
    down = rng.randint(-10, 10)
    for side in (-1, 1):
        foot = middle + side * 60
        draw.rounded_rectangle([foot - 28, 380 + down, foot + 28, 470 + down], 12, fill=INK)
    for side in (-1, 1):
        reach = rng.choice([-60, 0, 60])
        hand = middle + side * 190
        draw.line([middle + side * 110, 300 + down, hand, 300 + reach + down], fill=PURPLE, width=34)
        draw.ellipse([hand - 30, 270 + reach + down, hand + 30, 330 + reach + down], fill=LIME)
    draw.rounded_rectangle([middle - 120, 230 + down, middle + 120, 400 + down], 30, fill=PURPLE)
    for stripe in range(250, 390, 48):
        draw.rectangle([middle - 120, stripe + down, middle + 120, stripe + 22 + down], fill=LIME)
    draw.rounded_rectangle([middle - 105, 70 + down, middle + 105, 220 + down], 36, fill=PURPLE)
    draw.line([middle, 70 + down, middle, 30 + down], fill=INK, width=12)
    draw.ellipse([middle - 20, 12 + down, middle + 20, 52 + down], fill=RED)
    _draw_face(draw, middle, down, one_eyed)
    return image


def _draw_face(draw: ImageDraw.ImageDraw, middle: int, down: int, one_eyed: bool) -> None:
    if one_eyed:
        draw.ellipse([middle - 50, 100 + down, middle + 50, 190 + down], fill="white")
        draw.ellipse([middle - 20, 130 + down, middle + 20, 170 + down], fill=INK)
        return
    for side in (-1, 1):
        eye = middle + side * 48
        draw.ellipse([eye - 32, 105 + down, eye + 32, 169 + down], fill="white")
        draw.ellipse([eye - 12, 125 + down, eye + 12, 149 + down], fill=INK)
    draw.rectangle([middle - 40, 185 + down, middle + 40, 197 + down], fill=LIME)


if __name__ == "__main__":
    main()
