"""How LoRAs are shown."""

from collections.abc import Iterable

from app.views import View, Views, version_of
from backend.loras import LoraChoice


class LoraCard(View):
    key: str
    name: str
    detail: str
    architecture: str
    base_model: str
    trigger_word: str
    thumb: str


class LoraCards(View):
    version: str
    loras: list[LoraCard]


class LoraViews(Views):
    """Makes the answers about LoRAs."""

    def loras(self, choices: Iterable[LoraChoice]) -> LoraCards:
        """Return the LoRAs to choose from."""
        cards = [self._lora(choice) for choice in choices]
        return LoraCards(version=version_of(card.key for card in cards), loras=cards)

    def _lora(self, choice: LoraChoice) -> LoraCard:
        return LoraCard(
            key=choice.key,
            name=choice.name,
            detail=choice.detail,
            architecture=choice.architecture,
            base_model=self._base_model_name(choice.base_model),
            trigger_word=choice.trigger_word,
            thumb=self._media.url("loras", choice.thumb_key) if choice.thumb_key else "",
        )
