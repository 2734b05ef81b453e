"""The replicas of one service: as many as are desired, replaced when they die, given up on when they never start.

Owner of the set and of each replica's life: the one task a replica has here.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.local.replica import Replica
from headrace.local.status import TwinEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from headrace.local.replica import Ground
    from headrace.local.status import Happening

_STABLE = 10.0
"""Seconds of life after which a death is no longer counted together with the failures before it."""


class ReplicaSet:
    """Keeps ``desired`` replicas of a service.

    Args:
        ground: What the replicas stand on.
        on_event: Is told of every start and end.
    """

    def __init__(self, ground: Ground, on_event: Callable[[TwinEvent], None]) -> None:
        self.desired = 0
        self.minimum = ground.service.scale.minimum
        """Replicas that are wanted without requests."""
        self.cold_start: float | None = None
        """Seconds of the last start."""
        self.problem = ""
        """Why it does not start; empty when it does."""
        self.changed: Callable[[], None] = lambda: None
        """Called when a replica may take requests that could not before."""
        self.gave_up: Callable[[str], None] = lambda _: None
        """Called with the reason when starts failed too often in a row and no replica is left."""
        self._ground = ground
        self._on_event = on_event
        self._replicas: dict[Replica, asyncio.Task[None]] = {}
        self._outdated: set[Replica] = set()
        """Those that a renewal replaces."""
        self._cause: Context | None = None
        self._started = 0
        self._failed_starts = 0
        """In a row, before readiness."""
        self._deaths = 0
        """In a row, soon after readiness."""
        self._not_before = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def all(self) -> tuple[Replica, ...]:
        """Every replica, the oldest first."""
        return tuple(self._replicas)

    @property
    def ready(self) -> tuple[Replica, ...]:
        """Those that take requests."""
        return tuple(replica for replica in self._replicas if replica.state == "ready")

    @property
    def answering(self) -> int:
        """How many take requests."""
        return len(self.ready)

    def scale_to(self, desired: int, cause: Context | None = None) -> None:
        """Have ``desired`` replicas; those started for it are on behalf of the span in ``cause``."""
        self.desired = desired
        self._cause = cause
        self._reconcile()

    def renew(self) -> None:
        """Replace every replica by one that is started now; each old one leaves when a new one is ready in its place.

        Where the new ones do not start, the old ones go on.
        """
        self._outdated = set(self._replicas)
        self._failed_starts, self._not_before = 0, 0.0
        self._reconcile()

    async def stop(self) -> None:
        """End all replicas, each with its grace period; none is started any more."""
        self._closed = True
        self.desired = 0
        if self._retry is not None:
            self._retry.cancel()
        self._reconcile()
        if self._replicas:
            await asyncio.wait(list(self._replicas.values()))

    def _reconcile(self) -> None:
        staying = [replica for replica in self._replicas if replica.state != "draining"]
        current = [replica for replica in staying if replica not in self._outdated]
        missing = self.desired - len(current)
        for replica in _first_to_go(current)[: max(0, -missing)]:
            replica.leave()
        if missing > 0 and not self._closed and self._may_start():
            for _ in range(missing):
                self._start()
        outdated = [replica for replica in staying if replica in self._outdated]
        replaced = len(outdated) - max(0, self.desired - sum(replica.state == "ready" for replica in current))
        for replica in _first_to_go(outdated)[: max(0, replaced)]:
            replica.leave()

    def _may_start(self) -> bool:
        wait = self._not_before - time.monotonic()
        if wait <= 0:
            return True
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(wait, self._start_again)
        return False

    def _start_again(self) -> None:
        self._retry = None
        self._reconcile()

    def _start(self) -> None:
        self._started += 1
        replica = Replica(f"{self._ground.service.name.name}-{self._started}", self._ground, self._notice)
        self._replicas[replica] = asyncio.ensure_future(self._live(replica, self._cause))

    def _notice(self) -> None:
        self.changed()

    async def _live(self, replica: Replica, cause: Context | None) -> None:
        """The life of one replica, in one place."""
        self._tell("starting", replica)
        failure = None
        try:
            if await replica.start(cause):
                self._is_ready(replica)
                failure = await replica.until_leaving()
            if failure is None:
                await self._drain(replica)
        except HeadraceError as fault:
            failure = str(fault)
        finally:
            replica.kill()
            del self._replicas[replica]
            self._outdated.discard(replica)
            await replica.close()
            self._ground.lived(replica)
        if failure is not None:
            self._failed(replica, failure)
        self._reconcile()

    async def _drain(self, replica: Replica) -> None:
        self._tell("stopping", replica)
        began = time.monotonic()
        await replica.drain()
        self._tell("stopped", replica, seconds=time.monotonic() - began)

    def _is_ready(self, replica: Replica) -> None:
        self._failed_starts = 0
        self.cold_start = replica.ready_after
        self.problem = ""
        self._tell("ready", replica, seconds=replica.ready_after)
        if self._outdated:
            self._reconcile()

    def _failed(self, replica: Replica, reason: str) -> None:
        self._tell("died", replica, seconds=replica.lived, detail=reason)
        if replica.ready_after:
            self._deaths = 0 if replica.lived >= _STABLE else self._deaths + 1
            # The first that dies is replaced at once.
            self._pause(self._deaths - 1)
            return
        self._failed_starts += 1
        self._pause(self._failed_starts)
        if self._failed_starts >= self._ground.settings.start_attempts and not self.ready:
            self._give_up(replica, reason)

    def _pause(self, failures: int) -> None:
        settings = self._ground.settings
        pause = min(settings.max_backoff, settings.start_backoff * 2.0 ** (failures - 1)) if failures > 0 else 0.0
        self._not_before = time.monotonic() + pause

    def _give_up(self, replica: Replica, reason: str) -> None:
        self.problem = reason
        # Tries go on only where the manifest wants replicas without requests; else with the next request.
        self.desired = self.minimum
        self._tell("failed", replica, detail=f"{self._failed_starts} starts failed in a row: {reason}")
        self.gave_up(reason)

    def _tell(self, kind: Happening, replica: Replica, *, seconds: float = 0.0, detail: str = "") -> None:
        self._on_event(TwinEvent(kind, str(self._ground.service.name), replica.name, seconds, detail))


def _first_to_go(replicas: list[Replica]) -> list[Replica]:
    """Those that do not answer yet, then the least busy, then the newest."""
    ages = {replica: age for age, replica in enumerate(replicas)}
    return sorted(replicas, key=lambda replica: (replica.state == "ready", replica.in_flight, -ages[replica]))
