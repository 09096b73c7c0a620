"""Figures for Prometheus, made when they are asked for. Not for strangers: for the studio's owner, or with a token."""

import hmac
import resource
import sys
import threading
import time

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.session import account_of
from app.traffic import BUCKETS_S, Traffic
from backend.errors import AtelierError
from backend.settings import Settings
from backend.studio import Studio
from backend.usage.limits import Spent, total

_GOOD_FOR_S = 60.0  # the ledger's figures; asking for them lists it


def metrics_route(studio: Studio, settings: Settings, traffic: Traffic) -> Route:
    """Return the route `/metrics`."""
    metrics = _Metrics(studio, traffic)
    token = settings.atelier_metrics_token.get_secret_value()

    def answer(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        by_token = bool(token) and hmac.compare_digest(given.encode(), token.encode())
        if not by_token and not account_of(request).is_keeper:
            return PlainTextResponse("There is nothing at this address.\n", 404)
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    return Route("/metrics", answer)


class _Metrics:
    def __init__(self, studio: Studio, traffic: Traffic) -> None:
        self._studio = studio
        self._traffic = traffic
        self._spent = (float("-inf"), Spent())
        self._began = time.time()

    def text(self) -> str:
        """Return everything in Prometheus's text format."""
        return "\n".join([*self._requests(), *self._durations(), *self._ledger(), *self._process()]) + "\n"

    def _requests(self) -> list[str]:
        kinds = sorted(self._traffic.requests.items())
        return [
            *_about("atelier_requests_total", "counter", "Requests answered."),
            *(
                f'atelier_requests_total{{method="{kind.method}",area="{_escaped(kind.area)}",status="{kind.status}"}} '
                f"{count}"
                for kind, count in kinds
            ),
        ]

    def _durations(self) -> list[str]:
        lines, so_far = _about("atelier_request_seconds", "histogram", "How long answers took."), 0
        for upper in BUCKETS_S:
            so_far += self._traffic.seconds[upper]
            lines.append(f'atelier_request_seconds_bucket{{le="{upper:g}"}} {so_far}')
        so_far += self._traffic.seconds[float("inf")]
        lines.append(f'atelier_request_seconds_bucket{{le="+Inf"}} {so_far}')
        lines.append(f"atelier_request_seconds_sum {self._traffic.seconds_in_all:.3f}")
        lines.append(f"atelier_request_seconds_count {so_far}")
        return lines

    def _ledger(self) -> list[str]:
        if time.monotonic() - self._spent[0] > _GOOD_FOR_S:
            try:
                self._spent = (time.monotonic(), total(self._studio.usage.spent_by_everybody().values()))
            except AtelierError:
                return []  # storage is away; what is known without it is still told
        spent = self._spent[1]
        return [
            *_gauge("atelier_runs_under_way", "Runs submitted and not ended.", spent.running_jobs),
            *_gauge("atelier_pictures_today", "Pictures made or under way since 00:00 UTC.", spent.pictures_today),
            *_gauge("atelier_dollars_today", "Spent or promised since 00:00 UTC.", round(spent.dollars_today, 4)),
            *_gauge("atelier_dollars_this_month", "Spent or promised this month.", round(spent.dollars_this_month, 4)),
        ]

    def _process(self) -> list[str]:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return [
            *_gauge("process_start_time_seconds", "When the studio started.", round(self._began, 3)),
            *_gauge("process_max_resident_memory_bytes", "The most memory it has held.", most),
            *_gauge("process_threads", "Threads in Python.", threading.active_count()),
        ]


def _about(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]


def _gauge(name: str, words: str, value: float) -> list[str]:
    return [*_about(name, "gauge", words), f"{name} {value}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")[:60]
