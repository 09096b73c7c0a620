"""What a person asks of a training while it goes on: counted in the app's record, which is looked at now and then."""

import asyncio
import logging
from collections import deque

from backend.contract import Submission, TrainingRequest, Wish
from backend.errors import ServiceError
from workers.runtime import Run

LOOK_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Wishes:
    """The wishes about one attempt, in turn. What was asked before the engine listened waits for it."""

    def __init__(self, run: Run[TrainingRequest]) -> None:
        self._run = run
        self._saves = self._samplings = 0  # that have been passed on
        self._waiting: deque[Wish] = deque()

    async def next(self) -> Wish:
        """Wait for a wish. As long as somebody waits here, the screen offers to make one."""
        self._run.report.takes_wishes(True)
        try:
            while not self._waiting:
                await asyncio.sleep(LOOK_EVERY_S)
                await self._look()
            return self._waiting.popleft()
        finally:
            self._run.report.takes_wishes(False)

    async def _look(self) -> None:
        keys, attempt = self._run.keys, self._run.request.attempt
        try:
            asked = await asyncio.to_thread(self._run.storage.loras.find_message, keys.submission, Submission)
        except ServiceError:
            _log.warning("it could not be looked up what is asked of run %s", keys.run_id, exc_info=True)
            return
        if asked is None or asked.attempt != attempt:
            return
        # Pressed twice before anybody looked, it is one wish.
        if asked.saves > self._saves:
            self._waiting.append("save")
        if asked.samplings > self._samplings:
            self._waiting.append("sample")
        self._saves, self._samplings = asked.saves, asked.samplings
