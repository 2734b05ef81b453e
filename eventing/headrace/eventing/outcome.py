"""From a record to the records that answer it, with the spans of the way (event contract, sections 3, 5 and 6)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from headrace.errors import HeadraceError, InvalidEventError
from headrace.eventing import spans
from headrace.eventing.attempt import Answer
from headrace.eventing.codec.kafka import read_record, text_headers, wrap_record, write_record
from headrace.eventing.deadletter import Failure, dead_letter
from headrace.eventing.event import CloudEvent
from headrace.eventing.results import PROBLEM_JSON, Problem, error_event, problem_of, read_problem
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.errors import PayloadTooLargeError
    from headrace.eventing.attempt import Courier
    from headrace.eventing.clock import Clock
    from headrace.eventing.filters import Filter
    from headrace.eventing.ledger import Attempts
    from headrace.eventing.log import OutgoingRecord, Record
    from headrace.eventing.results import Responder

_log = logging.getLogger(__name__)
Ending = Literal["answered", "dead_letter", "skipped"]
"""``answered`` is also an event that the receiver took without a word; ``skipped`` is one that no filter meant."""
UNANSWERED = 503
"""Status in an error event where nothing answered at all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a record ended: what is to be written for it, and the spans that end when it is written."""

    record: Record
    event: CloudEvent
    records: tuple[OutgoingRecord, ...]
    spans: tuple[Span, ...]
    context: Context
    """Trace context of the process span, for records that are written in place of these."""
    ending: Ending = "answered"
    reason: str = ""
    """Why it ended so: a dead letter's reason, or what a filter said; empty for an answer."""

    def close(self) -> None:
        """The records are written: end the spans that waited for it, the innermost first."""
        for span in self.spans:
            span.end()


