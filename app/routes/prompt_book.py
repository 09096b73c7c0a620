"""The styles and lists a person keeps for prompts. Each change is answered with the whole book."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.routes.answer import answer, json_of
from app.routes.body import answer_json
from backend.contract import Message
from backend.studio import Studio


class StyleMessage(Message):
    name: str
    prompt: str
    negative_prompt: str = ""
    replaces: str = ""


class ListMessage(Message):
    name: str
    words: list[str]
    replaces: str = ""


class NameMessage(Message):
    name: str


def routes(studio: Studio) -> list[Route]:
    """Return the routes about the book."""
    book = _Book(studio)
    one = "/api/prompt-book"
    return [
        Route(one, answer(book.whole)),
        Route(f"{one}/styles", answer_json(StyleMessage, book.save_style), methods=["POST"]),
        Route(f"{one}/styles/delete", answer_json(NameMessage, book.remove_style), methods=["POST"]),
        Route(f"{one}/lists", answer_json(ListMessage, book.save_list), methods=["POST"]),
        Route(f"{one}/lists/delete", answer_json(NameMessage, book.remove_list), methods=["POST"]),
    ]


class _Book:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._books = studio.prompt_books

    def whole(self, owner: str, request: Request) -> Response:
        return json_of(self._books.of_owner(owner))

    def save_style(self, owner: str, message: StyleMessage, request: Request) -> Response:
        return json_of(self._books.save_style(owner, **message.model_dump()))

    def save_list(self, owner: str, message: ListMessage, request: Request) -> Response:
        return json_of(self._books.save_list(owner, **message.model_dump()))

    def remove_style(self, owner: str, message: NameMessage, request: Request) -> Response:
        return json_of(self._books.remove_style(owner, message.name))

    def remove_list(self, owner: str, message: NameMessage, request: Request) -> Response:
        return json_of(self._books.remove_list(owner, message.name))
