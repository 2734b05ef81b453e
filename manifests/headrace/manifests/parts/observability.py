"""What is seen of a running app: traces, metrics, logs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from headrace.manifests import names
from headrace.manifests.parts import values
from headrace.manifests.parts.part import Duration, Labels, Part

_SECOND = timedelta(seconds=1)


class Collector(Part):
    """An OpenTelemetry collector beside the app: it keeps what failed or was slow, and a share of the rest."""

    export: Annotated[str, AfterValidator(values.endpoint)] | None = None
    """OTLP/HTTP endpoint that traces are sent on to; without one the collector logs how many it saw."""
    keep: Annotated[float, Field(ge=0, le=1, strict=False)] = 0.1
    """Share of the traces kept that neither failed nor were slow, 0 to 1."""
    slow: Duration = timedelta(seconds=5)
    """From which length on a trace is kept in any case, 1ms to 10m."""
    image: Annotated[str, AfterValidator(names.image)] = "otel/opentelemetry-collector-contrib:0.138.0"
    """Image of the collector; it needs the tail_sampling processor, which `contrib` has."""

    @field_validator("slow")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND / 1000, 600 * _SECOND)


class Tracing(Part):
    """Where spans go. Every container gets OpenTelemetry's variables."""

    sampling: Annotated[float, Field(ge=0, le=1, strict=False)] = 1.0
    """Share of the traces begun, 0 to 1; a trace begun elsewhere keeps its own decision."""
    endpoint: Annotated[str, AfterValidator(values.endpoint)] | None = None
    """OTLP/HTTP endpoint of a collector that is there already; one is rendered without."""
    collector: Collector | None = None
    """The collector to render, where no endpoint is named."""

    kserve: bool = False
    """Say it in KServe's own `spec.tracing` too, for clusters whose InferenceService has that field (new in 0.21)."""

    @field_validator("collector")
    @classmethod
    def _one_of_two(cls, value: Collector | None, info: ValidationInfo) -> Collector | None:
        if value is not None and info.data.get("endpoint"):
            raise ValueError("spans go to the endpoint named; remove endpoint or collector")
        return value


class Alerts(Part):
    """When somebody is told."""

    objective: Annotated[float, Field(ge=0.5, le=0.9999, strict=False)] = 0.99
    """Share of events that shall be answered, 0.5 to 0.9999: what is left of it is the budget that burns."""
    latency: Duration = timedelta(seconds=30)
    """Within which time from its publishing an event shall be answered, as many as `objective` says; 5ms to 30m. The
    next bound up that is counted stands for it: 5, 10, 25, 50, 100, 250, 500 ms; 1, 2.5, 5, 10, 30 s; 1, 2, 5, 10,
    30 m."""
    cold_start: Duration = timedelta(minutes=2)
    """What a cold start may take at the 95th percentile, 1s to 1h."""
    lag_for: Duration = timedelta(minutes=5)
    """How long events may wait with no replica at work, 1m to 1h."""

    @field_validator("latency")
    @classmethod
    def _counted(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND / 200, 1800 * _SECOND)

    @field_validator("cold_start")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND, 3600 * _SECOND)

    @field_validator("lag_for")
    @classmethod
    def _patient(cls, value: timedelta) -> timedelta:
        return names.within(value, 60 * _SECOND, 3600 * _SECOND)


class Metrics(Part):
    """Scraping, alerts and a dashboard, for prometheus-operator and Grafana."""

    interval: Duration = timedelta(seconds=15)
    """Between scrapes, 1s to 5m."""
    namespace: Annotated[str, AfterValidator(names.namespace)] = "monitoring"
    """Where Prometheus runs: who may scrape."""
    labels: Labels = Field({})
    """Labels by which your Prometheus picks monitors and rules, as `release: kube-prometheus-stack`."""
    alerts: Alerts = Alerts()
    """When somebody is told."""

    @field_validator("interval")
    @classmethod
    def _bounded(cls, value: timedelta) -> timedelta:
        return names.within(value, _SECOND, 300 * _SECOND)


class Logging(Part):
    """How the containers log."""

    format: Literal["json", "text"] = "json"
    """`json`: one object a line, with trace and span id. `text`: for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is left out."""
