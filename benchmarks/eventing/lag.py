"""Memory of the dispatcher while many events wait in Kafka behind a model that answers slowly."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.eventing.contenders import DISPATCHER, Place, headrace
from benchmarks.eventing.models import CASES, ECHO_FILE
from benchmarks.eventing.processes import Processes
from benchmarks.eventing.traffic import Traffic

from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.testing.broker import BrokerProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT_ONCE = 10_000
"""Events that are published together."""
FIRST = 100
"""Results after which the dispatcher reads as it will."""
PAUSE = 0.1
"""Seconds between two looks at the memory."""
MIB = 1024 * 1024
SLOW = replace(CASES["echo"], predictor=f"{ECHO_FILE}:Slow")


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits, and how long is looked."""

    events: int
    size: int = 64
    """Bytes of an event's data."""
    partitions: int = 4
    seconds: float = 60.0
    """For which the memory is watched, once results come."""


@dataclass(frozen=True, slots=True)
class Held:
    """What was found."""

    start_mib: float
    """RSS of the dispatcher when its first results were there."""
    peak_mib: float
    """The highest RSS that was seen from then on."""
    answered: int
    """Events that had a result at the end of it; all others waited."""


def hold(lag: Lag, folder: Path, say: Callable[[str], None]) -> Held:
    """Publish, start a dispatcher before a slow model, and watch its memory.

    Raises:
        SystemExit: a process has ended, no result comes, or all events were answered before the time was over.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerProcess(folder / "kafka"))
        place = Place(broker.bootstrap, "lag.in", "lag.out", folder, transformer=False, case=SLOW)
        create_topics(place.kafka, [TopicSpec(name, lag.partitions) for name in (place.topic, place.results)])
        traffic = Traffic(place.kafka, place.topic, place.results, size=lag.size)
        stack.callback(traffic.close)
        for begin in range(0, lag.events, AT_ONCE):
            traffic.publish(f"lag-{begin}", min(AT_ONCE, lag.events - begin))
        say(f"{lag.events:,} events wait")
        processes = Processes(folder)
        stack.callback(processes.stop)
        headrace(place, processes, {})
        traffic.wait_for(min(FIRST, lag.events), processes.check)
        return _watched(lag, processes, traffic)


def _watched(lag: Lag, processes: Processes, traffic: Traffic) -> Held:
    start = peak = processes.rss(DISPATCHER)
    end = time.monotonic() + lag.seconds
    while time.monotonic() < end:
        processes.check()
        traffic.drain()
        peak = max(peak, processes.rss(DISPATCHER))
        time.sleep(PAUSE)
    if len(traffic.seen) >= lag.events:
        raise SystemExit(f"all {lag.events} events were answered in {lag.seconds:g} s: ask for more, or fewer seconds")
    return Held(start / MIB, peak / MIB, len(traffic.seen))
