"""Stores what a run says of itself: once a second while it goes on, and the rest of it at its end."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from backend.contract import Progress
from backend.errors import ServiceError
from backend.storage import Storage
from workers.report import Changes, Report

PUBLISH_EVERY_S = 1.0
_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def published(report: Report, storage: Storage, tell: Callable[[Progress], None]) -> AsyncIterator[None]:
    """Publish what `report` collects until this is left; `tell` hears of progress as well."""
    over = asyncio.Event()
    publisher = asyncio.create_task(_publish_until(over, report, storage, tell))
    try:
        yield
    finally:
        # Not cancelled: what is being stored would go on in its thread, and land on top of what is stored last.
        over.set()
        await publisher
        await _publish(report, report.take_changes(all_of_it=True), storage)


async def _publish_until(
    over: asyncio.Event, report: Report, storage: Storage, tell: Callable[[Progress], None]
) -> None:
    while not over.is_set():
        changes = report.take_changes()
        await _publish(report, changes, storage)
        if changes.progress:
            tell(changes.progress)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PUBLISH_EVERY_S):
                await over.wait()


async def _publish(report: Report, changes: Changes, storage: Storage) -> None:
    try:
        await asyncio.to_thread(changes.store, storage)
    except ServiceError:
        # A run outlives a storage that is away for a while; the next publication carries the same story.
        report.put_back(changes)
        _log.warning("progress could not be stored", exc_info=True)
