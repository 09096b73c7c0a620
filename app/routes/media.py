"""Stored files through the app, when storage is on this computer; and the sample pictures."""

from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.routes.answer import answer, attachment
from backend.datasets.datasets import SAMPLE_DATASET
from backend.storage import KEPT_FOR_GOOD
from backend.studio import Studio

_CONTENT_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".txt": "text/plain; charset=utf-8",
}


def routes(studio: Studio) -> list[Route]:
    """Return the routes to stored files."""
    return [
        Route("/sample/{name}", _sample_picture),
        Route("/media/{bucket}/{key:path}", answer(_Files(studio).media)),
    ]


class _Files:
    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def media(self, owner: str, request: Request) -> Response:
        key = request.path_params["key"]
        start, end = _range_in(request.headers.get("range", ""))
        head, chunks = self._studio.media.open(owner, request.path_params["bucket"], key, start=start, end=end)
        headers = _media_headers(key, head.etag, request.query_params.get("download", ""))
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if start is not None and start >= head.bytes:
            return Response(status_code=416, headers=headers | {"content-range": f"bytes */{head.bytes}"})
        last = head.bytes - 1 if end is None else min(end, head.bytes - 1)
        first = start or 0
        headers["content-length"] = str(last - first + 1)
        if start is not None:
            headers["content-range"] = f"bytes {first}-{last}/{head.bytes}"
        # HEAD is answered from what is known; the bytes are not asked for.
        body = iter(()) if request.method == "HEAD" else chunks
        content_type = _CONTENT_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream")
        return StreamingResponse(body, 200 if start is None else 206, headers, media_type=content_type)


def _sample_picture(request: Request) -> Response:
    """Return one of the pictures that come with the studio; they are nobody's."""
    path = SAMPLE_DATASET / request.path_params["name"]
    if path.parent != SAMPLE_DATASET or path.suffix != ".png" or not path.is_file():
        return JSONResponse({"error": "There is no such picture."}, status_code=404)
    return FileResponse(path, headers={"cache-control": "public, max-age=86400"})


def _range_in(header: str) -> tuple[int | None, int | None]:
    """Return the first and last byte asked for; what isn't one plain range is answered with the whole."""
    first, dash, last = header.removeprefix("bytes=").partition("-")
    if not header.startswith("bytes=") or not dash or not first.isascii() or not first.isdigit():
        return None, None
    if not last:
        return int(first), None
    if not last.isascii() or not last.isdigit() or int(last) < int(first):
        return None, None
    return int(first), int(last)


def _media_headers(key: str, etag: str, download: str) -> dict[str, str]:
    shown = PurePosixPath(key).suffix in (".png", ".jpg", ".webp")
    headers = {
        "etag": f'"{etag}"',
        "accept-ranges": "bytes",
        "cache-control": KEPT_FOR_GOOD if shown else "private, no-cache",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
    }
    if download or not shown:
        headers["content-disposition"] = attachment(download or PurePosixPath(key).name)
    return headers
