"""Where events are delivered: the seam, and what an answer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

    from headrace.eventing.event import CloudEvent


@dataclass(frozen=True, slots=True)
class Reply:
    """What the receiver answered."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    body: bytes = field(default=b"", repr=False)


class Sink(Protocol):
    """A receiver of events. Its methods are called from one event loop."""

    @property
    def url(self) -> str:
        """Where the events go, for messages and dead letters."""

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:
        """Hand over one event and wait for its answer.

        Args:
            event: The event, in the form it has for the receiver.
            context: Trace context whose span is the parent of the call.

        Raises:
            UnavailableError: nothing answered (refused, reset, no such host).
            DeadlineExceededError: no answer within the request timeout.
        """

    async def ready(self, context: Context) -> bool:
        """Whether the receiver, and all it needs, can answer now; asking wakes what is scaled to zero.

        Args:
            context: Trace context of the event that waits: a cold start becomes part of its trace.
        """

    async def close(self) -> None:
        """Let go of connections."""
