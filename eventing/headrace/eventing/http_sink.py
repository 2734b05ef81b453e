"""Delivery over HTTP: binary mode, ``Prefer: reply`` (event contract, section 2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from headrace.errors import DeadlineExceededError, UnavailableError
from headrace.eventing.codec.http import write_binary
from headrace.eventing.sink import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.eventing.event import CloudEvent

READY_PATH = "/v2/health/ready"
KNOCK_TIMEOUT = 5.0
"""Seconds one knock may take: an activator holds it until a replica is ready, so it doubles as the wait."""
MOST_REPLY_BYTES = 64 * 1024 * 1024
"""An answer over this is refused: it could not be written to a topic either."""


class HttpSink:
    """A receiver of CloudEvents at a URL.

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

    @property
    def url(self) -> str:
        """Where the events go."""
        return self._url

    async def deliver(self, event: CloudEvent, trace: Mapping[str, str]) -> Reply:
        """Post the event and read the whole answer; see :class:`headrace.eventing.sink.Sink`."""
        message = write_binary(event)
        headers = {**message.headers, **trace, "prefer": "reply"}
        try:
            async with self._session().post(self._url, data=message.body, headers=headers) as response:
                body = await response.content.read(MOST_REPLY_BYTES)
                return Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, body)
        except asyncio.TimeoutError as fault:
            raise DeadlineExceededError(f"{self._url} gave no answer within {self._timeout:g} s") from fault
        except aiohttp.ClientError as fault:
            raise UnavailableError(f"{self._url} does not answer: {fault or type(fault).__name__}") from fault

    async def ready(self, trace: Mapping[str, str]) -> bool:
        """Knock at every part of the chain at once."""
        return all(await asyncio.gather(*(self._knock(url, trace) for url in self._ready_urls)))

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()

    async def _knock(self, url: str, trace: Mapping[str, str]) -> bool:
        timeout = aiohttp.ClientTimeout(total=KNOCK_TIMEOUT)
        try:
            async with self._session().get(url, headers=dict(trace), timeout=timeout) as response:
                return response.status == 200  # noqa: PLR2004  # HTTP's own number
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    def _session(self) -> aiohttp.ClientSession:
        # Made on first use: aiohttp binds a session to the running loop.
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                auto_decompress=True,
            )
        return self._opened
