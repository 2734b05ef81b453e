"""Metrics by OTLP, of the very numbers that Prometheus reads: there is one count of everything.

A family of Prometheus becomes a metric of OpenTelemetry by the rules of their compatibility specification: the suffixes
of unit and `_total` go from the name, the unit stands beside it; so a collector that exposes it to Prometheus gives it
its name again. The standard variables say where to and how often: ``OTEL_METRICS_EXPORTER`` (``otlp`` or ``none``),
``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_METRICS_ENDPOINT``, the protocol, ``OTEL_METRIC_EXPORT_INTERVAL``.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData
    from prometheus_client.core import Metric
    from prometheus_client.samples import Sample

    from headrace.telemetry.metrics.exposition import Collecting

SENT = ("headrace_", "request_")
"""How the names begin of what is sent: Headrace's own and KServe's. A process's memory and the like are not."""
_INTERVAL = 60_000
_UNITS = {"seconds": "s", "bytes": "By", "ratio": "1"}
_TOTAL = "_total"


def send_metrics(
    service: str, collecting: Collecting, environment: Mapping[str, str] = os.environ
) -> Callable[[], None]:
    """Send the metrics every minute from a thread, where the environment names a collector.

    A collector that is slow or gone holds up nothing but that thread.

    Args:
        service: ``service.name``, unless ``OTEL_SERVICE_NAME`` says otherwise.
        collecting: The metrics.
        environment: Where the variables are read.

    Returns:
        How it is ended: the last numbers are sent, for five seconds at most.

    Raises:
        ConfigurationError: a variable is wrong.
    """
    if not _wanted(environment):
        return lambda: None
    sender = _Sender(service, collecting, environment)
    return sender.end


def converted(families: Iterable[Metric], began: int, now: int) -> list[OtlpMetric]:
    """The families as metrics of OpenTelemetry; cumulative, as Prometheus counts.

    Args:
        families: Those of Prometheus.
        began: When counting began, in nanoseconds of Unix time.
        now: The present, in the same.
    """
    from opentelemetry.sdk.metrics.export import Metric as Converted  # noqa: PLC0415  # an idle process needs none of it

    metrics = []
    for family in families:
        made = _MADE.get(family.type)
        if made is None or not family.name.startswith(SENT):
            continue
        name, unit = _named(family.name)
        metrics.append(Converted(name, family.documentation, unit, made(family, began, now)))
    return metrics


def _wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporters = environment.get("OTEL_METRICS_EXPORTER", "otlp")
    named = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    return "otlp" in exporters.split(",") and any(environment.get(name) for name in named)


def _named(name: str) -> tuple[str, str]:
    bare, _, last = name.removesuffix(_TOTAL).rpartition("_")
    return (bare, _UNITS[last]) if bare and last in _UNITS else (name.removesuffix(_TOTAL), "1")


def _sum(family: Metric, began: int, now: int) -> Any:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Sum  # noqa: PLC0415

    samples = [sample for sample in family.samples if sample.name.endswith(_TOTAL)]
    return Sum(_points(samples, began, now), AggregationTemporality.CUMULATIVE, is_monotonic=True)


def _gauge(family: Metric, began: int, now: int) -> Any:
    from opentelemetry.sdk.metrics.export import Gauge  # noqa: PLC0415

    return Gauge(_points(family.samples, began, now))


def _histogram(family: Metric, began: int, now: int) -> Any:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram  # noqa: PLC0415

    series: dict[tuple[tuple[str, str], ...], list[Sample]] = defaultdict(list)
    for sample in family.samples:
        key = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        series[key].append(sample)
    points = [_histogram_point(dict(key), samples, began, now) for key, samples in series.items()]
    return Histogram(points, AggregationTemporality.CUMULATIVE)


def _histogram_point(labels: dict[str, str], samples: Sequence[Sample], began: int, now: int) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint  # noqa: PLC0415

    buckets = [(float(s.labels["le"]), int(s.value)) for s in samples if s.name.endswith("_bucket")]
    whole = next((s.value for s in samples if s.name.endswith("_sum")), 0.0)
    counts = [after - before for (_, before), (_, after) in zip([(0.0, 0), *buckets], buckets, strict=False)]
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=buckets[-1][1],
        sum=whole,
        bucket_counts=counts,
        explicit_bounds=[bound for bound, _ in buckets[:-1]],  # the last one is infinite
        min=None,  # type: ignore[arg-type]  # Prometheus knows no extremes, and OTLP has both as optional
        max=None,  # type: ignore[arg-type]  # the same
        exemplars=(),
    )


def _points(samples: Iterable[Sample], began: int, now: int) -> list[Any]:
    from opentelemetry.sdk.metrics.export import NumberDataPoint  # noqa: PLC0415

    return [NumberDataPoint(dict(sample.labels), began, now, sample.value, ()) for sample in samples]


_MADE: dict[str, Callable[[Any, int, int], Any]] = {"counter": _sum, "gauge": _gauge, "histogram": _histogram}


class _Sender:
    def __init__(self, service: str, collecting: Collecting, environment: Mapping[str, str]) -> None:
        self._collecting = collecting
        self._interval = _milliseconds(environment, "OTEL_METRIC_EXPORT_INTERVAL", _INTERVAL) / 1000
        self._began = time.time_ns()
        self._exporter = _exporter(environment)
        self._name = environment.get("OTEL_SERVICE_NAME", service)
        self._instance = str(uuid.uuid4())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(5.0)

    def _work(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(self._interval)
            self._exporter.export(self._data(), timeout_millis=5_000 if ended else 10_000)
        self._exporter.shutdown()

    def _data(self) -> MetricsData:
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        resource = Resource.create({"service.name": self._name, "service.instance.id": self._instance})
        metrics = converted(self._collecting.collect(), self._began, time.time_ns())
        scope = ScopeMetrics(InstrumentationScope("headrace"), metrics, "")
        return MetricsData([ResourceMetrics(resource, [scope], "")])


def _exporter(environment: Mapping[str, str]) -> MetricExporter:
    usual = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if environment.get("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", usual) == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter as GrpcMetricExporter,
        )

        return GrpcMetricExporter()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    return OTLPMetricExporter()


def _milliseconds(environment: Mapping[str, str], name: str, usual: int) -> int:
    text = environment.get(name) or str(usual)
    if not text.isdecimal() or not int(text):
        raise ConfigurationError(f"{name}={text}: not a number of milliseconds")
    return int(text)
