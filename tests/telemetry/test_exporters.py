"""A collector that is down, slow or refusing costs spans, which are counted, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, generate_latest

from headrace.telemetry.exporting import CountedProcessor, SpanCounts, Tally, collector_exporter
from headrace.telemetry.provider import RuledProvider
from headrace.telemetry.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

DEADLINE = 30.0


class Collector:
    """An OTLP receiver that answers as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.silent = threading.Event()
        self.released = threading.Event()
        self.headers: dict[str, str] = {}
        self.names: list[str] = []

    def take(self, export: Any) -> None:
        """Keep the names of what came."""
        for resource in export.resource_spans:
            for scope in resource.scope_spans:
                self.names += [span.name for span in scope.spans]


@contextmanager
def over_http() -> Iterator[Collector]:
    """A collector at an HTTP port."""
    found = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.headers = {name.lower(): value for name, value in self.headers.items()}
            if found.silent.is_set():
                found.released.wait(DEADLINE)
            if found.status == 200:
                found.take(otlp.ExportTraceServiceRequest.FromString(body))
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        found.released.set()
        server.shutdown()


@contextmanager
def over_rpc() -> Iterator[Collector]:
    """A collector at a gRPC port."""
    found = Collector()

    class Receiver(otlp_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the service's name
            found.headers = {name: str(value) for name, value in context.invocation_metadata()}
            if found.status != 200:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
            found.take(request)
            return otlp.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    otlp_grpc.add_TraceServiceServicer_to_server(Receiver(), server)  # type: ignore[no-untyped-call]  # generated
    found.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield found
    server.stop(0).wait()


def exporting(exporter: SpanExporter, most: int = 2048) -> tuple[RuledProvider, Tally]:
    """A provider whose spans go to this exporter soon."""
    provider, tally = RuledProvider(Sampling(), Resource.create({})), Tally("collector", "test")
    provider.add_span_processor(CountedProcessor(exporter, tally, most=most, delay=10))
    return provider, tally


def spans(provider: RuledProvider, count: int) -> float:
    """Make so many spans; the seconds that it took."""
    tracer, began = provider.get_tracer("a"), time.monotonic()
    for number in range(count):
        tracer.start_span(f"span {number}", Context()).end()
    return time.monotonic() - began


def until(done: Any, what: str) -> None:
    """Wait."""
    ends = time.monotonic() + DEADLINE
    while not done():
        assert time.monotonic() < ends, what
        time.sleep(0.01)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_standard_variables_say_where_and_how(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """Endpoint, protocol and headers, those of traces before those of every signal."""
    with over_rpc() if protocol == "grpc" else over_http() as collector:
        signal = "" if protocol == "grpc" else "/v1/traces"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url + signal)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "no-such")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
        exporter, kind = collector_exporter(os.environ)
        assert kind == f"otlp_{protocol[:4]}_span_exporter"
        provider, tally = exporting(exporter)
        spans(provider, 3)
        provider.shutdown()
    assert sorted(collector.names) == ["span 0", "span 1", "span 2"]
    assert collector.headers["authorization"] == "Bearer x"
    assert (tally.given, tally.exported, tally.failed, tally.dropped) == (3, 3, 0, 0)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_refusing_collector_is_counted(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """What it refuses for good is lost at once, and the next spans arrive when it takes them again."""
    with over_rpc() if protocol == "grpc" else over_http() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        exporter, _ = collector_exporter(os.environ)
        provider, tally = exporting(exporter)
        collector.status = 400
        spans(provider, 5)
        until(lambda: tally.failed == 5, "five spans that were refused")
        collector.status = 200
        spans(provider, 2)
        until(lambda: tally.exported == 2, "two spans that were taken")
        provider.shutdown()
    assert tally.dropped == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_collector_that_asks_for_patience_gets_it(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """429 and 503 are tried again: once it takes them, nothing is lost."""
    with over_http() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        provider, tally = exporting(collector_exporter(os.environ)[0])
        collector.status = status
        spans(provider, 5)
        until(lambda: collector.headers, "a first try")
        collector.status = 200
        until(lambda: tally.exported == 5, "five spans in the end")
        provider.shutdown()


def test_a_silent_collector_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """While an export hangs, spans are made as ever; of a full queue the oldest go, and each one is counted."""
    with over_http() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        collector.silent.set()
        provider, tally = exporting(collector_exporter(os.environ)[0], most=512)
        spans(provider, 1)
        until(lambda: tally.taken == 1, "an export that hangs")
        spans(provider, 2000)
        assert tally.dropped == 2000 - 512
        began = time.monotonic()
        provider.shutdown()
        assert time.monotonic() - began < DEADLINE / 2, "the end does not wait for it either"


def test_an_exporter_that_raises_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises is told in the log, and counted."""

    class Broken(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise RuntimeError("boom")

    provider, tally = exporting(Broken())
    spans(provider, 2)
    provider.shutdown()
    assert tally.failed == 2
    assert "boom" in caplog.text


def test_what_was_lost_is_a_metric() -> None:
    """Names and labels are those of OpenTelemetry's conventions for SDKs; every series is there from the start."""
    counts, registry = SpanCounts(), CollectorRegistry()
    registry.register(counts)
    counts.watch([Tally("collector", "otlp_http_span_exporter", taken=9, exported=7, failed=2, dropped=4)])
    page = generate_latest(registry).decode()
    for name, component, error, value in [
        ("processor_span_processed", "batching_span_processor", "", 9),
        ("processor_span_processed", "batching_span_processor", "queue_full", 4),
        ("exporter_span_exported", "otlp_http_span_exporter", "", 7),
        ("exporter_span_exported", "otlp_http_span_exporter", "export_failed", 2),
    ]:
        labels = f'error_type="{error}",otel_component_name="collector",otel_component_type="{component}"'
        assert f"otel_sdk_{name}_total{{{labels}}} {value:.1f}" in page


PROGRAM = """
import time
from opentelemetry import trace
from headrace.telemetry import tracing
provider = tracing.configure("a")
for _ in range(3000):
    tracing.tracer("a").start_span("x").end()
began = time.monotonic()
if provider:
    provider.shutdown()
print("done", time.monotonic() - began < 15)
"""


SETTINGS = [
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:9", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file"},
    {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
]


def test_nothing_about_a_collector_ends_a_process() -> None:
    """Down, or set wrongly: the process works, and ends in time."""
    command = [sys.executable, "-c", PROGRAM]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    begun = [subprocess.Popen(command, env={**os.environ, **settings}, **pipes) for settings in SETTINGS]
    for process, settings in zip(begun, SETTINGS, strict=True):
        told, log = process.communicate(timeout=90)
        assert (process.returncode, told) == (0, "done True\n"), (settings, log)
