"""Requests that wait for a busy cluster, try again over a broken connection, and fail in one plain line."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from headrace.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from headrace.manifests.cluster.connection import Connection

_BUSY = frozenset({429, 502, 503, 504})
_BROKEN = 500
_CONNECT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=30)
_LONGEST_LINE = 1 << 22
"""Bytes of one event of a watch; etcd keeps no object over 1.5 MB."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is tried again, in seconds."""

    broken: float = 5.0
    """While the connection fails or the server has an error of its own: a restart of the server takes about that."""
    busy: float = 60.0
    """While the cluster asks to come back later (429, 503)."""
    first_wait: float = 0.2
    """Doubled from time to time, to five seconds; ``Retry-After`` is heard before it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    path: str
    """From the server's root, with leading slash."""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON of an answer."""

    status: int
    value: Mapping[str, Any]


class Transport:
    """Sends requests to one cluster. Use it through ``transport``, which closes its connections."""

    def __init__(self, session: aiohttp.ClientSession, connection: Connection, patience: Patience) -> None:
        self._session = session
        self._to = connection
        self._patience = patience

    async def send(self, request: Request) -> Answer:
        """The answer, whatever its status, but for the statuses that ask to come again.

        Raises:
            UnavailableError: none within the patience.
            ConfigurationError: the two do not understand or trust each other.
        """
        loop = asyncio.get_running_loop()
        start, wait = loop.time(), self._patience.first_wait
        while True:
            try:
                return await self._once(request, wait)
            except _Later as later:
                if loop.time() - start + later.pause > later.patience:
                    raise self._unavailable(str(later)) from None
                await asyncio.sleep(later.pause)
            wait = min(wait * 2, 5.0)

    async def _once(self, request: Request, wait: float) -> Answer:
        try:
            async with self._open(request, _CONNECT) as response:
                body = await response.read()
        except _LOST as lost:
            raise _Later(_line(lost), wait, self._patience.broken) from None
        if response.status in _BUSY:
            raise _Later(f"it is busy (HTTP {response.status})", _retry_after(response, wait), self._patience.busy)
        answer = Answer(response.status, self._read(body, response))
        # A webhook that is just starting is an error of the server's, so it is tried again, and then shown.
        if response.status == _BROKEN and wait * 2 <= self._patience.broken:
            raise _Later(str(answer.value.get("message", "")), wait, self._patience.broken)
        return answer

    async def lines(self, request: Request, silence: float) -> AsyncGenerator[Answer, None]:
        """The answers of a watch, one a line, until the server ends it; ``silence`` is the longest time without one.

        Raises:
            UnavailableError: the connection is refused or lost.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        try:
            async with self._open(request, limits) as response:
                if response.status != 200:  # noqa: PLR2004  # HTTP's word for success
                    if response.status in _BUSY or response.status == _BROKEN:
                        raise self._unavailable(f"HTTP {response.status}")
                    yield Answer(response.status, self._read(await response.read(), response))
                    return
                async for line in response.content:
                    if line.strip():
                        yield Answer(200, orjson.loads(line))
        except (*_LOST, ValueError) as fault:
            # ValueError: half a line of JSON, or one without end.
            raise self._unavailable(f"the watch broke: {_line(fault)}") from None

    @asynccontextmanager
    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Accept": "application/json", "User-Agent": "headrace"}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if authorization := await asyncio.to_thread(self._to.authorization):
            headers["Authorization"] = authorization
        try:
            async with self._session.request(
                request.method,
                self._to.server + request.path,
                params=request.params,
                data=request.body,
                headers=headers,
                timeout=limits,
                ssl=self._to.tls or True,
                server_hostname=self._to.tls_name,
                proxy=self._to.proxy,
                allow_redirects=False,
            ) as response:
                yield response
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as fault:
            raise self._distrust(fault) from None
        except aiohttp.InvalidURL:
            raise ConfigurationError(f"{self._to.server!r} is no address of a cluster") from None

    def _read(self, body: bytes, response: aiohttp.ClientResponse) -> Mapping[str, Any]:
        try:
            value = orjson.loads(body)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        if response.status < 400:  # noqa: PLR2004  # HTTP's errors begin there
            raise ConfigurationError(
                f"{self._to.server} answers HTTP {response.status} with {response.content_type}, not as a cluster does",
                hint="is it the API server's address, and are you logged in?",
            )
        return {"message": body.decode("utf-8", "replace")[:200] or f"HTTP {response.status}"}

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(
            f"{self._to.name} at {self._to.server} does not answer: {why}",
            hint="is it running, and the network to it up? The same command goes on where this one stopped",
        )

    def _distrust(self, fault: Exception) -> ConfigurationError:
        cause = getattr(fault, "certificate_error", None) or fault
        why = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause
        return ConfigurationError(
            f"No secure connection to {self._to.name} at {self._to.server}: {_line(why)}",
            hint="is its certificate-authority in the kubeconfig still right?",
        )


_LOST = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""What a broken connection raises."""


class _Later(Exception):  # noqa: N818  # never leaves this module: it becomes an UnavailableError
    """No answer that counts: come again after a pause, within a patience."""

    def __init__(self, why: str, pause: float, patience: float) -> None:
        super().__init__(why)
        self.pause = pause
        self.patience = patience


def _retry_after(response: aiohttp.ClientResponse, wait: float) -> float:
    """The seconds that the cluster asks for; 0 is as good as none."""
    asked = response.headers.get("Retry-After", "")
    return max(float(asked), wait) if asked.isdecimal() else wait


def _line(fault: object) -> str:
    return " ".join(str(fault).split())[:300] or type(fault).__name__


@asynccontextmanager
async def transport(connection: Connection, patience: Patience) -> AsyncIterator[Transport]:
    """A transport whose connections are closed at the end."""
    # Watches stay open beside the requests, so connections are not counted here; who sends bounds what is sent at once.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=True, read_bufsize=_LONGEST_LINE) as session:
        yield Transport(session, connection, patience)
