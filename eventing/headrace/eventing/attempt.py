"""One event's way to its answer: gate, attempts, and what the answer means (event contract, sections 2 to 4)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from headrace.errors import DeadlineExceededError, HeadraceError, InvalidEventError, UnavailableError
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.deadletter import Failure
from headrace.eventing.moments import moment_of
from headrace.eventing.results import RESULT_TYPE, result_event
from headrace.eventing.retry import is_retriable

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.eventing.clock import Clock
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.gate import Gate
    from headrace.eventing.ledger import Attempts
    from headrace.eventing.results import Responder
    from headrace.eventing.retry import RetryPolicy
    from headrace.eventing.sink import Reply, Sink

ACCEPTED = 202
OK_BELOW = 300
SHUTS_THE_GATE = frozenset({502, 503})
"""Statuses that say "nobody is there", of an ingress or of a server that loads: knock before the next delivery."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an event ended: with a result, with a failure, or with neither (the receiver had nothing to say)."""

    result: CloudEvent | None = None
    failure: Failure | None = None
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class _Fault:
    """One attempt that failed."""

    detail: str
    status: int | None = None
    body: bytes = b""
    reply: Reply | None = None
    retry_after: float | None = None
    reset: bool = False
    """The receiver went away while it worked on the event."""

    @property
    def retriable(self) -> bool:
        return self.status is None or is_retriable(self.status)


class Courier:
    """Brings events to a sink, one call an event.

    Args:
        sink: The receiver.
        gate: Says when the receiver is there.
        slots: Bounds the calls under way at once.
        policy: When to try again.
        identity: Who answers, for receivers whose replies are no results of Headrace's.
        clock: Time.
        waited: Told how many seconds an event waited for the sink to be ready.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        gate: Gate,
        slots: asyncio.Semaphore,
        policy: RetryPolicy,
        identity: Responder,
        clock: Clock,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._sink = sink
        self._gate = gate
        self._slots = slots
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._waited = waited
        self.under_way: set[asyncio.Task[Any] | None] = set()
        """Tasks whose delivery the sink has in hand; all others of this courier wait, and can be given up unharmed."""

    async def bring(
        self,
        event: CloudEvent,
        *,
        span: Span,
        context: Context,
        before: Attempts,
        on_failure: Callable[[], Attempts],
    ) -> Answer:
        """Deliver until answered, refused or given up.

        Args:
            event: The event.
            span: Gets waits and retries as span events.
            context: Context in which ``span`` is current.
            before: Attempts that failed before this process took the event over.
            on_failure: Counts and persists a failed attempt; the count is its answer.
        """
        failed = before
        while True:
            if is_expired(event, self._clock.time()):
                return Answer(failure=self._failure("expired", _Fault("expirytime is past"), failed))
            outcome = await self._attempt(event, span, context)
            if isinstance(outcome, Answer):
                return outcome
            if not outcome.retriable:
                return Answer(failure=self._failure("rejected", outcome, on_failure()), reply=outcome.reply)
            failed = on_failure()
            if failed.count >= self._policy.attempts:
                reason = "crashed" if outcome.reset else "exhausted"
                return Answer(failure=self._failure(reason, outcome, failed), reply=outcome.reply)
            pause = self._policy.wait(failed.count, retry_after=outcome.retry_after)
            span.add_event(
                "retry",
                {"headrace.attempt": failed.count, "headrace.wait_seconds": pause, "error.message": outcome.detail},
            )
            await self._clock.sleep(pause)

    async def _attempt(self, event: CloudEvent, span: Span, context: Context) -> Answer | _Fault:
        try:
            waited = await self._gate.passed(context)
        except DeadlineExceededError as fault:
            return _Fault(str(fault))
        if waited:
            self._waited(waited)
            span.add_event("waited for the sink", {"headrace.wait_seconds": waited})
        async with self._slots:
            return await self._deliver(event, context)

    async def _deliver(self, event: CloudEvent, context: Context) -> Answer | _Fault:
        task = asyncio.current_task()
        self.under_way.add(task)
        try:
            return self._read(event, await self._sink.deliver(event, context))
        except UnavailableError as fault:
            self._gate.shut()
            return _Fault(str(fault), reset="Disconnected" in str(fault) or "reset" in str(fault))
        except HeadraceError as fault:
            return _Fault(str(fault))
        finally:
            self.under_way.discard(task)

    def _read(self, event: CloudEvent, reply: Reply) -> Answer | _Fault:
        if reply.status in SHUTS_THE_GATE:
            self._gate.shut()
        else:
            self._gate.answered()
        if reply.status >= OK_BELOW:
            return _Fault(f"HTTP {reply.status}", reply.status, reply.body, reply, retry_after=retry_after(reply))
        try:
            return Answer(result=self._result(event, reply), reply=reply)
        except InvalidEventError as fault:
            # A 2xx that claims to be an event and is not: asking again gives the same.
            return _Fault(f"the reply is broken: {fault}", status=OK_BELOW - 1, body=reply.body)

    def _result(self, event: CloudEvent, reply: Reply) -> CloudEvent | None:
        if reply.status == ACCEPTED:  # knative specs, data plane: a 202 has no reply event
            return None
        message = HttpMessage(reply.headers, reply.body)
        mode = http.mode_of(reply.headers)
        if mode is Mode.BATCHED:
            raise InvalidEventError("one event was answered with a batch")
        if mode is None and not reply.body:
            return None
        answer = _reply_event(message, mode)
        if answer and answer.type == RESULT_TYPE and answer.get("causationid") == event.id:
            return answer
        return result_event(
            event,
            data=answer.data if answer else reply.body,
            content_type=answer.content_type if answer else reply.headers.get("content-type"),
            identity=self._identity,
            trace={},
            now=datetime.fromtimestamp(self._clock.time(), timezone.utc),
        )

    def _failure(self, reason: str, fault: _Fault, attempts: Attempts) -> Failure:
        return Failure(
            reason=reason,  # type: ignore[arg-type]  # the callers pass literals of Reason
            detail=fault.detail,
            destination=self._sink.url if reason != "expired" else "",
            status=fault.status,
            body=fault.body,
            attempts=attempts.count,
            first=attempts.first,
            last=self._clock.time() if attempts.count else 0.0,
        )


def is_expired(event: CloudEvent, now: float) -> bool:
    """Whether the event's ``expirytime`` (CloudEvents extension, RFC 3339) is past; one that is no time never is."""
    text = event.get("expirytime")
    moment = moment_of(text) if text else None
    return moment is not None and moment <= now


def retry_after(reply: Reply) -> float | None:
    """Seconds of the reply's ``Retry-After``; None where it has none or names a date."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def _reply_event(message: HttpMessage, mode: Mode | None) -> CloudEvent | None:
    if mode is Mode.BINARY:
        return http.read_binary(message)
    return json_format.load_event(message.body) if mode is Mode.STRUCTURED else None
