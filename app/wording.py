"""What a screen says when something went wrong: a sentence, never a stack trace."""

import logging

from backend.errors import AtelierError

_log = logging.getLogger(__name__)

# The contract names a field as code does; a person knows it by its label.
_LABELS = {
    "lora_name": "The name",
    "trigger_word": "The trigger word",
    "learning_rate": "The learning rate",
    "batch_size": "The batch size",
    "save_every": "“Save every”",
    "resolution": "The resolution",
    "steps": "“Steps”",
    "rank": "The rank",
    "seed": "The seed",
    "prompt": "The prompt",
    "guidance": "The guidance",
    "count": "The number of pictures",
    "name": "The name",
    "words": "The list",
    "styles": "The number of styles",
    "lists": "The number of lists",
    "negative_prompt": "The negative prompt",
    "init_image": "The picture to start from",
    "denoise": "“How much to change”",
    "output_format": "The file format",
    "output_quality": "The quality",
    "alpha": "Alpha",
    "caption_dropout": "The caption dropout",
    "sample_prompts": "The list of sample prompts",
    "max_minutes": "“Stop after”",
}


def in_words(error: Exception) -> str:
    """Return what to tell a person about an error; one that nobody foresaw goes to the log with its traceback."""
    if not isinstance(error, AtelierError):
        _log.error("something unforeseen", exc_info=error)
        return "Something went wrong inside the studio. Nothing was lost; its log says more. Try again."
    sentence = str(error)
    for field, label in _LABELS.items():
        sentence = sentence.replace(f"'{field}'", label)
    return sentence


def length_of_time(seconds: float) -> str:
    """Return about how long something takes, as people say it."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(10, round(seconds / 10) * 10)} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def short_rate(rate: float) -> str:
    """Return a learning rate as people who train write it: 1e-4."""
    mantissa, exponent = f"{rate:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
