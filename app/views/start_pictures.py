"""How a picture that others start from is shown."""

from app.views import View
from backend.generation.start_pictures import StartPicture
from backend.media import Media


class StartPictureView(View):
    """What the slot on the form holds. Where the size isn't known it is 0."""

    key: str
    url: str
    width: int
    height: int


def start_picture_view(media: Media, picture: StartPicture) -> StartPictureView:
    """Return a picture with the address that shows it."""
    url = media.url("outputs", picture.key)
    return StartPictureView(key=picture.key, url=url, width=picture.width, height=picture.height)
