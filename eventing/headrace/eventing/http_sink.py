"""Delivery over HTTP: binary or batched mode, ``Prefer: reply`` (event contract, section 2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import Link

from headrace.errors import DeadlineExceededError, UnavailableError
from headrace.eventing.codec.http import write_batch, write_binary
from headrace.eventing.sink import DisconnectedError, Reply
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import SpanContext

    from headrace.eventing.event import CloudEvent

READY_PATH = "/v2/health/ready"
KNOCK_TIMEOUT = 30.0
"""Seconds one knock may take: an activator holds it until a replica is ready, so it doubles as the wait."""
OK = 200
CLIENT_ERROR = 400
_BROKEN = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError)


class HttpSink:
    """A receiver of CloudEvents at a URL; see :class:`headrace.eventing.sink.Sink`.

    Args:
        url: Where events are posted.
        wake: Base URLs whose readiness is asked for together, so that a whole chain starts at once; the receiver's
            own where empty.
        timeout: Seconds from sending a request to the whole answer.
        connections: Most connections at a time; at least the dispatcher's concurrency.
    """

    def __init__(self, url: str, *, wake: Sequence[str] = (), timeout: float = 60.0, connections: int = 64) -> None:
        self._url = url
        self._ready_urls = [f"{base.rstrip('/')}{READY_PATH}" for base in wake or (url,)]
        self._timeout = timeout
        self._connections = connections
        self._opened: aiohttp.ClientSession | None = None
        self._tracer = tracing.tracer(__name__)
        parts = urlsplit(url)
        self._attributes: dict[str, str | int] = {
            "http.request.method": "POST",
            "url.full": url,
            "server.address": parts.hostname or "",
            "server.port": parts.port or 80,
        }

    @property
    def url(self) -> str:
        """Where the events go."""
        return self._url

    async def deliver(self, event: CloudEvent, context: Context) -> Reply:
        """Post the event, as a CLIENT span, and read the whole answer."""
        span = self._tracer.start_span("POST", context, kind=tracing.SpanKind.CLIENT, attributes=self._attributes)
        with tracing.recorded(span):
            trace = tracing.inject(span, context)
            current = {name: value for name, value in trace.items() if name != "baggage"}
            message = write_binary(event.with_attributes(**current))
            reply = await self._post(message.body, {**message.headers, **trace, "prefer": "reply"})
            span.set_attribute("http.response.status_code", reply.status)
            if reply.status >= CLIENT_ERROR:
                tracing.fail(span, str(reply.status))
            return reply

    async def deliver_batch(self, events: Sequence[CloudEvent], contexts: Sequence[Context]) -> Reply:
        """Post the events as one batch, as a CLIENT span of its own that links to the span of each.

        Where no event's trace is sampled, the request is told in the trace of the first.
        """
        links = [Link(known) for context in contexts if (known := _sampled(context)) is not None]
        span = self._tracer.start_span(
            "POST",
            Context() if links else contexts[0],
            kind=tracing.SpanKind.CLIENT,
            attributes={**self._attributes, "messaging.batch.message_count": len(events)},
            links=links,
        )
        with tracing.recorded(span):
            # Every event goes on in its own trace; the request's trace is the batch's.
            message = write_batch([_traced(each, context) for each, context in zip(events, contexts, strict=True)])
            reply = await self._post(message.body, {**message.headers, **tracing.inject(span), "prefer": "reply"})
            span.set_attribute("http.response.status_code", reply.status)
            if reply.status >= CLIENT_ERROR:
                tracing.fail(span, str(reply.status))
            return reply

    async def ready(self, context: Context) -> bool:
        """Knock at every part of the chain at once."""
        trace = tracing.carrier(context)
        return all(await asyncio.gather(*(self._knock(url, trace) for url in self._ready_urls)))

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()

    async def _post(self, body: bytes, headers: dict[str, str]) -> Reply:
        try:
            async with self._session().post(self._url, data=body, headers=headers) as response:
                return Reply(
                    response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()
                )
        except asyncio.TimeoutError as fault:
            raise DeadlineExceededError(f"{self._url} gave no answer within {self._timeout:g} s") from fault
        except _BROKEN as fault:
            if isinstance(fault, aiohttp.ClientConnectorError):  # also a ClientOSError: it never was connected
                raise UnavailableError(f"{self._url} does not answer: {type(fault).__name__}: {fault}") from fault
            raise DisconnectedError(f"{self._url} broke off: {type(fault).__name__}: {fault}") from fault
        except aiohttp.ClientError as fault:
            raise UnavailableError(f"{self._url} does not answer: {type(fault).__name__}: {fault}") from fault

    async def _knock(self, url: str, trace: dict[str, str]) -> bool:
        timeout = aiohttp.ClientTimeout(total=KNOCK_TIMEOUT)
        try:
            async with self._session().get(url, headers=trace, timeout=timeout) as response:
                return response.status == OK
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    def _session(self) -> aiohttp.ClientSession:
        # Made on first use: aiohttp binds a session to the running loop.
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
            )
        return self._opened


def _traced(event: CloudEvent, context: Context) -> CloudEvent:
    # Baggage too: in a batch, an event has no other place for its own.
    return event.with_attributes(**tracing.carrier(context))


def _sampled(context: Context) -> SpanContext | None:
    span = otel.get_current_span(context)
    return span.get_span_context() if tracing.is_sampled(span) else None
