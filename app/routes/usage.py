"""Who somebody is, and what they have used; the studio's owner sees everybody's figures."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.routes.answer import answer, json_of
from app.session import account_of
from app.views.usage import MeView, usage_view
from backend.studio import Studio


def routes(studio: Studio) -> list[Route]:
    """Return the routes about people and what they use."""
    usage = _Usage(studio)
    return [Route("/api/me", answer(usage.me)), Route("/api/usage", answer(usage.report))]


class _Usage:
    """One method a route; each makes one call to the studio."""

    def __init__(self, studio: Studio) -> None:
        self._reports = studio.usage_reports
        self._names = {spec.id: spec.name for spec in studio.base_models.values()}

    def me(self, owner: str, request: Request) -> Response:
        account = account_of(request)
        self._reports.note_name(owner, account.name)
        return json_of(MeView.model_validate(account._asdict()))

    def report(self, owner: str, request: Request) -> Response:
        everybody = account_of(request).is_keeper
        return json_of(usage_view(self._reports.of(owner, everybody=everybody), self._names))
