"""What the broker does on its own: deletes by retention, compacts, and syncs to the disk by time.

Compaction and syncs are slow and happen in a thread; everything that changes a log happens in the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.local.broker.codes import Refusal
from headrace.local.broker.compaction import Compaction, CompactionStoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.local.broker.disk import AppendFile
    from headrace.local.broker.ledger import Ledger
    from headrace.local.broker.log import PartitionLog
    from headrace.local.broker.settings import BrokerSettings
    from headrace.local.broker.topics import Catalogue

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Upkeep:
    """Looks after the logs, from :meth:`start` to :meth:`stop`.

    Args:
        catalogue: Where the logs are.
        ledger: Whose journal is synced as well.
        settings: How often.
    """

    def __init__(self, catalogue: Catalogue, ledger: Ledger, settings: BrokerSettings) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self) -> None:
        """Begin; call in the event loop."""
        self._tasks.append(asyncio.create_task(self._tend_always()))
        if self._settings.sync_every:
            self._tasks.append(asyncio.create_task(self._sync_always(self._settings.sync_every)))

    async def stop(self) -> None:
        """End; a compaction that runs is given up. What was written by then is synced, where it is by time."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._settings.sync_every and self._tasks:
            await self._sync()
        self._tasks.clear()

    async def tend(self) -> None:
        """Look at every log once."""
        for log in self._logs():
            try:
                log.tend(time.time() * 1000)
                await self._compact(log)
            except (OSError, Refusal) as fault:
                logger.warning("%s: retention and compaction wait: %s", log.folder, fault)
            # Between two logs, clients are served.
            await asyncio.sleep(0)

    def _logs(self) -> Iterator[PartitionLog]:
        for topic in list(self._catalogue):
            yield from (log for log in list(topic.partitions) if not log.is_closed)

    async def _tend_always(self) -> None:
        while True:
            await asyncio.sleep(self._settings.retention_check_interval)
            try:
                await self.tend()
            except Exception:
                # The next look comes, whatever this one met.
                logger.exception("The broker's retention and compaction failed")

    async def _compact(self, log: PartitionLog) -> None:
        planned = log.plan_compaction(time.time() * 1000)
        if planned is None:
            return
        work = Compaction(planned, lambda: self._stopping or log.is_closed)
        try:
            for group in await _in_thread(work.survey):
                rewritten = await _in_thread(work.rewrite, group)
                if not rewritten.is_changed:
                    rewritten.drop()
                elif not log.swap(rewritten):
                    # What follows may rely on what has not happened.
                    return
        except CompactionStoppedError:
            return

    async def _sync_always(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await self._sync()

    async def _sync(self) -> None:
        files = [self._ledger.file, *(log.growing_file for log in self._logs())]
        dirty = [(one, one.size, one.duplicate()) for one in files if one.size != one.synced]
        if dirty:
            await _in_thread(_sync_all, dirty)


def _sync_all(files: list[tuple[AppendFile, int, int]]) -> None:
    for file, size, descriptor in files:
        try:
            os.fsync(descriptor)
            file.synced = size
        except OSError as fault:
            logger.warning("%s: not synced to the disk: %s", file.path, fault.strerror)
        finally:
            os.close(descriptor)


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do work in a thread; when cancelled, wait for its end all the same: it has files open."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with suppress(Exception):
            await running
        raise
