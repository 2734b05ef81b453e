"""Compares a topic of events with the topic of their answers: what is lost, what came twice, what is late.

Every topic is read once, to the end that it has then, and in an order in which nothing is taken for lost that is
answered meanwhile: the group's progress, the requests, the answers and dead letters, and last the requests that came
since, which answers may already refer to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from headrace.errors import InvalidEventError
from headrace.eventing.audit_table import Answer, Table
from headrace.eventing.codec.kafka import WRAPPED_TYPE, read_record, wrap_record
from headrace.eventing.event import CloudEvent
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.ledger import WINDOW, Ledger
from headrace.eventing.log import Partition
from headrace.eventing.results import Responder, is_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import Committed, Record

Kind = Literal["lost", "duplicate", "late", "pending", "dead-lettered", "orphan"]
KINDS: tuple[Kind, ...] = ("lost", "duplicate", "late", "pending", "dead-lettered", "orphan")
GRACE = 60.0
_EVERY = 1000
"""Records between two calls of ``progress``."""
_SOURCE_PARTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to compare, and what counts."""

    events: str
    """Topic of the requests."""
    results: str
    """Topic of the answers."""
    dead_letters: str | None = None
    """Topic of the dead letters; None where their requests count by their error events alone."""
    group: str | None = None
    """The consumer group that answers: what it has not committed is pending, however old."""
    since: datetime | None = None
    """Requests published at this time or later; None for all that are there."""
    grace: float = GRACE
    """Seconds before a request without an answer counts as lost."""
    late: float | None = None
    """Seconds after which an answer counts as late; None for never."""
    matches: Callable[[Mapping[str, str]], bool] | None = None
    """The trigger's filter: other events need no answer."""
    responder: str | None = None
    """``source`` of the answers that count; None for any. Needed where several apps share a topic of results."""
    limit: int = 100
    """Most requests of each kind that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One request that is worth a look, or one answer without a request."""

    kind: Kind
    id: str
    """The request's id."""
    source: str
    """The request's source; empty for an orphan."""
    place: str
    """Where the request lies, ``TOPIC/PARTITION/OFFSET``; of an orphan, where the answer does."""
    detail: str = ""


@dataclass(slots=True)
class Report:
    """What was found."""

    events: int = 0
    """Records of the requests' topic that need an answer."""
    repeated: int = 0
    """Of those, how many were published before with the same source and id: twice by a publisher, or sent back."""
    unwanted: int = 0
    """Records that the filter does not take."""
    answers: int = 0
    errors: int = 0
    """Of the answers, how many are error events."""
    unrelated: int = 0
    """Records in the topic of results that answer nothing, or that another than the wanted responder wrote."""
    responders: Counter[str] = field(default_factory=Counter)
    """By ``source``, the number of answers."""
    counts: Counter[str] = field(default_factory=Counter)
    """By kind, the number of requests."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is lost and nothing came twice."""
        return not self.counts["lost"] and not self.counts["duplicate"]


class _Found(NamedTuple):
    kind: Kind
    entry: int


def audit(
    kafka: KafkaSettings | str,
    order: Order,
    *,
    now: float,
    progress: Callable[[str, int, int], None] = lambda _topic, _done, _total: None,
) -> Report:
    """Compare the topics as they stand now.

    A request that was published several times may have as many answers.

    Args:
        kafka: The cluster.
        order: What to compare.
        now: Seconds since the epoch.
        progress: Called with a topic, how many of its records are read, and how many there are about.

    Raises:
        ConfigurationError: there is no such topic.
        UnavailableError: the broker stopped answering.
    """
    with Scanner(kafka, group=order.group) as scanner:
        run = _Audit(scanner, order, progress)
        run.read()
        run.judge(now)
        return run.report


