"""Addresses of pictures, as browsers keep what they have from them."""

import time

from backend.media import Media
from backend.settings import Settings
from backend.storage import Storage


def test_a_signed_address_stays_for_an_hour_unless_its_content_changes(storage_settings: Settings) -> None:
    now = 1_700_000_000.0
    reachable = storage_settings.model_copy(update={"r2_endpoint_url": "https://r2.example.com"})
    media = Media(Storage(reachable), now=lambda: now)

    def addresses() -> list[str]:
        return [media.url("outputs", "a.png"), media.url("outputs", "a.png", download_as="mine.png")]

    first, preview = addresses(), media.url("loras", "preview.webp", version=1)
    time.sleep(1.1)  # what is signed now has another second in it

    assert addresses() == first
    assert media.url("loras", "preview.webp", version=2) != preview
    now += 3600
    assert not set(addresses()) & set(first)
