"""A tracer provider of the test's own, and a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.telemetry.exporting import StoreKeeper
from headrace.telemetry.provider import RuledProvider
from headrace.telemetry.sampling import Sampling
from headrace.testing.broker import running_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded broker."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., InMemorySpanExporter]:
    """Gives this process a provider with this sampling while the test lasts; every span that would leave."""

    def begin(sampling: Sampling | None = None, slow: float | None = None) -> InMemorySpanExporter:
        exporter = InMemorySpanExporter()
        provider = RuledProvider(sampling or Sampling(), Resource.create({"service.name": "test"}))
        processor = SimpleSpanProcessor(exporter)
        provider.add_span_processor(processor)
        if slow is not None:
            provider.keeper = StoreKeeper(processor, provider.resource, slow)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        return exporter

    return begin
