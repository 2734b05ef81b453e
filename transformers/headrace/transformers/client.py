"""The way from a transformer to its predictor over REST: v2, tensors as raw bytes, many requests in one POST."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

import orjson

from headrace.errors import InvalidInputError
from headrace.models import tensors
from headrace.telemetry import tracing
from headrace.transformers import forwarding
from headrace.transformers.bundling import Bundler
from headrace.transformers.faults import PredictorFailedError, fault_of
from headrace.transformers.posting import Poster
from headrace.transformers.retries import Budget, Retries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.models.kserve_api import InferRequest, InferResponse, PredictorConfig

RETRIES = 2
"""Tries beside the first of a request that got no answer, where nobody says another number."""
_OK = 200
_TOLD = 1000
"""Characters of a predictor's error that are passed on."""


class Client(Protocol):
    """Asks a predictor."""

    async def infer(self, request: InferRequest, headers: Mapping[str, str]) -> InferResponse:
        """The predictor's response."""

    async def close(self) -> None:
        """Close the connections."""


def client_of(config: PredictorConfig) -> Client:
    """The client for the predictor of a transformer, over gRPC where its protocol is ``grpc-v2``."""
    timeout, retries = float(config.timeout), int(config.retries) or RETRIES
    if config.protocol == "grpc-v2":
        from headrace.transformers.rpc_client import RpcPredictorClient  # noqa: PLC0415  # heavy, and rarely chosen

        return RpcPredictorClient(config.predictor_host, timeout=timeout, retries=retries, secure=config.use_ssl)
    return PredictorClient(config.predictor_base_url, timeout=timeout, retries=retries)


class PredictorClient:
    """Asks one model of one predictor; connections are kept alive.

    Belongs to the event loop that it is first used on.

    Args:
        base_url: ``http://HOST:PORT``.
        timeout: Seconds for one request, connecting and retries included.
        retries: Tries beside the first of a request that got no answer.
    """

    def __init__(self, base_url: str, *, timeout: float, retries: int = RETRIES) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._server = urlsplit(self.base_url)
        self._retries = Retries(retries, Budget())
        self._poster = Poster(self.base_url, timeout=timeout)
        self._bundler = Bundler(self._poster)

    async def infer(self, request: InferRequest, headers: Mapping[str, str]) -> InferResponse:
        """The predictor's response.

        Args:
            request: What is asked; its ``model_name`` is the predictor's model.
            headers: The headers of the caller's request by lower-case name.

        Raises:
            HeadraceError: with the predictor's own status; unavailable where it does not answer, deadline exceeded
                where it does not in time.
        """
        path = f"/v2/models/{quote(request.model_name, safe='')}/infer"
        context = forwarding.caller_context(headers)
        attributes = {
            "http.request.method": "POST",
            "url.full": f"{self.base_url}{path}",
            "server.address": self._server.hostname or "",
            "server.port": self._server.port or (443 if self._server.scheme == "https" else 80),
        }
        span = forwarding.start_span(context, attributes)
        with tracing.recorded(span):
            kind, body = tensors.dump_request(request)
            sent = {**forwarding.outgoing(headers, span, context), **kind}
            ends = asyncio.get_running_loop().time() + self.timeout
            answer = await self._retries.run(lambda: self._bundler.post(path, body, sent, ends))
            span.set_attribute("http.response.status_code", answer.status)
            return self._response(answer.status, answer.headers, answer.content)

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._poster.close()

    def _response(self, status: int, headers: Mapping[str, str], content: bytes) -> InferResponse:
        if status != _OK:
            message = f"Predictor {self.base_url} answered {status}: {_told(content)}"
            raise fault_of(status, message, _seconds(headers.get("retry-after")))
        try:
            return tensors.load_response(content, headers.get(tensors.HEADER_LENGTH))
        except InvalidInputError as fault:
            # The caller's input is not to blame for what the predictor writes.
            raise PredictorFailedError(
                f"Predictor {self.base_url} answered nonsense: {fault}", http_status=502
            ) from fault


def _told(content: bytes) -> str:
    try:
        members = orjson.loads(content)
        told = members.get("error") or members.get("detail") or members
    except (orjson.JSONDecodeError, AttributeError):
        told = content.decode(errors="replace")
    return str(told)[:_TOLD]


def _seconds(text: str | None) -> float | None:
    # An HTTP date is the other form that Retry-After may have; no predictor sends one.
    try:
        return float(text) if text else None
    except ValueError:
        return None
