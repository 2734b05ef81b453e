"""A receiver of events in memory."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING

from headrace.eventing.codec.http import write_batch
from headrace.eventing.results import Problem, Responder, error_event, result_event
from headrace.eventing.sink import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context

    from headrace.eventing.event import CloudEvent


class MemorySink:
    """Answers each event by a function, and remembers what it got; see :class:`headrace.eventing.sink.Sink`.

    Args:
        answer: From an event to its reply, or to an error that is raised.
    """

    url = "memory:"

    def __init__(self, answer: Callable[[CloudEvent], Reply | Exception]) -> None:
        self._answer = answer
        self.got: list[CloudEvent] = []
        """Every event, in the order of arrival, attempts counted singly."""
        self.batches: list[list[str]] = []
        """The ids of every batch."""
        self.refuse: Callable[[Sequence[CloudEvent]], Reply | Exception | None] = lambda _: None
        """What a batch as a whole is answered; None where its events are answered one by one."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.opens_after = 0
        """Knocks that are answered with "not ready" before the first "ready"."""
        self.knocks = 0
        self.hold = asyncio.Event()
        """Cleared by a test, it holds every answer back."""
        self.hold.set()

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:  # noqa: ARG002  # the seam's signature
        """Answer the event."""
        self.got.append(event)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.hold.wait()
            await asyncio.sleep(0)
            reply = self._answer(event)
        finally:
            self.in_flight -= 1
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def deliver_batch(self, events: Sequence[CloudEvent], contexts: Sequence[Context]) -> Reply:
        """Answer every event, as one batch."""
        self.batches.append([event.id for event in events])
        whole = self.refuse(events)
        if isinstance(whole, Exception):
            raise whole
        if whole is not None:
            return whole
        replies = [await self.deliver(event, context) for event, context in zip(events, contexts, strict=True)]
        message = write_batch([_item(event, reply) for event, reply in zip(events, replies, strict=True)])
        return Reply(200, message.headers, message.body)

    async def ready(self, context: Context) -> bool:  # noqa: ARG002  # the seam's signature
        """Ready after as many knocks as the test wants."""
        self.knocks += 1
        return self.knocks > self.opens_after

    async def close(self) -> None:
        """Nothing to let go of."""


_IDENTITY = Responder("default", "memory", "memory", "1")


def _item(event: CloudEvent, reply: Reply) -> CloudEvent:
    """The reply to one event as an item of a batch's answer."""
    now = datetime.now(timezone.utc)
    if reply.status < HTTPStatus.MULTIPLE_CHOICES:
        kind = reply.headers.get("content-type")
        return result_event(event, data=reply.body, content_type=kind, identity=_IDENTITY, trace={}, now=now)
    wait = reply.headers.get("retry-after")
    problem = Problem(
        reply.status, "memory", reply.body.decode(), retriable=False, retry_after=float(wait) if wait else None
    )
    return error_event(event, problem, identity=_IDENTITY, trace={}, now=now)
