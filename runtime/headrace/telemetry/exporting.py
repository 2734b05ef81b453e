"""Where spans go: OTLP exporters behind bounded queues, which count what they lose and hold nobody up."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, TraceFlags
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.sdk.resources import Resource
    from prometheus_client import Metric

    from headrace.telemetry.unsampled import Unsampled

_log = logging.getLogger(__name__)
QUEUE = 8192
"""Spans that wait for an exporter at most, to the local store: some 600 events."""
EXPORT_DELAY = 200
"""Milliseconds between exports to the local store: short, since a person waits for ``headrace trace``."""
KEPT = "headrace.kept"
"""Attribute of the spans of an unsampled trace that were kept: why (``slow``, ``failed``, ``retry``, ...)."""
_SCOPE = InstrumentationScope("headrace.telemetry")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@dataclass(slots=True)
class Tally:
    """What became of the spans of one exporter."""

    name: str
    kind: str
    """``otel.component.type`` of the exporter."""
    given: int = 0
    taken: int = 0
    """Handed to the exporter."""
    exported: int = 0
    failed: int = 0
    """Refused by the receiver, or not taken in time."""
    dropped: int = 0
    """Not even handed over: the queue was full."""


class CountedExporter(SpanExporter):
    """An exporter that counts, and never raises.

    Args:
        inner: The exporter.
        tally: Where it is counted.
    """

    def __init__(self, inner: SpanExporter, tally: Tally) -> None:
        self._inner = inner
        self._tally = tally

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export them; a failure is counted."""
        self._tally.taken += len(spans)
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001  # an exporter's fault is never its process's
            _log.exception("spans cannot be exported to %s", self._tally.name)
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._tally.exported += len(spans)
        else:
            self._tally.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the exporter."""
        return self._inner.force_flush(timeout_millis)


class CountedProcessor(BatchSpanProcessor):
    """A bounded queue before an exporter, emptied by a thread of its own; of a full one the oldest span goes.

    Args:
        exporter: Where the spans go.
        tally: Where they are counted.
        most: Spans that wait at most; None for ``OTEL_BSP_MAX_QUEUE_SIZE``.
        delay: Milliseconds between exports; None for ``OTEL_BSP_SCHEDULE_DELAY``.
    """

    def __init__(
        self, exporter: SpanExporter, tally: Tally, *, most: int | None = None, delay: float | None = None
    ) -> None:
        self.tally = tally
        self._most = most or self._default_max_queue_size()  # type: ignore[no-untyped-call]  # the SDK's reading of it
        self._counting = threading.Lock()
        super().__init__(CountedExporter(exporter, tally), self._most, delay)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        tally = self.tally
        with self._counting:
            if tally.given - tally.dropped - tally.taken >= self._most:
                tally.dropped += 1
            tally.given += 1
        super().on_end(span)


class StoreKeeper:
    """Puts the parts of unsampled traces that are kept into the local store's queue; a :class:`Keeper`.

    Args:
        processor: The queue.
        resource: Whose spans they are.
        slow: Seconds from which a part is slow.
    """

    def __init__(self, processor: SpanProcessor, resource: Resource, slow: float) -> None:
        self.slow_ns = int(slow * 1e9)
        self._processor = processor
        self._resource = resource

    def keep(self, spans: Sequence[Unsampled], why: str) -> None:
        """Queue them; one that has not ended yet ends with the first."""
        until = spans[0].ended
        for span in spans:
            self._processor.on_end(self._readable(span, until, why))

    def _readable(self, span: Unsampled, until: int, why: str) -> ReadableSpan:
        # Its flags say that it is sampled only to this queue; what was sent to the next hop says that it is not.
        parent = SpanContext(span.trace_id, span.parent_id, is_remote=False) if span.parent_id else None
        return ReadableSpan(
            span.name,
            SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=_SAMPLED),
            parent,
            self._resource,
            {**(span.later() if span.later else {}), **(span.attributes or {}), KEPT: why},
            [Event(name, attributes, moment) for name, attributes, moment in span.events],
            span.links or (),
            span.kind,
            status=Status(span.status, span.message),
            start_time=span.started,
            end_time=span.ended or until,
            instrumentation_scope=_SCOPE,
        )


class SpanCounts(Collector):
    """What Prometheus reads of the exporters (semantic conventions, OpenTelemetry SDK metrics).

    otel_sdk_processor_span_processed_total{otel_component_name, error_type}   ``queue_full``: dropped
    otel_sdk_exporter_span_exported_total{otel_component_name, error_type}     ``export_failed``: refused, or too late
    """

    def __init__(self) -> None:
        self._tallies: tuple[Tally, ...] = ()

    def watch(self, tallies: Iterable[Tally]) -> None:
        """Show these exporters, and no others."""
        self._tallies = tuple(tallies)

    def collect(self) -> Iterable[Metric]:
        """The numbers now."""
        labels = ("otel_component_name", "otel_component_type", "error_type")
        processed = CounterMetricFamily(
            "otel_sdk_processor_span_processed", "Spans that left the queue: error_type is empty, or queue_full.",
            labels=labels,
        )  # fmt: skip
        exported = CounterMetricFamily(
            "otel_sdk_exporter_span_exported", "Spans whose export is over: error_type is empty, or export_failed.",
            labels=labels,
        )  # fmt: skip
        for tally in self._tallies:
            processed.add_metric((tally.name, "batching_span_processor", ""), tally.taken)
            processed.add_metric((tally.name, "batching_span_processor", "queue_full"), tally.dropped)
            exported.add_metric((tally.name, tally.kind, ""), tally.exported)
            exported.add_metric((tally.name, tally.kind, "export_failed"), tally.failed)
        return processed, exported


def collector_exporter(environment: Mapping[str, str]) -> tuple[SpanExporter, str]:
    """The exporter that the ``OTEL_EXPORTER_OTLP_*`` variables ask for, and its ``otel.component.type``.

    Endpoint, headers, timeout, compression and certificates are read from the process's environment by the exporter.
    """
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # heavy

        return OTLPSpanExporter(), "otlp_grpc_span_exporter"
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # heavy
        OTLPSpanExporter as HttpSpanExporter,
    )

    return HttpSpanExporter(), "otlp_http_span_exporter"


def local_exporter(endpoint: str) -> SpanExporter:
    """The exporter to the local store at this base URL."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # heavy

    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=5, headers={}, certificate_file=None)
