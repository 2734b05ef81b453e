"""What Prometheus reads of a serving process; docs/metrics.md lists all, those of runs, GPUs and usage as well."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from headrace.models.kserve_api import POST_HIST_TIME, PRE_HIST_TIME, PREDICT_HIST_TIME
from headrace.serving.gpus import GpuMeasures
from headrace.telemetry.metrics.bounded import Bounded
from headrace.telemetry.metrics.exposition import CONTENT_TYPE, Joined
from headrace.telemetry.metrics.exposition import page as whole_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from headrace.serving.gathering import Snapshot
    from headrace.serving.repository import Repository
    from headrace.telemetry.metrics.exposition import Collecting

__all__ = ["CONTENT_TYPE", "Metrics", "ModelTimes", "page", "taken"]
_MOST_METHODS = 20
_MOST_OUTCOMES = 50
"""Codes of errors, which users may make of their own."""


class Metrics:
    """The numbers of one application; a registry of its own, so that two in one process do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "headrace_http_requests", "Requests answered.", ("method", "status"), registry=self._registry
        )
        self._calls = Counter(
            "headrace_grpc_calls", "gRPC calls answered.", ("method", "code"), registry=self._registry
        )
        self._events = Counter("headrace_events", "Events answered.", ("model", "outcome"), registry=self._registry)
        self._start = Gauge(
            "headrace_start_seconds", "What each phase of this process's start took.", ("phase",),
            registry=self._registry,
        )  # fmt: skip
        self._registry.register(GpuMeasures())
        self._method, self._outcome = Bounded(_MOST_METHODS), Bounded(_MOST_OUTCOMES)
        # Looking a child up by its labels costs more than counting.
        self._request_counts: dict[tuple[str, int], Counter] = {}
        self._event_counts: dict[tuple[str, str], Counter] = {}

    def watch(self, repository: Repository) -> None:
        """Show the models of this repository as they are whenever somebody looks."""
        self._registry.register(_Models(repository))

    def request(self, method: str, status: int) -> None:
        """Count a request that was answered."""
        counter = self._request_counts.get((method, status))
        if counter is None:
            counter = self._request_counts[method, status] = self._requests.labels(self._method(method), str(status))
        counter.inc()

    def call(self, method: str, code: str) -> None:
        """Count a gRPC call that was answered, or whose caller gave up (code ``CANCELLED``)."""
        self._calls.labels(method, code).inc()

    def event(self, model: str, outcome: str, count: int = 1) -> None:
        """Count an event that was answered, or several alike."""
        counter = self._event_counts.get((model, outcome))
        if counter is None:
            counter = self._event_counts[model, outcome] = self._events.labels(model, self._outcome(outcome))
        counter.inc(count)

    def started(self, phases: Mapping[str, float]) -> None:
        """The process has started; by phase, the seconds that it took."""
        for phase, seconds in phases.items():
            self._start.labels(phase).set(seconds)

    @property
    def all(self) -> Joined:
        """These, KServe's histograms, and the process's own."""
        return Joined(self._registry, REGISTRY)

    def snapshot(self) -> Snapshot:
        """All numbers of this process, with KServe's histograms and the process's own."""
        return taken(self.all)


def taken(collecting: Collecting) -> Snapshot:
    """The numbers at this moment."""
    return tuple(
        (family.name, family.documentation, family.type, tuple(map(_sample, family.samples)))
        for family in collecting.collect()
    )


def page(snapshot: Snapshot) -> bytes:
    """The numbers in Prometheus' text format."""
    return whole_page(_Fixed(snapshot))


def _sample(sample: Any) -> tuple[str, tuple[tuple[str, str], ...], float]:
    return sample.name, tuple(sample.labels.items()), sample.value


class _Fixed:
    """A registry of numbers that are known already."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """The numbers as families."""
        for name, text, kind, samples in self._snapshot:
            metric = Metric(name, text, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, dict(labels), value)
            yield metric


def observe(histogram: Any, value: float, count: int) -> None:
    """As many observations of one value, for the price of one: 64 events of a batch are hundreds of them."""
    histogram._sum.inc(value * count)  # noqa: SLF001  # the client's own observe() has no count
    at = bisect_left(histogram._upper_bounds, value)  # noqa: SLF001
    histogram._buckets[at].inc(count)  # noqa: SLF001


class _Models:
    """The models of a repository, for Prometheus."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[Metric]:
        """The numbers of this moment."""
        taken = GaugeMetricFamily("headrace_model_requests", "Requests taken on, not yet answered.", labels=("model",))
        memory = GaugeMetricFamily("headrace_model_memory_bytes", "What loaded models take.", labels=("model",))
        for slot in self._repository.slots:
            if slot.hosted is not None:
                taken.add_metric((slot.key,), slot.hosted.taken)
                memory.add_metric((slot.key,), slot.size)
        yield taken
        yield memory
        if self._repository.budget:
            limit, told = self._repository.budget, "What all models together may take."
            yield GaugeMetricFamily("headrace_model_memory_limit_bytes", told, value=limit)
            gone, told = self._repository.evictions, "Models that made room for others."
            yield CounterMetricFamily("headrace_model_evictions", told, value=gone)


class ModelTimes:
    """KServe's histograms of one model's hooks."""

    def __init__(self, model: str) -> None:
        self._pre = PRE_HIST_TIME.labels(model_name=model)
        self._predict = PREDICT_HIST_TIME.labels(model_name=model)
        self._post = POST_HIST_TIME.labels(model_name=model)

    def preprocess(self) -> AbstractContextManager[object]:
        """Time one ``preprocess``."""
        timer: AbstractContextManager[object] = self._pre.time()
        return timer

    def predicted(self, seconds: float, count: int = 1) -> None:
        """Count so many ``predict`` that took so long, their wait in the queue included."""
        observe(self._predict, seconds, count)

    def postprocess(self) -> AbstractContextManager[object]:
        """Time one ``postprocess``."""
        timer: AbstractContextManager[object] = self._post.time()
        return timer
