"""Sends letters back, or drops them: each once, whatever dies in between (decision 0017).

One run handles the letters of one topic. Its transactional id is the topic's, so that of two runs at once the later
one ends the earlier; it then knows from the marks what the earlier one sent. After every failed write the marks are
read anew, for the same reason.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError, PayloadTooLargeError, TakenOverError, UnavailableError
from headrace.eventing.codec.kafka import text_headers
from headrace.eventing.deadletters.handled import (
    Action,
    Handled,
    Mark,
    mark_record,
    marks_topic,
    read_handled,
    tombstone,
)
from headrace.eventing.deadletters.letter import original_record, read_letter
from headrace.eventing.deadletters.selection import Selection
from headrace.eventing.kafka.scan import Scanner
from headrace.eventing.kafka.topics import create_topics, topic_names
from headrace.eventing.kafka.transaction import TransactionalWriter
from headrace.eventing.spans import publishing
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from opentelemetry.trace import Span

    from headrace.eventing.deadletters.letter import DeadLetter
    from headrace.eventing.deadletters.pace import TokenBucket
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.log import OutgoingRecord

MOST_A_TRANSACTION = 100
"""Letters; a transaction that fails is done again as a whole."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of data in one transaction: memory stays bounded."""
_AGAIN = "run the same command again: what was sent is marked, and is not sent twice"
_OVERTAKEN = "another run on these letters has begun and goes on from here; wait for its end"


@dataclass(frozen=True, slots=True)
class Order:
    """What to do with which letters."""

    letters: str
    """The dead-letter topic."""
    action: Action = "redriven"
    selection: Selection = field(default_factory=Selection)
    to: str | None = None
    """Topic to send to; None for the one that each letter came from."""
    limit: int | None = None
    """Most letters; None for all."""
    dropped: bool = False
    """Whether letters that were dropped earlier are meant too."""
    dry_run: bool = False
    """Choose and count, and write nothing."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Names this run in marks and events."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A letter that could not be handled; it waits as before."""

    letter: DeadLetter
    why: str


@dataclass(slots=True)
class Summary:
    """What a run did, or would do."""

    run: str
    scanned: int = 0
    """Letters that were looked at."""
    done: int = 0
    already: int = 0
    """Letters that were meant and had been handled by an earlier run."""
    destinations: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)


def handle(
    kafka: KafkaSettings | str,
    order: Order,
    *,
    bucket: TokenBucket | None = None,
    progress: Callable[[Summary, int], None] = lambda _summary, _total: None,
) -> Summary:
    """Handle the letters that the order means, as they stand now, in the order of each partition.

    Args:
        kafka: The cluster.
        order: What to do.
        bucket: How fast; None for as fast as it goes.
        progress: Called with the state and the offsets to be looked at in all, after each transaction.

    Raises:
        ConfigurationError: there is no such topic.
        UnavailableError: the broker went away; the same order given again goes on from there.
        TakenOverError: another run on the same topic has begun.
    """
    known = topic_names(kafka)
    marks = marks_topic(order.letters)
    if order.letters in known and marks.name not in known and not order.dry_run:
        create_topics(kafka, [marks])  # before the scanner: it asks for topics once
    with Scanner(kafka) as scanner:
        begins, ends = scanner.begins(order.letters), scanner.ends(order.letters)
        run = _Run(kafka, order, bucket=bucket, known=known)
        try:
            run.open(scanner, {partition.number: offset for partition, offset in begins.items()})
            total = sum(ends[partition] - begins[partition] for partition in begins)
            for batch in run.batches(map(read_letter, scanner.read(begins, ends))):
                run.settle(batch)
                progress(run.summary, total)
        except TakenOverError as fault:
            raise TakenOverError(fault.message, hint=_OVERTAKEN) from fault
        except UnavailableError as fault:
            raise UnavailableError(fault.message, hint=_AGAIN) from fault
        finally:
            run.close()
    progress(run.summary, total)
    return run.summary


