"""CloudEvents in, CloudEvents out: binary, structured and batched mode (event contract, sections 2 and 3)."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry import trace
from opentelemetry.trace import Link

from headrace.errors import HeadraceError, InvalidEventError, InvalidInputError, PermanentError
from headrace.eventing import replicas
from headrace.eventing.attempt import is_expired
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.event import UNREAD
from headrace.eventing.results import error_event, result_event
from headrace.models import tensors
from headrace.models.kserve_api import InferRequest, InferResponse
from headrace.serving import faults, spans
from headrace.serving.event_batch import EventBatch, contexts_of, is_untraced, sampled_span, seen_headers
from headrace.serving.hosted import whole
from headrace.serving.messages import Response
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.results import Problem, Responder
    from headrace.serving.event_batch import Written
    from headrace.serving.hosted import Hosted
    from headrace.serving.messages import Request
    from headrace.serving.metrics import Metrics

AT_ONCE = 64
"""Events of one batch that are worked on at the same time."""
_OCTETS = "application/octet-stream"
_EXPIRED = 410
"""Gone: a retry cannot bring the moment back."""


class ExpiredError(PermanentError):
    """The event's ``expirytime`` is past."""

    http_status = _EXPIRED


@dataclass(frozen=True, slots=True)
class EventDoor:
    """Where events come in for one model.

    One event is answered with its result or with an error event and the status of the error. A batch is answered
    with 200 and a batch: for each item, in order, its result or its error event.
    """

    hosted: Hosted
    identity: Responder
    metrics: Metrics
    tensors: bool = False
    """Whether the data of an event is a v2 request (on ``/v2/models/M/infer``)."""

    async def answer(self, request: Request, route: str, mode: Mode) -> Response:
        """The response to a request that holds events."""
        if mode is Mode.BATCHED:
            return await self._answer_batch(request, route)
        return await self._answer_single(request, route, mode)

    async def _answer_single(self, request: Request, route: str, mode: Mode) -> Response:
        event = _read(request, mode)
        attributes = {} if isinstance(event, InvalidEventError) else event.attributes
        context = tracing.extract(request.headers, attributes)
        name = f"{request.method} {route}"
        with spans.entered(spans.server_span(name, request, route, context), context) as span:
            given, found = await self._answer_read(event, request, span)
            status = 200 if found is None else found.status
            spans.answered(span, status)
        message = http.write_binary(given) if mode is Mode.BINARY else http.write_structured(given)
        headers = {**message.headers, **_own_name(), **(faults.retry_headers(found) if found else {})}
        return Response(status, headers, message.body)

    async def _answer_batch(self, request: Request, route: str) -> Response:
        context = tracing.extract(request.headers)
        try:
            items = json_format.load_batch(bytes(request.body))
        except InvalidEventError as fault:
            return faults.error_response(fault)
        contexts = contexts_of(items)
        links = [Link(found) for each in contexts if (found := sampled_span(each)) is not None]
        span = spans.server_span(f"{request.method} {route}", request, route, context, links=links)
        with spans.entered(span, context):
            answers = await self._answers(items, contexts, request.headers, span)
            spans.answered(span, 200)
        message = http.write_batch(answers)
        return Response(200, {**message.headers, **_own_name()}, message.body)

    async def _answers(
        self,
        items: Sequence[CloudEvent | InvalidEventError],
        contexts: Sequence[Context],
        headers: Mapping[str, str],
        parent: Span,
    ) -> list[CloudEvent]:
        """The answer to each item, in order: those that nobody traces together, the others each in its own trace."""
        together = [at for at in range(len(items)) if is_untraced(contexts[at], parent)]
        batch = EventBatch(self.hosted, self.identity, self.metrics, payload=self._admitted, data=self._data)
        if len(together) == len(items):
            return await batch.answers(items, contexts, headers, parent, AT_ONCE)
        quick = batch.answers(
            [items[at] for at in together], [contexts[at] for at in together], headers, parent, AT_ONCE
        )
        alone = [at for at in range(len(items)) if at not in set(together)]
        turns = asyncio.Semaphore(AT_ONCE)
        tasks = [self._answer_item(items[at], contexts[at], headers, parent, turns) for at in alone]
        answered, rest = await asyncio.gather(quick, asyncio.gather(*tasks))
        found = dict(zip([*together, *alone], [*answered, *rest], strict=True))
        return [found[at] for at in range(len(items))]

    async def _answer_item(
        self,
        item: CloudEvent | InvalidEventError,
        context: Context,
        headers: Mapping[str, str],
        parent: Span,
        turns: asyncio.Semaphore,
    ) -> CloudEvent:
        if isinstance(item, InvalidEventError):
            return self._error(None, faults.problem(item), parent)
        async with turns:
            if not tracing.is_known(trace.get_current_span(context)):
                context = trace.set_span_in_context(parent, context)
            # In the event's own trace, and never in that of a neighbour: gather gave each item a task of its own.
            span = spans.item_span(item, context, parent)
            with spans.entered(span, context):
                given, found = await self._answer_event(item, headers, span)
                if found is not None:
                    tracing.fail(span, found.code)
                return given

    async def _answer_read(
        self, event: CloudEvent | InvalidEventError, request: Request, span: Span
    ) -> tuple[CloudEvent, Problem | None]:
        if isinstance(event, InvalidEventError):
            found = faults.problem(event)
            return self._error(None, found, span), found
        spans.describe_event(span, event)
        return await self._answer_event(event, request.headers, span)

    async def _answer_event(
        self, event: CloudEvent, headers: Mapping[str, str], span: Span
    ) -> tuple[CloudEvent, Problem | None]:
        try:
            seen = _headers_for(event, headers)
            if self.hosted.metered:
                seen["content-length"] = str(len(event.data or b""))
            payload = self._admitted(event, seen)
            outcome = await whole(await self.hosted.infer(payload, seen))
            if isinstance(outcome, Exception):
                raise outcome  # noqa: TRY301  # a fault in the middle of a stream
            data, content_type, value = self._data(*outcome, payload)
        except Exception as fault:  # noqa: BLE001  # whatever a model raises becomes an error event
            found = faults.problem(fault)
            faults.log(fault, found, self.hosted.name, event)
            return self._error(event, found, span), found
        self.metrics.event(self.hosted.name, "result")
        current = tracing.inject(span)
        given = result_event(
            event,
            data=data,
            content_type=content_type,
            identity=self.identity,
            trace=current,
            now=_now(),
            value=value,
        )
        return given, None

    def _admitted(self, event: CloudEvent, headers: Mapping[str, str]) -> Any:
        _check_expiry(event)
        return self._payload(event, headers)

    def _data(self, answer: Any, headers: Mapping[str, str], payload: Any) -> Written:
        return _data_of(answer, headers, payload, self.hosted.name)

    def _payload(self, event: CloudEvent, headers: Mapping[str, str]) -> Any:
        if self.tensors:
            return tensors.load_request(event.data or b"", self.hosted.name, headers.get(tensors.HEADER_LENGTH))
        return decoded(event.data, event.content_type) if event.value is UNREAD else event.value

    def _error(self, event: CloudEvent | None, found: Problem, span: Span) -> CloudEvent:
        self.metrics.event(self.hosted.name, found.code)
        unidentified = "" if event else uuid.uuid4().hex
        return error_event(
            event, found, identity=self.identity, trace=tracing.inject(span), now=_now(), unidentified=unidentified
        )


