"""How a route answers: for whom, with errors in words, and nothing to a caller who is up to date."""

from collections.abc import Callable
from urllib.parse import quote

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.session import owner_of
from app.wording import in_words
from backend.errors import AtelierError, Forbidden, InvalidRequest, LimitReached, NotFound, ServiceError

_STATUS: dict[type[AtelierError], int] = {
    NotFound: 404, InvalidRequest: 400, Forbidden: 403, LimitReached: 429, ServiceError: 503,
}  # fmt: skip

Endpoint = Callable[[str, Request], Response]


def answer(endpoint: Endpoint) -> Callable[[Request], Response]:
    """Give an endpoint whose things are meant, and put its errors into words. Runs in Starlette's threads."""

    def respond(request: Request) -> Response:
        try:
            return endpoint(owner_of(request), request)
        except Exception as error:
            return in_response(error)

    return respond


def in_response(error: Exception) -> Response:
    """Return what to answer instead, when there was an error."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": in_words(error)}, status_code=status)


def unless_known(request: Request, version: str, view: BaseModel) -> Response:
    """Return a view, or nothing when the caller has it already: a poll that finds no change costs a few bytes."""
    if request.query_params.get("since") == version:
        return Response(status_code=204)
    return json_of(view)


def attachment(name: str) -> str:
    """Return the content-disposition of a file that is to be kept under this name, whatever is in it."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def json_of(view: BaseModel) -> Response:
    """Return a view as it is now, not to be kept by the browser."""
    return Response(view.model_dump_json(), media_type="application/json", headers={"cache-control": "no-store"})
