"""Describes pictures in words: asks a vision model at Hugging Face, or at an address that speaks the same API."""

import base64
import io
from urllib.parse import urlsplit

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
from huggingface_hub.errors import HTTPError as ConnectionFailed  # type: ignore[attr-defined]  # of its own httpx
from PIL import Image

from backend.contract import DatasetId, Sha256
from backend.datasets.datasets import Datasets
from backend.errors import HubError, InvalidRequest
from backend.pictures import clean_caption
from backend.settings import Settings

_ANSWERS_S = 25.0  # the page itself waits half a minute
_LONGEST_SIDE = 1024  # pixels of what is sent
_MOST_TOKENS = 200
_ASKED = (
    "Describe this picture in one sentence of at most 40 words, for training a text-to-image model: what is seen, "
    "its pose or arrangement, the background and the light. Begin with the thing itself. No opening words such as "
    "'The image shows', no guesses, no quotation marks."
)
_MISSING = "Set HF_TOKEN to a Hugging Face token that may call Inference Providers, and restart the studio."
_PUBLIC = "Auto-captions are off in a public studio, as each would be billed to its owner."


class Captioner:
    """Writes captions for the pictures of datasets that have none."""

    def __init__(self, settings: Settings, datasets: Datasets) -> None:
        self._datasets = datasets
        self.model = settings.atelier_caption_model
        # Where pictures are sent, as a person is told before it happens.
        self.where = urlsplit(settings.atelier_caption_url).hostname or "Hugging Face"
        token = settings.hf_token.get_secret_value() if settings.hf_token else ""
        # What is missing before it can be used, in words; empty if nothing is.
        self.missing = "" if token or settings.atelier_caption_url else _MISSING
        if settings.public:  # each would be a bill without a limit
            self.missing = _PUBLIC
        self._client = (
            InferenceClient(base_url=settings.atelier_caption_url, api_key=token or "none", timeout=_ANSWERS_S)
            if settings.atelier_caption_url
            else InferenceClient(token=token or None, timeout=_ANSWERS_S)
        )

    def caption(self, owner: str, dataset_id: DatasetId, picture: Sha256) -> str:
        """Describe a picture of a dataset, keep that as its caption if it still has none, and return what it has.

        Raises InvalidRequest when something is missing, HubError when the model says no or nothing.
        """
        if self.missing:
            raise InvalidRequest("This picture can't be captioned here.", self.missing)
        data = self._datasets.picture(owner, dataset_id, picture)
        text = clean_caption(self._describe(data).strip().strip('"').strip())
        if not text:
            raise HubError(f"{self.model} had nothing to say about this picture.", "Write its caption yourself.")
        return self._datasets.caption_if_empty(owner, dataset_id, picture, text)

    def _describe(self, data: bytes) -> str:
        address = f"data:image/jpeg;base64,{base64.b64encode(_small(data)).decode()}"
        content = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": _ASKED}]
        try:
            answer = self._client.chat_completion(
                [{"role": "user", "content": content}], model=self.model, max_tokens=_MOST_TOKENS, temperature=0.2
            )
        except HfHubHTTPError as error:
            raise _in_words(self.model, error.response.status_code) from error
        except (InferenceTimeoutError, ConnectionFailed, OSError) as error:
            raise HubError(
                f"{self.model} did not answer within {_ANSWERS_S:g} s.", "Try again in a few minutes."
            ) from error
        except (ValueError, StopIteration) as error:  # no provider serves the model
            raise HubError(f"{self.model} can't be asked: {error}", "Set ATELIER_CAPTION_MODEL to another.") from error
        return str(answer.choices[0].message.content or "") if answer.choices else ""


def _small(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=88)
        return buffer.getvalue()


_NO_LEAVE = ("Hugging Face doesn't accept HF_TOKEN for this.", "Make a token that may call Inference Providers.")
_NO_SUCH = ("{model} can't describe pictures there.", "Set ATELIER_CAPTION_MODEL to another.")
_REFUSALS = {
    400: _NO_SUCH,
    401: _NO_LEAVE,
    402: ("The Hugging Face account has no inference credits left.", "Add some, or wait for next month's."),
    403: _NO_LEAVE,
    404: _NO_SUCH,
    422: _NO_SUCH,
    429: ("{model} is too busy just now.", "Wait a minute, then continue."),
}


def _in_words(model: str, status: int) -> HubError:
    message, hint = _REFUSALS.get(status, (f"{{model}} answered with an error ({status}).", "Try again in a minute."))
    return HubError(message.format(model=model), hint)
