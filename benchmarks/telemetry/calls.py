"""The calls to telemetry that one event makes on its way, and nothing else: publisher to dispatcher to models and back.

A machine that does other work moves the cost of a whole way by more than an unsampled event costs. These calls alone,
thousands of times in a row, have a steady least: that of the moments in which nobody else was at work.
"""

from __future__ import annotations

from time import thread_time

from opentelemetry import trace
from opentelemetry.context import Context

from headrace.eventing import spans as kafka
from headrace.eventing.codec.kafka import text_headers
from headrace.eventing.event import new_event
from headrace.eventing.log import Partition, Record
from headrace.serving import spans as serving
from headrace.serving.messages import Request
from headrace.telemetry import tracing
from headrace.transformers import forwarding

TIMES = 50
"""Events in one look at the clock."""
_TRACER = tracing.tracer(__name__)
_EVENT = new_event({"specversion": "1.0", "id": "1", "source": "/bench", "type": "t"}, b'{"n": 1}')
_POST = {"http.request.method": "POST", "url.full": "http://127.0.0.1/", "server.address": "127.0.0.1"}
_HEADERS = {"content-type": "application/json", "host": "127.0.0.1"}


def cost(looks: int) -> float:
    """The least seconds of CPU that an event's calls take, as this process's provider is now."""
    return min(_look() for _ in range(looks))


def _look() -> float:
    began = thread_time()
    for _ in range(TIMES):
        _one()
    return (thread_time() - began) / TIMES


def _one() -> None:
    span = _TRACER.start_span("publish in", Context(), kind=tracing.SpanKind.PRODUCER)
    tracing.describe(span, kafka.publishing, "in", _EVENT)
    headers = tracing.inject(span)
    span.end()
    _dispatch(Record(Partition("in", 0), 1, 1, None, b"", tuple((k, v.encode()) for k, v in headers.items())))


def _dispatch(record: Record) -> None:
    arrived = tracing.extract(text_headers(record), _EVENT.attributes)
    receive = _TRACER.start_span("receive in", arrived, kind=tracing.SpanKind.CONSUMER)
    tracing.describe(receive, kafka.consuming, "receive", record, _EVENT, "g")
    process = _TRACER.start_span("process in", tracing.child_of(receive, arrived), kind=tracing.SpanKind.CONSUMER)
    tracing.describe(process, kafka.consuming, "process", record, _EVENT, "g")
    context = tracing.child_of(process, arrived)
    with tracing.recorded(process):
        span = _TRACER.start_span("POST", context, kind=tracing.SpanKind.CLIENT, attributes=_POST)
        with tracing.recorded(span):
            _transform({**_HEADERS, **tracing.inject(span, context)})
            span.set_attribute("http.response.status_code", 200)
    publish = _TRACER.start_span("publish out", context, kind=tracing.SpanKind.PRODUCER)
    tracing.describe(publish, kafka.publishing, "out", _EVENT)
    tracing.carrier(tracing.child_of(publish, context))
    publish.end()
    receive.end()


def _transform(headers: dict[str, str]) -> None:
    context = tracing.extract(headers, _EVENT.attributes)
    request = Request("POST", "/", headers, b"")
    with serving.entered(serving.server_span("POST /", request, "/", context), context) as span:
        serving.describe_event(span, _EVENT)
        with serving.step("preprocess"):
            pass
        caller = forwarding.caller_context(headers)
        infer = forwarding.start_span(caller, _POST)
        with tracing.recorded(infer):
            _predict(forwarding.outgoing(headers, infer, caller))
            infer.set_attribute("http.response.status_code", 200)
        with serving.step("postprocess"):
            pass
        serving.answered(span, 200)
        tracing.inject(span)


def _predict(headers: dict[str, str]) -> None:
    context = tracing.extract(headers)
    request = Request("POST", "/v2/models/m/infer", headers, b"")
    with serving.entered(serving.server_span("infer", request, "/", context), context) as span:
        if tracing.within_trace():
            current = trace.set_span_in_context(span, context)
            _TRACER.start_span("queue", current).end()
            _TRACER.start_span("batch", current, attributes={"headrace.batch.size": 1}).end()
        serving.answered(span, 200)
