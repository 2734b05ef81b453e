"""The way from a transformer to its predictor: v2 REST, tensors as raw bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from headrace.errors import DeadlineExceededError, HeadraceError, InvalidInputError
from headrace.models import tensors
from headrace.telemetry import tracing
from headrace.transformers.faults import PredictorFailedError, PredictorUnavailableError, fault_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

    from headrace.models.kserve_api import InferRequest, InferResponse

FORWARDED = ("authorization", "x-request-id")
"""Headers of the caller that the predictor gets too, beside the trace."""
_TRACER = tracing.tracer(__name__)
_OK = 200
_TOLD = 1000
"""Characters of a predictor's error that are passed on."""


class PredictorClient:
    """Asks one model of one predictor; connections are kept alive.

    Belongs to the event loop that it is first used on.

    Args:
        base_url: ``http://HOST:PORT``.
        timeout: Seconds for one request, connecting included.
    """

    def __init__(self, base_url: str, *, timeout: float) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._server = urlsplit(self.base_url)
        self._session: aiohttp.ClientSession | None = None

    async def infer(self, request: InferRequest, headers: Mapping[str, str]) -> InferResponse:
        """The predictor's response.

        Args:
            request: What is asked; its ``model_name`` is the predictor's model.
            headers: The headers of the caller's request by lower-case name.

        Raises:
            HeadraceError: with the predictor's own status; unavailable where it does not answer, deadline exceeded
                where it does not in time.
        """
        context = _caller_context(headers)
        attributes: dict[str, str | int] = {
            "http.request.method": "POST",
            "url.full": self._url(request),
            "server.address": self._server.hostname or "",
            "server.port": self._server.port or (443 if self._server.scheme == "https" else 80),
        }
        span = _TRACER.start_span("infer", context, kind=SpanKind.CLIENT, attributes=attributes)
        with tracing.recorded(span):
            kind, body = tensors.dump_request(request)
            sent = {**kind, **{name: headers[name] for name in FORWARDED if name in headers}}
            propagate.inject(sent, trace.set_span_in_context(span, context))
            return await self._post(self._url(request), body, sent)

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _url(self, request: InferRequest) -> str:
        return f"{self.base_url}/v2/models/{quote(request.model_name, safe='')}/infer"

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> InferResponse:
        try:
            async with self._connected().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                content = await answer.read()
        except asyncio.TimeoutError as fault:
            raise DeadlineExceededError(f"Predictor {self.base_url} did not answer in {self.timeout:g} s") from fault
        except (aiohttp.ClientError, OSError) as fault:
            raise PredictorUnavailableError(f"Predictor {self.base_url} does not answer: {fault}") from fault
        trace.get_current_span().set_attribute("http.response.status_code", answer.status)
        if answer.status != _OK:
            raise self._fault(answer, content)
        try:
            return tensors.load_response(content, answer.headers.get(tensors.HEADER_LENGTH))
        except InvalidInputError as fault:
            # The caller's input is not to blame for what the predictor writes.
            raise PredictorFailedError(
                f"Predictor {self.base_url} answered nonsense: {fault}", http_status=502
            ) from fault

    def _fault(self, answer: aiohttp.ClientResponse, content: bytes) -> HeadraceError:
        message = f"Predictor {self.base_url} answered {answer.status}: {_told(content)}"
        return fault_of(answer.status, message, _seconds(answer.headers.get("retry-after")))

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                skip_auto_headers=("user-agent", "accept-encoding", "accept"),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _caller_context(headers: Mapping[str, str]) -> Context | None:
    # Headrace's server has made the caller's span current; KServe's has not, so the headers are read then.
    if trace.get_current_span().get_span_context().is_valid:
        return None
    return tracing.extract(headers, {"traceparent": headers["ce-traceparent"]} if "ce-traceparent" in headers else {})


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
