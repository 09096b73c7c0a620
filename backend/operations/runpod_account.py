"""RunPod's management API over httpx: what an account has, made and changed. Jobs are the business of `runpod_client`.

It is REST v2. The runpod package makes templates and endpoints through GraphQL, but changes neither and knows no
volumes; RunPod announces the end of REST v1.
"""

import time
from typing import Any, Literal

import httpx

from backend.errors import RunPodError
from backend.settings import Settings

Kind = Literal["network-volumes", "templates", "serverless"]
Thing = dict[str, Any]

_LISTED_AS: dict[Kind, str] = {
    "network-volumes": "networkVolumes",
    "templates": "templates",
    "serverless": "endpoints",
}
_ATTEMPTS = 3
_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0
_KEYS_PAGE = "https://console.runpod.io/user/settings"


class RunPodAccount:
    """One account. Raises RunPodError, in words, for everything RunPod refuses or doesn't answer."""

    def __init__(self, settings: Settings) -> None:
        key = settings.runpod_api_key.get_secret_value()
        if not key:
            raise RunPodError(
                "RUNPOD_API_KEY is not set.", f"Make a key that may read and write at {_KEYS_PAGE}, and set it."
            )
        self._http = httpx.Client(
            base_url=settings.runpod_account_url.rstrip("/"),
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(30, connect=5),
        )

    def everything(self, kind: Kind) -> list[Thing]:
        """Return all of a kind."""
        found: list[Thing] = self._call("GET", f"/{kind}")[_LISTED_AS[kind]]
        return found

    def create(self, kind: Kind, body: Thing) -> Thing:
        """Make one and return it."""
        return self._call("POST", f"/{kind}", body)

    def update(self, kind: Kind, thing_id: str, body: Thing) -> Thing:
        """Change the fields given, and return it."""
        return self._call("PATCH", f"/{kind}/{thing_id}", body)

    def gpus(self) -> list[Thing]:
        """Return RunPod's GPU types, with where each can be had for Serverless."""
        found: list[Thing] = self._call("GET", "/catalog/gpus?include=AVAILABILITY&product=SERVERLESS")["gpus"]
        return found

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, body: Thing | None = None) -> Thing:
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            try:
                reply = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                # What was asked to be made may have been; only looking for its name again can tell.
                if method != "POST" and not last:
                    time.sleep(_WAIT_S)
                    continue
                raise RunPodError(
                    f"RunPod is not responding at {self._http.base_url.host} ({type(error).__name__}).",
                    "Check the connection and run the command again: what was made is found by its name.",
                ) from error
            if reply.is_success:
                answer: Thing = reply.json()
                return answer
            unhurt = reply.status_code == 429 or (reply.status_code >= 500 and method != "POST")
            if last or not unhurt:
                raise _refusal(reply)
            time.sleep(_asked_to_wait_s(reply))
        raise AssertionError("the last attempt returns or raises")


def _asked_to_wait_s(reply: httpx.Response) -> float:
    asked = reply.headers.get("retry-after", "")
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdigit() else _WAIT_S


def _refusal(reply: httpx.Response) -> RunPodError:
    said = _words(reply)
    match reply.status_code:
        case 401:
            return RunPodError("RunPod does not know this key.", f"Check RUNPOD_API_KEY, or make one at {_KEYS_PAGE}.")
        case 403:
            return RunPodError(f"This RunPod key may not do that: {said}", f"Let it read and write at {_KEYS_PAGE}.")
        case 402:
            return RunPodError(f"RunPod asks for money first: {said}", "Add credit to the account.")
        case 429:
            return RunPodError("RunPod asks for fewer requests.", "Run the command again in a minute.")
        case code if code >= 500:
            return RunPodError(f"RunPod is in trouble ({code}): {said}", "Run the command again in a few minutes.")
        case code:
            return RunPodError(f"RunPod answered {code}: {said}")


def _words(reply: httpx.Response) -> str:
    """Return what a problem (RFC 9457) says; a proxy's page is cut short."""
    try:
        problem = reply.json()
        listed = [str(problem.get("detail") or problem.get("title") or ""), *map(str, problem.get("errors") or [])]
    except (ValueError, AttributeError):
        return reply.text.strip()[:200]
    return "; ".join(filter(None, listed))[:500]
