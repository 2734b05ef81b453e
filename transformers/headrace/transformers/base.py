"""The base of transformers."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace.errors import ConfigurationError, HeadraceError
from headrace.models.kserve_api import InferRequest, InferResponse, Model
from headrace.models.kserve_faults import StatusUnderKServe
from headrace.transformers.client import Client, client_of


class Transformer(StatusUnderKServe, Model):
    """Stands before a predictor and asks it over v2 with raw tensors: REST, or gRPC (``--predictor-protocol grpc-v2``).

    A subclass overrides ``preprocess`` (to an ``InferRequest``) and ``postprocess``. The predictor is the one that
    the server was started with (``--predictor-host``); it is asked for the model of the transformer's own name, as
    KServe's controller names both alike.

    Args:
        name: The model's name in paths and results.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None

    async def predict(
        self, payload: InferRequest, headers: dict[str, str] | None = None, response_headers: Any = None
    ) -> InferResponse:
        """The predictor's answer to ``payload``.

        Raises:
            HeadraceError: with the predictor's own status; unavailable where it does not answer, deadline exceeded
                where it does not in time.
        """
        del response_headers
        if not isinstance(payload, InferRequest):
            raise HeadraceError(f"{type(self).__name__}.preprocess must return an InferRequest, not {type(payload)}")
        response = await self._predictor().infer(payload, headers or {})
        response.v1 = getattr(payload, "v1", False)
        return response

    async def aclose(self) -> None:
        """Close the connections to the predictor."""
        if self._client is not None:
            await self._client.close()

    def stop(self) -> None:
        """Close the connections to the predictor, in the background where a loop runs (KServe's server)."""
        self.ready = False
        if self._loop is not None and self._loop.is_running() and self._client is not None:
            self._closing = self._loop.create_task(self._client.close())

    def _predictor(self) -> Client:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            config = self.predictor_config
            if config is None or not config.predictor_host:
                raise ConfigurationError(
                    f"Transformer '{self.name}' has no predictor to ask",
                    hint="start it with --predictor-host HOST:PORT",
                )
            self._client = client_of(config)
            self._loop = loop
        return self._client
