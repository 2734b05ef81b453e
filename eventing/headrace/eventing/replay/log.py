"""The log that a run's dispatcher reads: a source, at a pace, with the run's own progress in a store."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from opentelemetry import trace
from opentelemetry.trace import Link

from headrace.errors import InvalidEventError
from headrace.eventing.clock import SystemClock
from headrace.eventing.codec.kafka import read_record, text_headers, write_record
from headrace.eventing.deadletter import FAILURE_ATTRIBUTES
from headrace.eventing.replay.choice import Choice
from headrace.eventing.replay.pace import AsItComes
from headrace.eventing.replay.recording import plain
from headrace.eventing.replay.store import REJECTED
from headrace.eventing.results import ERROR_TYPE
from headrace.eventing.spans import publishing
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.eventing.clock import Clock
    from headrace.eventing.log import Committed, OutgoingRecord, Partition, RebalanceListener, Record
    from headrace.eventing.replay.pace import Pace
    from headrace.eventing.replay.source import Source
    from headrace.eventing.replay.store import Store

T = TypeVar("T")
ELAPSED = "hrelapsed"
"""Attribute of an answer: milliseconds from sending the event to the whole answer, of the last attempt."""
WAIT = 0.5
"""Seconds that a poll waits at most."""
GLANCE = 0.02
"""Seconds until a poll looks again whether a partition that is paused may go on."""
AHEAD = 2000
"""Records that are read ahead of the dispatcher."""
AHEAD_BYTES = 32 << 20
"""Bytes of their data; one record more may stand there."""


@dataclass(slots=True)
class Tally:
    """What a run has done since this life of it began."""

    read: int = 0
    """Records of the source that were looked at."""
    empty: int = 0
    """Offsets on the way at which no record was."""
    chosen: int = 0
    """Of those, how many were replayed."""
    answered: int = 0
    failed: int = 0
    """Answers that say why there is none."""
    rejected: int = 0
    """Dead letters: what was no CloudEvent, and what failed for good."""
    bytes: int = 0
    """Bytes of the data of what was replayed."""

    @property
    def done(self) -> int:
        """Events whose answer is kept."""
        return self.answered + self.failed


class ReplayLog:
    """The log of one run; see :class:`headrace.eventing.log.EventLog`.

    Every event is marked with the run's id (``hrreplay``) and begins a trace of its own, with a link to the trace that
    it was published in.

    Args:
        run: The run's id.
        source: What is replayed.
        store: Where answers and progress are kept.
        choice: Which events.
        pace: How fast.
        elapsed: Milliseconds that the receiver took for the event of this id; None where nobody measured.
        paused: Whether nothing is to be given now.
        clock: Time.
    """

    def __init__(
        self,
        run: str,
        source: Source,
        store: Store,
        *,
        choice: Choice | None = None,
        pace: Pace | None = None,
        elapsed: Callable[[str], float | None] = lambda _: None,
        paused: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self._run = run
        self._source = source
        self._store = store
        self._choice = choice or Choice()
        self._pace = pace or AsItComes()
        self._elapsed = elapsed
        self._is_paused = paused
        self._clock = clock or SystemClock()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="replay-read")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="replay-write")
        self._tracer = tracing.tracer(__name__)
        self._records: Iterator[Record] = iter(())
        self._ahead: deque[Record] = deque()
        self._exhausted = False
        self._paused: AbstractSet[Partition] = frozenset()
        self._given: dict[Partition, int] = {}
        self._progress: dict[Partition, Committed] = {}
        self._unsure: tuple[Sequence[OutgoingRecord], Mapping[Partition, Committed]] = ((), {})
        """What was handed to the store last, while nobody knows whether it is in it."""
        self.tally = Tally()
        self.finished = asyncio.Event()
        """Set when every record has been given and its answer is kept."""

    async def start(self, listener: RebalanceListener) -> None:
        """Open the store, and the source where the store says that the run is."""
        partitions = self._source.partitions
        self._progress = dict(await _in(self._writing, lambda: self._store.open(partitions)))
        starts = {partition: known.offset for partition, known in self._progress.items()}
        self._records = self._source.read(starts)
        listener.assigned({partition: self._progress.get(partition) for partition in partitions})

    async def poll(self, most: int) -> Sequence[Record]:
        """The next records that the pace lets go; while the run is paused none."""
        if self._is_paused():
            began = self._clock.monotonic()
            await self._clock.sleep(GLANCE)
            self._pace.stood(self._clock.monotonic() - began)
            return []
        if not self._exhausted and len(self._ahead) < most:
            await _in(self._reading, self._read_ahead)
        records = self._due(most)
        if not records:
            self._tell()
            await self._clock.sleep(self._until_next())
            records = self._due(most)
        for record in records:
            self._given[record.partition] = record.offset
        self.tally.chosen += len(records)
        self.tally.bytes += sum(len(record.value or b"") for record in records)
        return [self._marked(record) for record in records]

    def reached(self) -> Mapping[Partition, int]:  # the Protocol's form
        """Nothing: a run ends with its last record, whatever lies behind it."""
        return {}

    def ends(self) -> Mapping[Partition, int]:  # the Protocol's form
        """Nothing: what a run has left is told by the run."""
        return {}

    def pause(self, partitions: AbstractSet[Partition]) -> None:
        """Give nothing of exactly these partitions."""
        self._paused = partitions

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Keep answers and progress together."""
        timed = [self._timed(record) for record in records]
        self._unsure = timed, done
        await _in(self._writing, lambda: self._store.write(timed, done))
        self._written(done)

    async def committed(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        """What the store has, asked anew."""
        known = await _in(self._writing, lambda: self._store.open(self._source.partitions))
        _, done = self._unsure
        if any(known.get(partition) == progress for partition, progress in done.items()):
            self._written(known)
        return {partition: known[partition] for partition in partitions & known.keys()}

    async def close(self) -> None:
        """Close the store."""
        await _in(self._writing, self._store.close)
        self._writing.shutdown(wait=False)
        self._reading.shutdown(wait=False)

    def _read_ahead(self) -> None:
        held = sum(len(record.value or b"") for record in self._ahead)
        room = AHEAD - len(self._ahead)
        while room > 0 and held < AHEAD_BYTES:
            record = next(self._records, None)
            self.tally.empty = self._source.empty
            if record is None:
                self._exhausted = True
                return
            self.tally.read += 1
            if self._choice.takes(record):
                self._ahead.append(record)
                held += len(record.value or b"")
            room -= 1

    def _due(self, most: int) -> list[Record]:
        """The next records in order, those of paused partitions left for later."""
        due: list[Record] = []
        left: list[Record] = []
        now = self._clock.monotonic()
        while self._ahead and len(due) < most:
            record = self._ahead[0]
            if record.partition not in self._paused:
                if self._pace.wait(record, now) > 0:
                    break
                self._pace.gone(record, now)
                due.append(record)
            else:
                left.append(record)
            self._ahead.popleft()
        self._ahead.extendleft(reversed(left))
        return due

    def _until_next(self) -> float:
        first = next((record for record in self._ahead if record.partition not in self._paused), None)
        if first is None:
            return GLANCE
        return min(WAIT, self._pace.wait(first, self._clock.monotonic()))

    def _tell(self) -> None:
        if self._exhausted and not self._ahead and all(self._is_done(p, offset) for p, offset in self._given.items()):
            self.finished.set()

    def _written(self, progress: Mapping[Partition, Committed]) -> None:
        """What was last handed to the store is in it: count it, once."""
        (records, _), self._unsure = self._unsure, ((), {})
        self._progress.update(progress)
        for record in records:
            self._count(record)
        self._tell()

    def _is_done(self, partition: Partition, offset: int) -> bool:
        return partition in self._progress and self._progress[partition].offset > offset

    def _count(self, record: OutgoingRecord) -> None:
        if record.topic == REJECTED:
            self.tally.rejected += 1
        elif ("ce_type", ERROR_TYPE.encode()) in record.headers:
            self.tally.failed += 1
        else:
            self.tally.answered += 1

    def _timed(self, record: OutgoingRecord) -> OutgoingRecord:
        request = dict(record.headers).get("ce_causationid", b"").decode()
        elapsed = self._elapsed(request) if request else None
        if elapsed is None:
            return record
        return replace(record, headers=(*record.headers, (f"ce_{ELAPSED}", f"{elapsed:.3f}".encode())))

    def _marked(self, record: Record) -> Record:
        try:
            event = plain(read_record(record, namespace="", name=""))
        except InvalidEventError:
            return record
        arrived = tracing.extract(text_headers(record), event.attributes)
        origin = trace.get_current_span(arrived).get_span_context()
        anew = trace.set_span_in_context(trace.INVALID_SPAN, arrived)  # a root, with the baggage that came
        span = self._tracer.start_span(
            f"replay {record.partition.topic}",
            anew,
            kind=tracing.SpanKind.PRODUCER,
            links=[Link(origin)] if origin.is_valid else [],
            attributes={**publishing(record.partition.topic, event), "headrace.replay.run": self._run},
        )
        span.end()
        marked = event.without("traceparent", "tracestate", *FAILURE_ATTRIBUTES).with_attributes(hrreplay=self._run)
        written = write_record(marked, record.partition.topic, trace=tracing.inject(span, anew))
        return replace(record, value=written.value, headers=written.headers)


async def _in(thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, call)
