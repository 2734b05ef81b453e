"""One POST to a predictor, and what may go wrong with it."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from headrace.errors import DeadlineExceededError
from headrace.transformers.faults import PredictorFailedError
from headrace.transformers.retries import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT = 5.0
"""Seconds for a connection to be made; a predictor that is there takes milliseconds."""

_LARGE = 256 * 1024
"""Bytes over which aiohttp is given a stream: it writes bytes at once, and holds the loop up meanwhile."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor answered."""

    status: int
    headers: Mapping[str, str]
    """By name, in any case."""
    content: bytes


class Poster:
    """Connections to one predictor, kept alive. Belongs to the event loop that it is first used on.

    Args:
        base_url: ``http://HOST:PORT``.
        timeout: Seconds for one request where nobody says less; told in errors.
    """

    def __init__(self, base_url: str, *, timeout: float) -> None:
        self.base_url = base_url
        self.timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], ends: float) -> Answer:
        """The predictor's answer, whatever its status.

        Args:
            path: From ``/`` on, quoted.
            body: The body.
            headers: The headers.
            ends: The loop's time at which it must be there.

        Raises:
            NoAnswerError: there is no connection, or it ended before a byte of the answer.
            PredictorFailedError: it ended in the middle of the answer.
            DeadlineExceededError: the time is over.
        """
        return await self._ask("POST", path, body, headers, ends)

    async def get(self, path: str, ends: float) -> Answer:
        """As :meth:`post`, for a GET."""
        return await self._ask("GET", path, None, {}, ends)

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], ends: float) -> Answer:
        begun = False
        left = ends - asyncio.get_running_loop().time()
        timeout = aiohttp.ClientTimeout(total=max(left, 0.001), sock_connect=CONNECT_TIMEOUT)
        url = f"{self.base_url}{path}"
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE else body
        asked = self._connected().request(
            method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout
        )
        try:
            async with asked as answer:
                begun = True
                return Answer(answer.status, answer.headers, await answer.read())
        except aiohttp.ConnectionTimeoutError as fault:
            raise NoAnswerError(f"Predictor {self.base_url} takes no connection in {CONNECT_TIMEOUT:g} s") from fault
        except asyncio.TimeoutError as fault:
            raise DeadlineExceededError(f"Predictor {self.base_url} did not answer in {self.timeout:g} s") from fault
        except (aiohttp.ClientError, OSError) as fault:
            told = f"Predictor {self.base_url} does not answer: {fault}"
            if begun:
                raise PredictorFailedError(told, http_status=503) from fault
            raise NoAnswerError(told) from fault

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                skip_auto_headers=("user-agent", "accept-encoding", "accept"),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
