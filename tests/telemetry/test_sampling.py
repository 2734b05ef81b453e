"""Which traces are sampled, and which are kept though they are not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace import Link, SpanContext, TraceFlags
from tests.telemetry.scene import Scene, outline

from headrace.eventing.batches import BatchLimits
from headrace.telemetry import tracing
from headrace.telemetry.sampling import Sampling
from headrace.telemetry.unsampled import Unsampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from headrace.eventing.event import CloudEvent

    Traced = Callable[..., InMemorySpanExporter]

NOTHING = Sampling(bound=0)
NAMES = ("always_on", "always_off", "traceidratio")


def known(sampled: int, number: int = 7) -> SpanContext:
    """A span's context."""
    return SpanContext(number, number, is_remote=True, trace_flags=TraceFlags(sampled))


@pytest.mark.parametrize("name", [*NAMES, *(f"parentbased_{name}" for name in NAMES)])
@pytest.mark.parametrize("parent", [None, known(0), known(1)])
def test_the_decision_is_the_sdks_own(monkeypatch: pytest.MonkeyPatch, name: str, parent: SpanContext | None) -> None:
    """Every sampler of the specification decides as OpenTelemetry's does, trace by trace."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    theirs = sdk._get_from_env_or_default()
    ours = Sampling.of({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": "0.25"})
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context()) if parent else Context()
    for part in range(64):
        trace_id = (part << 58) + 12345
        wanted = theirs.should_sample(context, trace_id, "x").decision is sdk.Decision.RECORD_AND_SAMPLE
        assert ours.takes(parent, trace_id) is wanted


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_TRACES_SAMPLER": "no-such"}, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}],
)
def test_what_cannot_be_read_is_the_default(environment: dict[str, str]) -> None:
    """A wrong setting of the telemetry stops nothing: every trace is sampled."""
    assert Sampling.of(environment).takes(None, (1 << 128) - 1)


def test_a_ratio_is_kept_and_a_decision_holds_for_the_whole_trace(traced: Traced) -> None:
    """A quarter of new traces is sampled, and below each span all others are as it is, a user's own among them."""
    exporter = traced(
        Sampling.of({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"})
    )
    for _ in range(2000):
        with tracing.recorded(tracing.tracer("a").start_span("root", Context())) as root:
            carried = tracing.inject(root)
        below = tracing.tracer("b").start_span("next", tracing.extract(carried))
        with tracing.recorded(below), trace.get_tracer("user").start_as_current_span("own"):
            pass
    spans = exporter.get_finished_spans()
    roots = [span for span in spans if span.name == "root"]
    assert 350 < len(roots) < 650
    assert len(spans) == 3 * len(roots)
    assert {span.context.trace_id for span in spans} == {span.context.trace_id for span in roots}


def test_a_request_is_sampled_with_any_of_its_events(traced: Traced) -> None:
    """The span of a batch links to its events, and is seen where one of them is."""
    exporter = traced(Sampling(bound=1))
    tracer = tracing.tracer("a")
    tracer.start_span("seen", Context(), links=[Link(known(0)), Link(known(1))]).end()
    tracer.start_span("not seen", Context(), links=[Link(known(0))]).end()
    assert [span.name for span in exporter.get_finished_spans()] == ["seen"]


def test_a_slow_or_failed_part_is_kept_whole(traced: Traced) -> None:
    """Its spans, events, attributes and parents are those that it would have had; the others leave nothing."""
    exporter = traced(NOTHING, slow=3600)
    tracer = tracing.tracer("a")

    def part(name: str) -> tuple[trace.Span, trace.Span]:
        first = tracer.start_span(name, tracing.extract({"traceparent": f"00-{7:032x}-{8:016x}-00"}))
        return first, tracer.start_span("below", tracing.child_of(first), attributes={"a": 1})

    quick, below = part("quick")
    below.end()
    quick.end()
    assert not exporter.get_finished_spans()
    failed, below = part("failed")
    tracing.describe(failed, lambda: {"b": 2})
    below.add_event("retry", {"n": 1})
    tracing.fail(below, "it broke")
    below.end()
    failed.end()
    first, second = exporter.get_finished_spans()
    assert (first.name, first.parent and first.parent.span_id, first.context.trace_id) == ("failed", 8, 7)
    assert dict(first.attributes or {}) == {"b": 2, "headrace.kept": "failed"}
    assert dict(second.attributes or {}) == {"a": 1, "error.type": "it broke", "headrace.kept": "failed"}
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert [event.name for event in second.events] == ["retry"]
    assert not second.status.is_ok
    exporter.clear()
    slow, _ = part("slow")
    assert type(slow) is Unsampled
    slow.started -= int(3601e9)
    slow.end()
    assert [dict(span.attributes or {})["headrace.kept"] for span in exporter.get_finished_spans()] == ["slow", "slow"]


def test_a_users_span_in_a_kept_part_is_kept(traced: Traced) -> None:
    """What a user makes by OpenTelemetry's own API, as a block or a decorated function, belongs to the part."""
    exporter = traced(NOTHING, slow=0)
    own = trace.get_tracer("user")

    @own.start_as_current_span("decorated")
    def work() -> None:
        with own.start_as_current_span("own") as span:
            span.set_attribute("a", 1)

    with tracing.recorded(tracing.tracer("a").start_span("root", Context())):
        work()
    names = {span.context.span_id: span.name for span in exporter.get_finished_spans()}
    found = {
        span.name: names.get(span.parent.span_id) if span.parent else None for span in exporter.get_finished_spans()
    }
    assert found == {"root": None, "decorated": "root", "own": "decorated"}


def test_without_a_place_to_keep_them_spans_are_not_even_made(traced: Traced) -> None:
    """The caller's context goes on as it came."""
    traced(NOTHING)
    context = tracing.extract({"traceparent": f"00-{7:032x}-{8:016x}-00"})
    span = tracing.tracer("a").start_span("x", context)
    assert span is trace.get_current_span(context)
    assert tracing.carrier(tracing.child_of(span)) == {"traceparent": f"00-{7:032x}-{8:016x}-00"}


@pytest.mark.parametrize("together", [None, BatchLimits(size=3, delay=1.0)])
@pytest.mark.timeout(180)
def test_of_many_unsampled_events_the_failed_ones_are_kept(
    broker: str, traced: Traced, together: BatchLimits | None
) -> None:
    """Singly or in a batch, with retries and dead letters; the decision of the publisher reaches every hop."""
    exporter = traced(NOTHING, slow=3600)

    async def play() -> tuple[list[CloudEvent], str]:
        async with Scene(broker) as scene:
            await scene.publish(1, 13, 666)
            return await scene.dispatch(3, together), scene.topic

    answers, topic = asyncio.run(play())
    spans = exporter.get_finished_spans()
    assert {(answer.get("traceparent") or "")[-2:] for answer in answers} == {"00"}
    assert not [span for span in spans if "headrace.kept" not in (span.attributes or {})]
    ended = [span for span in spans if span.name == f"process {topic}"]
    why = {str((span.attributes or {})["headrace.kept"]) for span in ended}
    assert why == {"retry", "dead letter"}
    letter = next(span for span in ended if (span.attributes or {})["headrace.kept"] == "dead letter")
    found = outline(spans, f"{letter.context.trace_id:032x}", topic)
    assert "publish in.dead PRODUCER" in found
    assert (letter.attributes or {})["cloudevents.event_id"]
