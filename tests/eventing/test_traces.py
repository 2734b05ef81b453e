"""The spans of the dispatcher: one tree an event, contexts never mixed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.eventing.codec.kafka import write_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.telemetry import tracing
from headrace.testing.clock import InstantClock
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from headrace.eventing.log import OutgoingRecord

TRACES = {str(n): f"{n + 1:032x}" for n in range(3)}


def event(number: str) -> CloudEvent:
    """An event with this number as id."""
    return new_event({"specversion": "1.0", "id": number, "source": "/s", "type": "t"}, number.encode())


def dispatched(
    monkeypatch: pytest.MonkeyPatch, records: Sequence[OutgoingRecord], answer: Callable[[CloudEvent], Reply]
) -> tuple[MemoryBroker, tuple[ReadableSpan, ...]]:
    """Dispatch the records; the broker and the spans afterwards."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer)
    broker = MemoryBroker()
    for record in records:
        broker.append(record)

    async def run() -> None:
        sink, stop = MemorySink(answer), asyncio.Event()
        settings = DispatchSettings(Responder("ns", "app", "app", "1"), dead_letters="dead", results="out")
        dispatcher = Dispatcher(MemoryLog(broker, "in"), sink, settings, InstantClock())
        running = asyncio.ensure_future(dispatcher.run(stop))

        async def answered() -> None:
            while len(broker.records("out")) < len(records):  # noqa: ASYNC110  # a state, and no event tells of it
                await asyncio.sleep(0)

        await asyncio.wait_for(answered(), 10)
        stop.set()
        await running

    asyncio.run(run())
    return broker, exporter.get_finished_spans()


def ok(_: CloudEvent) -> Reply:
    """An answer."""
    return Reply(200, {"content-type": "text/plain"}, b"ok")


def parents(spans: tuple[ReadableSpan, ...], trace_id: int) -> dict[str, str | int]:
    """Each span of a trace by name, with its parent's name, or the id of a parent that came from outside."""
    mine = [span for span in spans if span.context.trace_id == trace_id]
    names = {span.context.span_id: span.name for span in mine}
    return {span.name: names.get(span.parent.span_id, span.parent.span_id) if span.parent else "" for span in mine}


def test_three_interleaved_traces_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event's spans are in its own trace, below its publisher's span (what Knative mixes up)."""
    records = [
        write_record(event(n), "in", trace={"traceparent": f"00-{trace_id}-{7:016x}-01"})
        for n, trace_id in TRACES.items()
    ]
    broker, spans = dispatched(monkeypatch, records, ok)
    for trace_id in TRACES.values():
        assert parents(spans, int(trace_id, 16)) == {
            "receive in": 7,
            "process in": "receive in",
            "publish out": "process in",
        }
    for record in broker.records("out"):
        headers = {name: (value or b"").decode() for name, value in record.headers}
        assert TRACES[headers["ce_causationid"]] in headers["traceparent"]
        assert headers["traceparent"] == headers["ce_traceparent"], "always the current span, in both places"


def test_the_kafka_header_goes_before_the_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    """``traceparent`` of the record wins over ``ce_traceparent``; with neither, a trace begins."""
    by_attribute = event("0").with_attributes(traceparent=f"00-{5:032x}-{6:016x}-01")
    records = [
        write_record(by_attribute, "in", trace={}),
        write_record(by_attribute.with_attributes(id="1"), "in", trace={}),
        write_record(event("2"), "in", trace={}),
    ]
    stronger = (*records[1].headers, ("traceparent", f"00-{8:032x}-{9:016x}-01".encode()))
    records[1] = type(records[1])("in", None, b"1", stronger)
    _, spans = dispatched(monkeypatch, records, ok)
    assert parents(spans, 5)["receive in"] == 6
    assert parents(spans, 8)["receive in"] == 9
    fresh = {span.context.trace_id for span in spans} - {5, 8}
    assert [parents(spans, trace_id)["receive in"] for trace_id in fresh] == [""]


def test_retries_and_the_dead_letter_are_events_of_the_process_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace goes on through the dead letter, and the process span tells of each retry."""
    broker, spans = dispatched(monkeypatch, [write_record(event("0"), "in", trace={})], lambda _: Reply(500))
    process = next(span for span in spans if span.name == "process in")
    assert [happened.name for happened in process.events] == ["retry"] * 4 + ["dead letter"]
    assert not process.status.is_ok
    letter = dict(broker.records("dead")[0].headers)
    assert f"{process.context.trace_id:032x}".encode() in (letter["traceparent"] or b"")
    assert parents(spans, process.context.trace_id)["publish dead"] == "process in"