class _Run:
    """One run; owns the writer and what is known of the marks."""

    def __init__(
        self, kafka: KafkaSettings | str, order: Order, *, bucket: TokenBucket | None, known: Collection[str]
    ) -> None:
        self._kafka = kafka
        self._order = order
        self._bucket = bucket
        self._known = known
        self._writer = TransactionalWriter(kafka, f"headrace.redrive.{order.letters}")
        self._handled = Handled()
        self._tracer = tracing.tracer(__name__)
        self.summary = Summary(order.run)

    def open(self, scanner: Scanner, begins: dict[int, int]) -> None:
        """End what an earlier life left open, learn what it did, and forget the marks of letters that are gone."""
        self._renew(scanner)
        gone = self._handled.before(begins)
        if gone and not self._order.dry_run:
            self._writer.write([tombstone(self._order.letters, place) for place in gone], {})

    def close(self) -> None:
        """Let go of the writer."""
        self._writer.close()

    def batches(self, letters: Iterator[DeadLetter]) -> Iterator[list[DeadLetter]]:
        """The letters that are meant and can be handled, in transactions' worth."""
        most = min(MOST_A_TRANSACTION, self._bucket.burst) if self._bucket else MOST_A_TRANSACTION
        batch: list[DeadLetter] = []
        size = 0
        for letter in self._meant(letters):
            length = len(letter.record.value or b"")
            if batch and (len(batch) >= most or size + length > MOST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(letter)
            size += length
        if batch:
            yield batch

    def settle(self, batch: Sequence[DeadLetter]) -> None:
        """Handle the letters in one transaction; where one of them is too large, each in one of its own."""
        waiting = [letter for letter in batch if not self._is_done(letter)]
        self.summary.already += len(batch) - len(waiting)
        if self._bucket and not self._order.dry_run:
            self._bucket.take(len(waiting))
        try:
            self._commit(waiting)
        except PayloadTooLargeError as fault:
            with Scanner(self._kafka) as scanner:  # not the one that reads the letters: it is in the middle of them
                self._renew(scanner)
            if len(waiting) == 1:
                self.summary.refused.append(Refused(waiting[0], str(fault)))
                return
            for letter in waiting:
                self.settle([letter])
            return
        self._count(waiting)

    def _count(self, done: Sequence[DeadLetter]) -> None:
        self.summary.done += len(done)
        self.summary.reasons.update(letter.reason for letter in done)
        self.summary.destinations.update(filter(None, map(self._destination, done)))

    def _meant(self, letters: Iterator[DeadLetter]) -> Iterator[DeadLetter]:
        chosen = 0
        for letter in letters:
            self.summary.scanned += 1
            if not self._order.selection.takes(letter):
                continue
            if self._is_done(letter):
                self.summary.already += 1
            elif why := self._obstacle(letter):
                self.summary.refused.append(Refused(letter, why))
            elif self._order.limit is None or chosen < self._order.limit:
                chosen += 1
                yield letter
            else:
                return

    def _is_done(self, letter: DeadLetter) -> bool:
        mark = self._handled.of(letter)
        return mark is not None and not (self._order.dropped and mark.action == "dropped")

    def _obstacle(self, letter: DeadLetter) -> str:
        if self._order.action == "dropped":
            return ""
        to = self._destination(letter)
        if not to:
            return "it does not say which topic it came from: give --to TOPIC"
        if to == self._order.letters:
            return f"{to} is the topic of the dead letters themselves: give --to TOPIC"
        return "" if to in self._known else f"there is no topic {to!r}: give --to TOPIC"

    def _destination(self, letter: DeadLetter) -> str:
        return "" if self._order.action == "dropped" else self._order.to or letter.topic

    def _commit(self, batch: Sequence[DeadLetter]) -> None:
        if self._order.dry_run or not batch:
            return
        spans: list[Span] = []
        records: list[OutgoingRecord] = []
        try:
            for letter in batch:
                if self._order.action == "redriven":
                    records.append(self._original(letter, spans))
                records.append(mark_record(self._order.letters, letter.place, self._mark(letter)))
            self._writer.write(records, {})
        except HeadraceError as fault:
            for span in spans:
                tracing.fail(span, fault)
            raise
        finally:
            for span in spans:
                span.end()

    def _original(self, letter: DeadLetter, spans: list[Span]) -> OutgoingRecord:
        to = self._destination(letter)
        context = tracing.extract(text_headers(letter.record), letter.event.attributes)
        span = self._tracer.start_span(
            f"publish {to}",
            context,
            kind=tracing.SpanKind.PRODUCER,
            attributes={
                **publishing(to, letter.event),
                "headrace.redrive.run": self._order.run,
                "headrace.redrive.count": letter.redrives + 1,
            },
        )
        spans.append(span)
        return original_record(letter, to, run=self._order.run, trace=tracing.inject(span, context))

    def _mark(self, letter: DeadLetter) -> Mark:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Mark(self._order.action, self._order.run, now, self._destination(letter), letter.fingerprint)

    def _renew(self, scanner: Scanner) -> None:
        """Take the transactional id, and only then read the marks: nobody can add one unseen any more."""
        if not self._order.dry_run:
            self._writer.open()
        self._handled = read_handled(scanner, self._order.letters)
