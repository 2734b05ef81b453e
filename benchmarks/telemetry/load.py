"""Many events under load, with failures that are tried again and a cold start, and what a receiver has of their traces.

python -m benchmarks.telemetry.load --events 10000 --batch 16
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.telemetry.receiver import OtelTap, roots
from benchmarks.telemetry.way import Way
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource

from headrace.telemetry.exporting import CountedProcessor, Tally
from headrace.telemetry.provider import RuledProvider
from headrace.telemetry.sampling import Sampling

if TYPE_CHECKING:
    from benchmarks.telemetry.receiver import Received

PATIENCE = 120.0
"""Seconds until the receiver has printed every span that it was sent."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was counted."""

    events: int
    spans: int
    traces: int
    """Traces that begin with a publisher: one an event."""
    requests: int
    """Traces of the requests of batches."""
    retries: int
    waited: int
    """Events that waited for the cold start."""
    orphans: int
    """Spans whose parent is not there."""
    mixed: int
    """Spans of one event in the trace of another."""
    incomplete: int
    """Traces of events without the answer's span."""

    @property
    def good(self) -> bool:
        """Whether every event has its one trace, whole and its own."""
        return self.traces == self.events and not (self.orphans or self.mixed or self.incomplete)


def observe(events: int, batch: int) -> Found:
    """Let so many events go their way, and look at what the receiver got."""
    tally = Tally("collector", "otlp_http_span_exporter")
    provider = RuledProvider(Sampling(), Resource.create({"service.name": "load"}))
    with OtelTap() as tap:
        exporter = OTLPSpanExporter(endpoint=f"{tap.url}/v1/traces", timeout=60)
        provider.add_span_processor(CountedProcessor(exporter, tally, most=1 << 22, delay=200))
        trace._TRACER_PROVIDER = provider  # noqa: SLF001  # the API lets nobody change it, and a test may have had one
        try:
            asyncio.run(_go(events, batch))
        finally:
            trace._TRACER_PROVIDER = None  # noqa: SLF001
        provider.force_flush()
        ends = time.monotonic() + PATIENCE
        while len(tap.spans) < tally.given and time.monotonic() < ends:
            time.sleep(0.1)
        provider.shutdown()
        return _count(events, tap.traces())


def main() -> None:
    """Print the counts; exit code 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry.load")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=16, help="events in one request; 1 for single ones")
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # the failures are made, and every one would be told
    found = observe(options.events, options.batch)
    print(json.dumps(asdict(found), indent=2))
    sys.exit(0 if found.good else 1)


async def _go(events: int, batch: int) -> None:
    async with Way(knocks=3, unlucky=20) as way:
        await way.go(events, batch)


def _count(events: int, traces: dict[str, list[Received]]) -> Found:
    counted: Counter[str] = Counter()
    for spans in traces.values():
        tops = roots(spans)
        counted["orphans"] += sum(bool(top.parent_id) for top in tops)
        told = Counter(event for span in spans for event in span.events)
        counted["retries"] += told["retry"]
        counted["waited"] += told["waited for the sink"]
        ids = {str(span.attributes["cloudevents.event_id"]) for span in spans if _is_of_the_event(span)}
        counted["mixed"] += max(0, len(ids) - 1) + (len(tops) - 1)
        if tops[0].name.startswith("publish"):
            counted["traces"] += 1
            counted["incomplete"] += not any(span.name == "publish out" for span in spans)
        else:
            counted["requests"] += 1
    names = ("traces", "requests", "retries", "waited", "orphans", "mixed", "incomplete")
    return Found(events, sum(map(len, traces.values())), **{name: counted[name] for name in names})


def _is_of_the_event(span: Received) -> bool:
    """Whether it names the event; the answer's span names the answer."""
    return "cloudevents.event_id" in span.attributes and span.name != "publish out"


if __name__ == "__main__":
    main()