def _own_name() -> dict[str, str]:
    """The header by which a dispatcher counts the replicas that are ready."""
    return {replicas.HEADER: replicas.own_name()}


def decoded(data: bytes | bytearray | None, content_type: str | None) -> Any:
    """The data as a model gets it from KServe: JSON decoded, anything else as bytes; no data is ``b""``.

    Raises:
        InvalidInputError: the media type says JSON and the data is none.
    """
    if not data:
        return b""
    if content_type is not None and not json_format.is_json(content_type):
        return bytes(data)
    try:
        return orjson.loads(_utf8(data, content_type))
    except (orjson.JSONDecodeError, UnicodeDecodeError, LookupError) as fault:
        if content_type is None:
            return bytes(data)
        raise InvalidInputError(f"Unrecognized request format: {fault}") from fault


def _utf8(data: bytes | bytearray, content_type: str | None) -> bytes | bytearray | str:
    charset = (content_type or "").lower().partition("charset=")[2].partition(";")[0].strip(' "')
    return data if charset in ("", "utf-8", "utf8", "us-ascii") else data.decode(charset)


def _read(request: Request, mode: Mode) -> CloudEvent | InvalidEventError:
    try:
        if mode is Mode.STRUCTURED:
            return json_format.load_event(bytes(request.body))
        return http.read_binary(HttpMessage(request.headers, bytes(request.body)))
    except InvalidEventError as fault:
        return fault


def _headers_for(event: CloudEvent, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that the model sees: those of the request, as if the event had come alone in binary mode."""
    if event.content_type is not None:
        return seen_headers(event, headers, headers)
    named = {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}
    return seen_headers(event, headers, named)


def _data_of(answer: Any, headers: Mapping[str, str], payload: Any, model: str) -> Written:
    """A model's answer on the wire: what the v1 or v2 response would have as its body."""
    if isinstance(answer, InferResponse):
        # An event has no header that could tell where binary tensors begin: they are written as JSON.
        plain = InferRequest(model, [], request_id=payload.id if isinstance(payload, InferRequest) else None)
        return tensors.dump_response(answer, plain)[1], tensors.JSON, answer
    if isinstance(answer, (bytes, bytearray)):
        return bytes(answer), _named(headers) or _OCTETS, UNREAD
    if isinstance(answer, str):
        return answer.encode(), _named(headers) or "text/plain; charset=utf-8", UNREAD
    try:
        body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except TypeError as fault:
        raise HeadraceError(f"Model '{model}' answered what has no JSON form: {fault}") from fault
    return body, tensors.JSON, answer


def _named(headers: Mapping[str, str]) -> str | None:
    """The media type that the model has set."""
    return {name.lower(): value for name, value in headers.items()}.get("content-type") if headers else None


def _check_expiry(event: CloudEvent) -> None:
    if "expirytime" in event.attributes and is_expired(event, time.time()):
        raise ExpiredError(f"The event expired at {event.get('expirytime')}")


def _now() -> datetime:
    return datetime.now(tz=timezone.utc)
