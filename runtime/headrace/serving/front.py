"""What every request meets first: alive while the models load, draining at the end.

It owns the count of requests in flight, those of gRPC as well. What stands behind it is set when the models are
loaded, so that nothing heavy is imported before the port is open.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from headrace.serving.messages import Response, json_response

if TYPE_CHECKING:
    from headrace.serving.messages import Request
    from headrace.serving.metrics import Metrics

LOADING_RETRY = "1"
"""``Retry-After`` in seconds while the model loads, and while the server leaves."""

_ONLY_ASKED = ("/v2/health/live", "/v2/health/ready", "/metrics")


class Application(Protocol):
    """What answers requests once the models are loaded."""

    metrics: Metrics

    async def ready(self) -> bool:
        """Whether every model is healthy."""

    async def answer(self, request: Request) -> Response:
        """The response to a request; it raises nothing but a cancellation."""


class Front:
    """Answers probes by itself, and hands everything else to the application.

    Args:
        name: What is being loaded, for those who come too early.
    """

    def __init__(self, name: str) -> None:
        self.application: Application | None = None
        self.held = False
        """Not ready though everything is loaded: other workers of this server still load."""
        self.released: asyncio.Future[None] | None = None
        """Ends when it is held no more."""
        self.draining = False
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._name = name

    @property
    def serving(self) -> bool:
        """Whether requests are taken on."""
        return self.application is not None and not self.draining

    def enter(self) -> None:
        """A request begins to be worked on."""
        self.in_flight += 1

    def leave(self) -> None:
        """It is answered, or its client is gone."""
        self.in_flight -= 1
        if self.draining and not self.in_flight:
            self._idle.set()

    async def respond(self, request: Request) -> Response:
        """The response to a request that has been read to its end."""
        if (probe := await self._probe(request)) is not None:
            return probe
        application = self.application
        if application is None:
            told = f"Model with name {self._name} is not ready."
            return json_response({"error": told}, 503, {"retry-after": LOADING_RETRY})
        if self.draining and request.method == "POST":
            return json_response({"error": "The server is stopping."}, 503, {"retry-after": LOADING_RETRY})
        return await application.answer(request)

    async def ready(self) -> bool:
        """Whether requests are to be sent here."""
        application = self.application
        return application is not None and not self.draining and not self.held and await application.ready()

    async def drain(self, grace: float) -> int:
        """Refuse to be ready, take no new work, and wait until all that is in flight is answered.

        Args:
            grace: Seconds to wait at most.

        Returns:
            How many requests were not answered in time.
        """
        self.draining = True
        if self.in_flight:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace)
        return self.in_flight

    async def _probe(self, request: Request) -> Response | None:
        if request.method not in ("GET", "HEAD"):
            refused = json_response({"detail": "Method Not Allowed"}, 405, {"allow": "GET"})
            return refused if request.path in _ONLY_ASKED else None
        if request.path == "/":
            return json_response({"status": "alive"})
        if request.path == "/v2/health/live":
            return json_response({"live": True})
        if request.path == "/v2/health/ready":
            if await self.ready():
                return json_response({"ready": True})
            return json_response({"error": "Server is not ready."}, 503)
        return None
