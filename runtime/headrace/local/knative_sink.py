"""What Knative's dispatcher does that Headrace's does not: its own back-off, replies as they come, its headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.errors import InvalidEventError
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.codec.kafka import WRAPPED_TYPE
from headrace.eventing.filters import Verdict
from headrace.eventing.http_sink import HttpSink
from headrace.eventing.retry import RetryPolicy
from headrace.eventing.sink import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from opentelemetry.context import Context

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.filters import Filter
    from headrace.local.resources import Delivery

_OK, _ACCEPTED, _REDIRECT = 200, 202, 300
_NO_EVENT = 422


@dataclass(frozen=True, slots=True)
class KnativeRetry(RetryPolicy):
    """Linear is delay x n, exponential delay x 2^n, n from 1; no jitter and no bound (knative.dev, delivery)."""

    def bound(self, failed: int) -> float:
        """Seconds to wait after this many failed attempts."""
        return self.delay * (float(failed) if self.backoff == "linear" else 2.0 ** min(failed, 62))

    def wait(self, failed: int, *, retry_after: float | None = None, chance: float | None = None) -> float:  # noqa: ARG002 - no jitter
        """The same; what the receiver asked for by ``Retry-After`` is the least."""
        return max(self.bound(failed), retry_after or 0.0)


class OnlyEvents:
    """Passes over what is no CloudEvent, as Knative's Broker does, and then asks another filter.

    Args:
        wanted: The other; None wants all.
    """

    def __init__(self, wanted: Filter | None) -> None:
        self._wanted = wanted

    def __call__(self, attributes: Mapping[str, str]) -> bool:
        """Whether the event is meant."""
        return not _wrapped(attributes) and (self._wanted is None or self._wanted(attributes))

    def explain(self, attributes: Mapping[str, str]) -> Verdict:
        """Why it is not."""
        if _wrapped(attributes):
            return Verdict(matches=False, reason="the record is no CloudEvent")
        return self._wanted.explain(attributes) if self._wanted else Verdict(matches=True, reason="no filter")


class KnativeSink(HttpSink):
    """A subscriber: its reply goes to the broker; nothing is asked of it before an event is sent.

    Args:
        delivery: Where to, how long, and what is put into every event.
        connections: Most at a time.
        replies: Takes a reply; None drops them.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        connections: int,
        replies: Callable[[CloudEvent], Awaitable[None]] | None,
    ) -> None:
        super().__init__(delivery.url, timeout=delivery.timeout, connections=connections)
        self._extensions = dict(delivery.extensions)
        self._replies = replies

    async def ready(self, context: Context) -> bool:  # noqa: ARG002 - Knative asks nothing
        """It is asked by the event itself, which waits at its activator."""
        return True

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:
        """Post the event, and pass its reply on; 202 then, which is no answer for the dispatcher."""
        reply = await super().deliver(event.with_attributes(**self._extensions), context)
        if not _OK <= reply.status < _REDIRECT:
            return reply
        if self._replies is not None and reply.body and reply.status != _ACCEPTED:
            try:
                answer = _event_of(reply)
            except InvalidEventError as fault:
                # As in Knative: a body that is no event is a failure, and is not tried again.
                return Reply(_NO_EVENT, {}, str(fault).encode())
            await self._replies(answer)
        return Reply(_ACCEPTED)


def _event_of(reply: Reply) -> CloudEvent:
    message = HttpMessage(reply.headers, reply.body)
    mode = http.mode_of(message.headers)
    if mode is Mode.BINARY:
        return http.read_binary(message)
    if mode is Mode.STRUCTURED:
        return json_format.load_event(message.body)
    raise InvalidEventError("the reply is no CloudEvent")


def _wrapped(attributes: Mapping[str, str]) -> bool:
    return attributes.get("type") == WRAPPED_TYPE and attributes.get("id", "").startswith("partition:")
