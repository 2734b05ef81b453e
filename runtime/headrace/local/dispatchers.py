"""As many processes of one Deployment as the lag of its consumer group asks for, by KEDA's rule (``lag``)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.eventing.kafka.scan import Scanner
from headrace.local.lag import LagScaler

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.local.clock import Clock
    from headrace.local.resources import LagScaling
    from headrace.local.supervisor import Supervisor


class GroupLag:
    """Asks the broker; blocks on the network, so call it in a thread.

    Args:
        kafka: The cluster.
        topic: The topic.
        group: The consumer group.
    """

    def __init__(self, kafka: KafkaSettings | str, topic: str, group: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._group = group
        self._scanner: Scanner | None = None

    def read(self) -> tuple[int, int]:
        """Records that are not committed yet, and the partitions of the topic.

        Raises:
            HeadraceError: no broker answers, or there is no such topic.
        """
        scanner = self._scanner = self._scanner or Scanner(self._kafka, group=self._group)
        ends, begins, committed = (
            scanner.ends(self._topic),
            scanner.begins(self._topic),
            scanner.committed(self._topic),
        )
        behind = (
            end - (progress.offset if (progress := committed.get(partition)) else begins[partition])
            for partition, end in ends.items()
        )
        return sum(max(0, lag) for lag in behind), len(ends)

    def close(self) -> None:
        """Leave the broker."""
        if self._scanner is not None:
            self._scanner.__exit__(None, None, None)


class Single:
    """One process, whatever the lag."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.running = [supervisor]

    def start(self) -> None:
        """Begin to keep it up."""
        self.running[0].start()

    async def stop(self) -> None:
        """End it."""
        await self.running[0].stop()


class Dispatchers:
    """The processes of one Deployment.

    Args:
        scaling: The rule, and how often it is asked.
        make: Makes one by its number, from 1 on; not yet started.
        lag: Tells lag and partitions.
        clock: Paces the looks.
        limit: Most on this machine.
    """

    def __init__(
        self, scaling: LagScaling, make: Callable[[int], Supervisor], lag: GroupLag, clock: Clock, *, limit: int
    ) -> None:
        self.running: list[Supervisor] = []
        """Those that are up, the oldest first."""
        self._scaling = scaling
        self._make = make
        self._lag = lag
        self._clock = clock
        self._limit = limit
        self._scaler: LagScaler | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with one, which joins the group, and scale from there."""
        self._add()
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """End them all."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*(each.stop() for each in self.running))
        await asyncio.to_thread(self._lag.close)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(self._scaling.polling)
            number = self._wanted(await asyncio.to_thread(self._look))
            while len(self.running) < number:
                self._add()
            while len(self.running) > number:
                await self.running.pop().stop()

    def _look(self) -> tuple[int, int] | None:
        try:
            return self._lag.read()
        except HeadraceError:
            return None

    def _wanted(self, found: tuple[int, int] | None) -> int:
        if self._scaler is None:
            if found is None:
                return len(self.running)
            self._scaler = LagScaler(self._scaling.rule, found[1])
        lag = found[0] if found else None
        return min(self._limit, self._scaler.decide(lag, len(self.running), self._clock.now()))

    def _add(self) -> None:
        supervisor = self._make(len(self.running) + 1)
        self.running.append(supervisor)
        supervisor.start()
