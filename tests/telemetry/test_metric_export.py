"""The numbers of Prometheus by OTLP: the same ones, under names that lead back, and at nobody's cost."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace.errors import ConfigurationError
from headrace.telemetry.metrics.otlp import send_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Collector(ThreadingHTTPServer):
    """Keeps what is sent to it."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.requests: list[ExportMetricsServiceRequest] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """No word."""


@contextmanager
def _collector(status: int = 200) -> Iterator[_Collector]:
    with _Collector(status) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("headrace_events", "Events.", ("outcome",), registry=registry).labels("result").inc(3)
    Gauge("headrace_gpu_memory_used_bytes", "Memory.", registry=registry).set(7)
    Gauge("else_bytes", "Not ours.", registry=registry).set(1)
    seconds = Histogram("headrace_queue_seconds", "Waits.", registry=registry, buckets=(1, 2))
    for value in (0.5, 1.5, 9):
        seconds.observe(value)
    return registry


def _sent(server: _Collector, monkeypatch: pytest.MonkeyPatch) -> ExportMetricsServiceRequest:
    endpoint = f"http://127.0.0.1:{server.server_port}/v1/metrics"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "labels")
    send_metrics("usual", _registry())()
    return server.requests[-1]


def test_what_prometheus_reads_is_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counter, gauge and histogram with the same values; the unit stands beside the name, which is without it."""
    with _collector() as server:
        (resource,) = _sent(server, monkeypatch).resource_metrics
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "labels"
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "headrace_events": "1", "headrace_gpu_memory_used": "By", "headrace_queue": "s",
    }  # fmt: skip
    (events,) = metrics["headrace_events"].sum.data_points
    assert (events.as_double, events.attributes[0].value.string_value) == (3, "result")
    assert metrics["headrace_events"].sum.is_monotonic
    assert metrics["headrace_gpu_memory_used"].gauge.data_points[0].as_double == 7
    (waits,) = metrics["headrace_queue"].histogram.data_points
    assert (waits.count, waits.sum, list(waits.bucket_counts), list(waits.explicit_bounds)) == (
        3,
        11,
        [1, 1, 1],
        [1, 2],
    )


def test_a_collector_that_refuses_is_no_concern_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last numbers are given up, and the process ends."""
    with _collector(400) as server:
        _sent(server, monkeypatch)


def test_a_collector_that_is_gone_costs_five_seconds_at_the_end_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for it while the process works: sending is a thread's."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1/v1/metrics")
    began = time.monotonic()
    end = send_metrics("labels", _registry())
    assert time.monotonic() - began < 5
    end()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"},
    ],
)
def test_nothing_is_sent_unless_a_collector_is_named(environment: dict[str, str]) -> None:
    """By the standard variables; no thread is started else."""
    before = threading.active_count()
    send_metrics("labels", _registry(), environment)()
    assert threading.active_count() == before


def test_an_interval_that_is_none_is_told() -> None:
    """At the start, with the variable's name."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_METRIC_EXPORT_INTERVAL": "1m"}
    with pytest.raises(ConfigurationError, match="OTEL_METRIC_EXPORT_INTERVAL=1m"):
        send_metrics("labels", _registry(), environment)