class Settler:
    """Settles records: reads the event, has it brought to the sink, and turns the answer into records.

    Args:
        courier: Brings an event to the sink.
        identity: Who answers.
        results: Topic of answers; None for nowhere.
        dead_letters: Topic of events that were given up.
        clock: Time.
        wanted: Which events are meant; None for all.
        group: The consumer group, for spans.
    """

    def __init__(
        self,
        courier: Courier,
        *,
        identity: Responder,
        results: str | None,
        dead_letters: str,
        clock: Clock,
        wanted: Filter | None = None,
        group: str = "",
    ) -> None:
        self._courier = courier
        self._identity = identity
        self._results = results
        self._dead_letters = dead_letters
        self._clock = clock
        self._wanted = wanted
        self._group = group
        self._tracer = tracing.tracer(__name__)

    async def settle(self, record: Record, *, before: Attempts, on_failure: Callable[[], Attempts]) -> Outcome:
        """Everything from the record as it lies in the log to the records that answer it.

        Args:
            record: The record.
            before: Failed attempts of earlier owners of the partition.
            on_failure: Counts and persists a failed attempt; the count is its answer.
        """
        event, invalid = self._read(record)
        arrived = tracing.extract(text_headers(record), event.attributes)
        receive = self._start("receive", record, event, arrived)
        process = self._start("process", record, event, tracing.child_of(receive, arrived))
        context = tracing.child_of(process, arrived)
        try:
            with tracing.recorded(process):
                if not invalid and self._wanted and not self._wanted(event.attributes):
                    return self._skipped(record, event, context, (process, receive))
                if invalid:
                    answer = Answer(failure=Failure("invalid", str(invalid)))
                else:
                    answer = await self._bring(event, process, context, before, on_failure)
                if answer.failure:
                    _note(process, answer.failure)
        except BaseException:
            receive.end()
            raise
        return self._outcome(record, event, context, answer, receive)

    def _skipped(self, record: Record, event: CloudEvent, context: Context, spans: tuple[Span, Span]) -> Outcome:
        """The outcome of an event that is not meant: done, with nothing to write."""
        assert self._wanted is not None
        verdict = self._wanted.explain(event.attributes)
        process, receive = spans
        process.add_event("filtered", {"headrace.reason": verdict.reason})
        return Outcome(record, event, (), (receive,), context, "skipped", verdict.error or "no match")

    def too_large(self, outcome: Outcome, fault: PayloadTooLargeError) -> Outcome:
        """The outcome in place of one that no topic takes: a dead letter that says so."""
        outcome.close()
        failure = Failure("rejected", f"the answer does not fit its topic: {fault}")
        return self._outcome(outcome.record, outcome.event, outcome.context, Answer(failure=failure), None)

    async def _bring(
        self,
        event: CloudEvent,
        span: Span,
        context: Context,
        before: Attempts,
        on_failure: Callable[[], Attempts],
    ) -> Answer:
        try:
            return await self._courier.bring(event, span=span, context=context, before=before, on_failure=on_failure)
        except Exception as fault:  # noqa: BLE001  # a fault of Headrace's own must cost one event, not its partition
            _log.exception("event %s of %s failed inside the dispatcher", event.id, event.source)
            return Answer(failure=Failure("crashed", f"{type(fault).__name__}: {fault}"))

    def _read(self, record: Record) -> tuple[CloudEvent, InvalidEventError | None]:
        name = {"namespace": self._identity.namespace, "name": self._identity.app}
        try:
            return read_record(record, **name), None
        except InvalidEventError as fault:
            return wrap_record(record, **name), fault

    def _outcome(
        self, record: Record, event: CloudEvent, context: Context, answer: Answer, receive: Span | None
    ) -> Outcome:
        written: list[OutgoingRecord] = []
        closing: list[Span] = []

        def publish(topic: str, sent: CloudEvent, make: Callable[[Mapping[str, str]], OutgoingRecord]) -> None:
            span = self._tracer.start_span(f"publish {topic}", context, kind=tracing.SpanKind.PRODUCER)
            tracing.describe(span, spans.publishing, topic, sent)
            closing.append(span)
            written.append(make(tracing.carrier(tracing.child_of(span, context))))

        if failure := answer.failure:
            publish(
                self._dead_letters,
                event,
                lambda trace: dead_letter(record, event, failure, topic=self._dead_letters, trace=trace),
            )
        reply = self._reply(event, answer)
        if self._results and reply:
            topic = self._results
            publish(topic, reply, lambda trace: write_record(reply, topic, trace=trace))
        ending: Ending = "dead_letter" if failure else "answered"
        reason = failure.reason if failure else ""
        if receive:
            closing.append(receive)
        return Outcome(record, event, tuple(written), tuple(closing), context, ending, reason)

    def _reply(self, event: CloudEvent, answer: Answer) -> CloudEvent | None:
        """The event for the results topic: a publisher that waits for an answer learns of a failure as well."""
        if not answer.failure:
            return answer.result
        now = datetime.fromtimestamp(self._clock.time(), timezone.utc)
        return error_event(event, _problem(answer), identity=self._identity, trace={}, now=now)

    def _start(self, operation: str, record: Record, event: CloudEvent, context: Context) -> Span:
        name = f"{operation} {record.partition.topic}"
        span = self._tracer.start_span(name, context, kind=tracing.SpanKind.CONSUMER)
        tracing.describe(span, spans.consuming, operation, record, event, self._group)
        return span


def _note(span: Span, failure: Failure) -> None:
    span.add_event("dead letter", {"headrace.reason": failure.reason, "error.message": failure.detail})
    tracing.fail(span, failure.reason)
    tracing.keep(span, "dead letter")


def _problem(answer: Answer) -> Problem:
    """Why there is no result: in the receiver's own words where it gave any in the form of RFC 9457."""
    failure = answer.failure
    assert failure is not None
    if answer.reply and answer.reply.headers.get("content-type", "").startswith(PROBLEM_JSON):
        body = answer.reply.body
        try:
            return replace(read_problem(CloudEvent({"id": "reply"}, body)), retriable=False)
        except HeadraceError:
            pass  # its body is no problem object: ours below says as much as is known
    status = failure.status or (400 if failure.reason == "invalid" else UNANSWERED)
    return replace(problem_of(InvalidEventError(failure.detail)), status=status, code=failure.reason, retriable=False)
