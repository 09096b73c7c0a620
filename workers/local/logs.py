"""Keeps what a child process writes in files that can't fill the disk."""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_BYTES = 2 * 2**20
OLDER_LOGS_KEPT = 3


def rotating_file(path: Path) -> RotatingFileHandler:
    """Return a log file of bounded size, made at its first line."""
    handler = RotatingFileHandler(
        path, maxBytes=LOG_BYTES, backupCount=OLDER_LOGS_KEPT, encoding="utf-8", errors="backslashreplace", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


class LineLog:
    """The log of one child. A logger of its own, outside the tree of loggers: its lines go nowhere else."""

    def __init__(self, path: Path) -> None:
        self._handler = rotating_file(path)
        self._logger = logging.Logger(path.stem)
        self._logger.addHandler(self._handler)

    def write(self, line: str) -> None:
        self._logger.info(line)

    def close(self) -> None:
        self._handler.close()
