"""ZIP archives made while they are sent, so that none is ever whole in memory."""

import io
import zipfile
from collections.abc import Iterable, Iterator


def zip_of(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the bytes of an archive of files, each a name and what is in it. They are stored as they are."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(name, data)
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """What ZipFile writes to: it can't seek, and is emptied after each file."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
