"""Where events are delivered: the seam, and what an answer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from headrace.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    event: CloudEvent | None = None
    """The answer itself, where it came in a batch and is read already."""


class DisconnectedError(UnavailableError):
    """The receiver took a request and went away without an answer: what it was asked may have killed it."""


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
            UnavailableError: nothing answered (refused, no such host).
            DisconnectedError: the connection broke before the answer.
            DeadlineExceededError: no answer within the request timeout.
        """

    async def deliver_batch(self, events: Sequence[CloudEvent], contexts: Sequence[Context]) -> Reply:
        """Hand over several events in one request; the answer is a batch as well (event contract, section 2).

        Args:
            events: The events.
            contexts: The trace context of each: the request is a span that links to them all.

        Raises:
            UnavailableError, DisconnectedError, DeadlineExceededError: as :meth:`deliver`.
        """

    async def ready(self, context: Context) -> bool:
        """Whether the receiver, and all it needs, can answer now; asking wakes what is scaled to zero.

        Args:
            context: Trace context of the event that waits: a cold start becomes part of its trace.
        """

    async def close(self) -> None:
        """Let go of connections."""