class _Audit:
    def __init__(self, scanner: Scanner, order: Order, progress: Callable[[str, int, int], None]) -> None:
        self._scanner = scanner
        self._order = order
        self._progress = progress
        self._since = int(order.since.timestamp() * 1000) if order.since else None
        self._table = Table()
        self._ends: dict[Partition, int] = {}
        self._committed: Mapping[Partition, Committed | None] = {}
        self._done: dict[int, frozenset[int]] = {}
        self.report = Report()

    def read(self) -> None:
        """Fill the table."""
        order, scanner = self._order, self._scanner
        if order.group:
            self._committed = scanner.committed(order.events)
        begins, self._ends = scanner.begins(order.events), scanner.ends(order.events)
        self._requests(begins, self._ends)
        for record in self._counted(scanner.begins(order.results), scanner.ends(order.results)):
            self._answer(record)
        if order.dead_letters:
            for record in self._counted(scanner.begins(order.dead_letters), scanner.ends(order.dead_letters)):
                self._letter(record)
        self._requests(self._ends, scanner.ends(order.events))

    def judge(self, now: float) -> None:
        """Say what the table shows."""
        kept: dict[Kind, list[int]] = {kind: [] for kind in KINDS}
        for found in self._found(int(now * 1000)):
            self.report.counts[found.kind] += 1
            if len(kept[found.kind]) < self._order.limit:
                kept[found.kind].append(found.entry)
        for kind, entries in kept.items():
            self.report.findings += self._named(kind, entries)

    # --- reading ---

    def _counted(self, begins: Mapping[Partition, int], ends: Mapping[Partition, int]) -> Iterator[Record]:
        """The records that are not too old, telling how far it is."""
        total = sum(ends[partition] - begin for partition, begin in begins.items())
        for number, record in enumerate(self._scanner.read(begins, ends), start=1):
            if number % _EVERY == 0:
                self._progress(record.partition.topic, number, total)
            if self._since is None or record.timestamp >= self._since:
                yield record

    def _requests(self, begins: Mapping[Partition, int], ends: Mapping[Partition, int]) -> None:
        for record in self._counted(begins, ends):
            event = _read(record)
            if self._order.matches and not self._order.matches(event.attributes):
                self.report.unwanted += 1
                continue
            self.report.events += 1
            self._table.request(
                event.id,
                _source(event),
                at=record.timestamp,
                partition=record.partition.number,
                offset=record.offset,
            )

    def _answer(self, record: Record) -> None:
        event = _read(record)
        if not event.get("causationid") or self._order.responder not in (None, event.source):
            self.report.unrelated += 1
            return
        self.report.answers += 1
        self.report.errors += is_error(event)
        self.report.responders[event.source] += 1
        self._table.answer(
            Answer(
                event.id,
                event.get("causationid"),
                event.type,
                _responder(event),
                record.timestamp,
                record.partition.number,
                record.offset,
            )
        )

    def _letter(self, record: Record) -> None:
        event = _read(record)
        if event.get("hrtopic", self._order.events) == self._order.events:
            self._table.letter(event.id, _source(event))

    # --- judging ---

    def _found(self, now: int) -> Iterator[_Found]:
        table, late = self._table, self._order.late
        for entry in range(len(table)):
            asked, answered = table.asked[entry], table.answered[entry]
            if not asked:
                if self._since is None:  # else it may answer a request from before
                    yield _Found("orphan", entry)
                continue
            self.report.repeated += asked - 1
            # A dead letter comes with an error event, so it is not one more answer; from Knative it comes alone.
            if max(answered, table.letters[entry]) < asked:
                yield _Found("lost" if self._is_lost(entry, now) else "pending", entry)
            if answered > asked:
                yield _Found("duplicate", entry)
            if table.letters[entry]:
                yield _Found("dead-lettered", entry)
            if late is not None and answered and table.first_answered[entry] - table.first_asked[entry] > late * 1000:
                yield _Found("late", entry)

    def _is_lost(self, entry: int, now: int) -> bool:
        table = self._table
        number, offset = table.partition[entry], table.offset[entry]
        partition = Partition(self._order.events, number)
        if offset >= self._ends.get(partition, 0) or now - table.last_asked[entry] < self._order.grace * 1000:
            return False
        if not self._order.group:
            return True
        committed = self._committed.get(partition)
        return committed is not None and (offset < committed.offset or offset in self._done_beyond(number, committed))

    def _done_beyond(self, number: int, committed: Committed) -> frozenset[int]:
        """What the group has done beyond its offset, out of order."""
        if number not in self._done:
            # In ascending order: a ledger admits nothing below what is open.
            ledger = Ledger(committed)
            offsets = range(committed.offset, committed.offset + WINDOW) if committed.metadata else ()
            self._done[number] = frozenset(offset for offset in offsets if not ledger.admit(offset))
        return self._done[number]

    def _named(self, kind: Kind, entries: list[int]) -> Iterator[Finding]:
        """The findings with ids, which are read anew: the table has digests only."""
        table = self._table
        orphans = kind == "orphan"
        topic = self._order.results if orphans else self._order.events
        numbers, offsets = (table.answer_partition, table.answer_offset) if orphans else (table.partition, table.offset)
        places = {(Partition(topic, numbers[entry]), offsets[entry]): entry for entry in entries}
        # Read to its end first: the details of a finding read from another topic.
        read = [((r.partition, r.offset), _bare(r)) for r in self._scanner.fetch(places)]
        for (partition, offset), event in read:
            place = f"{topic}/{partition.number}/{offset}"
            if orphans:
                yield Finding(kind, event.get("causationid"), "", place, f"answer {event.id}")
            else:
                yield Finding(kind, event.id, event.source, place, self._detail(kind, places[partition, offset]))

    def _detail(self, kind: Kind, entry: int) -> str:
        table = self._table
        if kind == "late":
            return f"answered after {(table.first_answered[entry] - table.first_asked[entry]) / 1000:.3f} s"
        if kind == "duplicate":
            return f"{table.answered[entry]} answers to {table.asked[entry]} events: {self._answer_ids(entry)}"
        return ""

    def _answer_ids(self, entry: int) -> str:
        table = self._table
        places = [(table.answer_partition[entry], table.answer_offset[entry]), *table.extra[entry]]
        records = self._scanner.fetch((Partition(self._order.results, number), offset) for number, offset in places)
        ids = Counter(_read(record).id for record in records)
        return ", ".join(f"{identifier} x{count}" if count > 1 else identifier for identifier, count in ids.items())


def _read(record: Record) -> CloudEvent:
    try:
        return read_record(record, namespace="", name="")
    except InvalidEventError:
        return wrap_record(record, namespace="", name="")


def _bare(record: Record) -> CloudEvent:
    """The event without its data: many are kept at once."""
    return CloudEvent(_read(record).attributes)


def _source(event: CloudEvent) -> str:
    """The source, but for wrapped records the topic alone: the namespace and name of who wrapped it do not matter."""
    return event.source.rpartition("#")[2] if event.type == WRAPPED_TYPE else event.source


def _responder(event: CloudEvent) -> Responder | None:
    parts = event.source.split("/")
    if len(parts) != _SOURCE_PARTS or parts[:2] != ["", "headrace"]:
        return None
    return Responder(parts[2], parts[3], event.get("modelname"), event.get("modelversion"))
