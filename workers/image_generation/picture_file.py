"""Picture files that say how they were made, as other tools read it: A1111's text, and the XMP mark of AI-made media.

ComfyUI's graph is in them as 'prompt', which ComfyUI opens when such a file is dropped onto it. Its editor's format
('workflow') is not: it can't be made from the graph without ComfyUI's editor, and one that lies beside the base model
would say another prompt and seed than the picture has, and ComfyUI would believe it first.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from backend.contract import OutputFormat, file_stem

_COMPRESSION = 4  # a sixth of the time of Pillow's default for 2 % more bytes
_EXIF_IFD, _USER_COMMENT, _MODEL = 0x8769, 0x9286, 0x0110
_HASHED_AT_MOST = 2**30  # bytes; hashing more would hold up the first picture
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="LoRA Atelier"'
    ' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


class LoraNote(NamedTuple):
    """What a picture's text says of a LoRA."""

    name: str
    strength: float
    tensor_hash: str


class Recipe(NamedTuple):
    """How one picture was made."""

    prompt: str
    negative_prompt: str
    steps: int
    sampler: str
    guidance: float
    seed: int
    width: int  # pixels
    height: int
    model: str
    model_hash: str  # '' if it isn't known
    loras: Sequence[LoraNote]
    denoise: float | None = None  # None: it started from noise alone


def parameters_text(recipe: Recipe) -> str:
    """Return the text that AUTOMATIC1111's web UI writes, so that it, InvokeAI and Civitai read the settings back."""
    loras = [(file_stem(lora.name), lora) for lora in recipe.loras]
    tags = "".join(f" <lora:{name}:{lora.strength:g}>" for name, lora in loras)
    lines = [recipe.prompt + tags]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {recipe.negative_prompt}")
    settings = {
        "Steps": recipe.steps,
        "Sampler": recipe.sampler,
        "CFG scale": f"{recipe.guidance:g}",
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_hash[:10],
        "Model": recipe.model,
        "Denoising strength": "" if recipe.denoise is None else f"{recipe.denoise:g}",
        "Lora hashes": ", ".join(f"{name}: {lora.tensor_hash[:12]}" for name, lora in loras),
    }
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in settings.items() if value != ""))
    return "\n".join(lines)


def picture_size(picture: Path) -> tuple[int, int]:
    """Return the width and height of a picture in pixels."""
    with Image.open(picture) as image:
        return image.size


def encode_picture(picture: Path, texts: Mapping[str, str], output_format: OutputFormat, quality: int) -> bytes:
    """Return a picture as a file with these texts and the mark of AI-made media; `quality` is 1 to 100, not of a PNG.

    JPEG holds A1111's 'parameters' alone, WebP ComfyUI's 'prompt' too, each where those programs look for them.
    """
    buffer = io.BytesIO()
    with Image.open(picture) as image:
        rgb = image.convert("RGB")
    match output_format:
        case "png":
            rgb.save(buffer, "PNG", pnginfo=_chunks(texts), compress_level=_COMPRESSION)
        case "jpeg":
            rgb.save(buffer, "JPEG", quality=quality, exif=_exif(texts), xmp=_XMP.encode())
        case "webp":
            exif = _exif(texts)
            if "prompt" in texts:
                exif[_MODEL] = f"prompt:{texts['prompt']}"
            rgb.save(buffer, "WEBP", quality=quality, exif=exif, xmp=_XMP.encode())
    return buffer.getvalue()


def _chunks(texts: Mapping[str, str]) -> PngInfo:
    information = PngInfo()
    for name, text in texts.items():
        information.add_text(name, text)
    information.add_itxt("XML:com.adobe.xmp", _XMP)
    return information


def _exif(texts: Mapping[str, str]) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + texts.get("parameters", "").encode("utf-16-be")
    return exif


@lru_cache(maxsize=8)
def model_hash(weights: Path) -> str:
    """Return the SHA-256 of a snapshot's denoiser (of its shards' hashes, if several), '' if that would take long."""
    folders = [weights / name for name in ("transformer", "unet")]
    files = sorted(file for folder in folders for file in folder.glob("*.safetensors"))
    hashes = [_file_hash(file) for file in files]
    if not hashes or not all(hashes):
        return ""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _file_hash(file: Path) -> str:
    # The Hub's cache names a large file by its SHA-256 and puts a link into the snapshot.
    target = file.resolve().name
    if re.fullmatch("[0-9a-f]{64}", target):
        return target
    if file.stat().st_size > _HASHED_AT_MOST:
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value
