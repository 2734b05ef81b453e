"""Many events of one request, answered in as few turns of the loop as one: the way of events that nobody traces.

An event costs a fifth of what it does alone. One whose trace is sampled, or that brings baggage, has a task and a
context of its own instead, which keeps the traces apart.
"""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from headrace.errors import InvalidEventError
from headrace.eventing.results import error_event, result_event
from headrace.serving import faults, spans
from headrace.serving.hosted import whole
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import Span, SpanContext

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.results import Responder
    from headrace.serving.hosted import Hosted
    from headrace.serving.metrics import Metrics


_NO_CONTEXT = Context()
Written = tuple[bytes, str, Any]
"""An answer on the wire: its bytes, their media type, and what was written as JSON (``UNREAD`` where nothing was)."""


def contexts_of(items: Sequence[CloudEvent | InvalidEventError]) -> list[Context]:
    """The trace context that each item brings; an empty one where it brings none."""
    return [_NO_CONTEXT if isinstance(item, InvalidEventError) else tracing.extract(item.attributes) for item in items]


def sampled_span(context: Context) -> SpanContext | None:
    """The sampled span that is current in ``context``, where there is one."""
    if not context:
        return None
    span = trace.get_current_span(context)
    return span.get_span_context() if tracing.is_sampled(span) else None


def is_untraced(context: Context, parent: Span) -> bool:
    """Whether the event of ``context`` can go with others: it is in no sampled trace, and brings no baggage.

    Args:
        context: What it brings.
        parent: The request's span, whose trace it is in where it brings none.
    """
    if len(context) > 1:
        return False
    if not tracing.active():
        return True
    span = trace.get_current_span(context) if context else parent
    return tracing.is_known(span) and not tracing.is_sampled(span)


class EventBatch:
    """Answers batches of untraced events.

    Args:
        hosted: The model.
        identity: Who answers.
        metrics: Where events are counted.
        payload: What the model is given of an event and its headers; raises for one that cannot be read.
        data: What an answer, its headers and the payload that it answers are on the wire.
    """

    def __init__(
        self,
        hosted: Hosted,
        identity: Responder,
        metrics: Metrics,
        *,
        payload: Callable[[CloudEvent, Mapping[str, str]], Any],
        data: Callable[[Any, Mapping[str, str], Any], Written],
    ) -> None:
        self._hosted = hosted
        self._identity = identity
        self._metrics = metrics
        self._payload = payload
        self._data = data
        self._now = datetime.now(tz=timezone.utc)
        self._counted: Counter[str] = Counter()

    async def answers(
        self,
        items: Sequence[CloudEvent | InvalidEventError],
        contexts: Sequence[Context],
        headers: Mapping[str, str],
        parent: Span,
        at_once: int,
    ) -> list[CloudEvent]:
        """The answer to each, in order; ``at_once`` of them are worked on at a time.

        Args:
            items: The events.
            contexts: What each one brings of a trace.
            headers: Those of the request.
            parent: The request's span.
            at_once: How many are worked on at a time.
        """
        # Not below the request's span: hooks and runs of these events are not part of its trace.
        token = otel_context.attach(_NO_CONTEXT)
        try:
            given: list[CloudEvent] = []
            for start in range(0, len(items), at_once):
                end = start + at_once
                given += await self._answers(items[start:end], contexts[start:end], headers, parent)
            return given
        finally:
            otel_context.detach(token)

    async def _answers(
        self,
        items: Sequence[CloudEvent | InvalidEventError],
        contexts: Sequence[Context],
        headers: Mapping[str, str],
        parent: Span,
    ) -> list[CloudEvent]:
        ours = [_item_span(item, context, parent) for item, context in zip(items, contexts, strict=True)]
        named = {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}
        found = [self._read(item, headers, named) for item in items]
        calls = [call for call in found if not isinstance(call, Exception)]
        outcomes = iter(await self._hosted.infer_all(calls))
        self._now = datetime.now(tz=timezone.utc)
        answers = []
        for item, call, span in zip(items, found, ours, strict=True):
            outcome: Any = call if isinstance(call, Exception) else next(outcomes)
            answers.append(self._answer(item, call, await whole(outcome), span))
        for outcome, count in self._counted.items():
            self._metrics.event(self._hosted.name, outcome, count)
        self._counted.clear()
        return answers

    def _read(
        self, item: CloudEvent | InvalidEventError, headers: Mapping[str, str], named: Mapping[str, str]
    ) -> tuple[Any, dict[str, str]] | Exception:
        if isinstance(item, InvalidEventError):
            return item
        try:
            seen = seen_headers(item, headers, named)
            if self._hosted.metered:
                seen["content-length"] = str(len(item.data or b""))
            return self._payload(item, seen), seen
        except Exception as fault:  # noqa: BLE001  # becomes the event's answer
            return fault

    def _answer(self, item: CloudEvent | InvalidEventError, call: Any, outcome: Any, span: Span) -> CloudEvent:
        current = tracing.inject(span)
        event = None if isinstance(item, InvalidEventError) else item
        if event is not None and not isinstance(outcome, BaseException):
            try:
                answer, given = outcome
                data, media_type, value = self._data(answer, given, call[0])
            except Exception as fault:  # noqa: BLE001  # becomes the event's answer
                outcome = fault
            else:
                self._counted["result"] += 1
                span.end()
                return result_event(
                    event,
                    data=data,
                    content_type=media_type,
                    identity=self._identity,
                    trace=current,
                    now=self._now,
                    value=value,
                )
        return self._error(event, outcome, span, current)

    def _error(
        self, event: CloudEvent | None, fault: BaseException, span: Span, current: Mapping[str, str]
    ) -> CloudEvent:
        found = faults.problem(fault)
        self._counted[found.code] += 1
        if event is not None:
            faults.log(fault, found, self._hosted.name, event)
            tracing.fail(span, found.code)
            span.end()
        unidentified = "" if event is not None else uuid.uuid4().hex
        return error_event(
            event, found, identity=self._identity, trace=current, now=self._now, unidentified=unidentified
        )


def _item_span(item: CloudEvent | InvalidEventError, context: Context, parent: Span) -> Span:
    """The span of one event: one that is not sampled, or whoever sent it where nobody keeps such."""
    if isinstance(item, InvalidEventError) or (not context and parent is trace.INVALID_SPAN):
        return parent
    return spans.item_span(item, context or trace.set_span_in_context(parent, _NO_CONTEXT), parent)


def seen_headers(event: CloudEvent, headers: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """The headers that the model sees: those of the request, as if the event had come alone in binary mode.

    Args:
        event: One event.
        headers: Those of the request that it came in.
        named: The same without what describes that request's body.
    """
    attributes = event.attributes
    content_type = attributes.get("datacontenttype")
    seen = {**named} if content_type is None else {**headers, "content-type": content_type}
    for name, value in attributes.items():
        if name != "datacontenttype":
            seen[f"ce-{name}"] = value
    return seen
