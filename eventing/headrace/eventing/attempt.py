"""One event's way to its answer: gate, attempts, and what the answer means (event contract, sections 2 to 4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from headrace.errors import DeadlineExceededError, HeadraceError, InvalidEventError, UnavailableError
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import HttpMessage, Mode
from headrace.eventing.deadletter import Failure
from headrace.eventing.gate import SHUTS_THE_GATE
from headrace.eventing.moments import moment_of
from headrace.eventing.results import RESULT_TYPE, result_event
from headrace.eventing.retry import is_retriable, retry_after
from headrace.eventing.sink import DisconnectedError
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.eventing.capacity import Capacity
    from headrace.eventing.carrier import Carrier
    from headrace.eventing.clock import Clock
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.gate import Gate
    from headrace.eventing.ledger import Attempts
    from headrace.eventing.pausing import Valve
    from headrace.eventing.rate import Pace
    from headrace.eventing.results import Responder
    from headrace.eventing.retry import RetryPolicy
    from headrace.eventing.sink import Reply

ACCEPTED = 202
OK_BELOW = 300


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
    """Brings events to a sink until they are answered, refused or given up.

    Args:
        url: Where the sink is, for dead letters.
        carrier: Takes an event there.
        gate: Says when the receiver is there.
        capacity: Says when it wants to be left alone.
        pace: Says how fast it is asked.
        valve: Says whether it is asked at all.
        policy: When to try again.
        identity: Who answers, for receivers whose replies are no results of Headrace's.
        clock: Time.
        waited: Told how many seconds an event waited for the sink to be ready.
        failed: Told of each failed delivery: its HTTP status, None without one, and whether it is tried again.
    """

    def __init__(
        self,
        *,
        url: str,
        carrier: Carrier,
        gate: Gate,
        capacity: Capacity,
        pace: Pace,
        valve: Valve,
        policy: RetryPolicy,
        identity: Responder,
        clock: Clock,
        waited: Callable[[float], None] = lambda _: None,
        failed: Callable[[int | None, bool], None] = lambda _status, _again: None,
    ) -> None:
        self._url = url
        self._carrier = carrier
        self._gate = gate
        self._capacity = capacity
        self._pace = pace
        self._valve = valve
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._waited = waited
        self._failed = failed

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
            outcome = await self._attempt(event, failed, span, context)
            if isinstance(outcome, Answer):
                return outcome
            if not outcome.retriable:
                self._failed(outcome.status, False)
                return Answer(failure=self._failure("rejected", outcome, on_failure()), reply=outcome.reply)
            failed = on_failure()
            self._failed(outcome.status, failed.count < self._policy.attempts)
            if failed.count >= self._policy.attempts:
                reason = "crashed" if outcome.reset else "exhausted"
                return Answer(failure=self._failure(reason, outcome, failed), reply=outcome.reply)
            asked = min(outcome.retry_after or 0.0, self._capacity.longest)
            pause = self._policy.wait(failed.count, retry_after=asked)
            span.add_event(
                "retry",
                {"headrace.attempt": failed.count, "headrace.wait_seconds": pause, "error.message": outcome.detail},
            )
            tracing.keep(span, "retry")
            await self._clock.sleep(pause)

    async def _attempt(self, event: CloudEvent, failed: Attempts, span: Span, context: Context) -> Answer | _Fault:
        # Asked twice: an event that is late already wakes nobody, and one that became late while it waited is not sent.
        if is_expired(event, self._clock.time()):
            return self._expired(failed)
        if fault := await self._admitted(span, context):
            return fault
        if is_expired(event, self._clock.time()):
            return self._expired(failed)
        return await self._deliver(event, context)

    async def _admitted(self, span: Span, context: Context) -> _Fault | None:
        """Wait until the sink wants an event; the fault where it is not to be had."""
        await self._valve.passed()
        await self._capacity.opened()
        try:
            waited = await self._gate.passed(context)
        except DeadlineExceededError as fault:
            return _Fault(str(fault))
        if waited:
            self._waited(waited)
            span.add_event("waited for the sink", {"headrace.wait_seconds": waited})
        await self._pace.step()
        return None

    async def _deliver(self, event: CloudEvent, context: Context) -> Answer | _Fault:
        try:
            return self._read(event, await self._carrier.carry(event, context))
        except UnavailableError as fault:
            self._gate.shut()
            return _Fault(str(fault), reset=isinstance(fault, DisconnectedError))
        except HeadraceError as fault:
            return _Fault(str(fault))

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
        answer = reply.event
        if answer is None:
            mode = http.mode_of(reply.headers)
            if mode is None and not reply.body:
                return None
            answer = _reply_event(HttpMessage(reply.headers, reply.body), mode)
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

    def _expired(self, failed: Attempts) -> Answer:
        return Answer(failure=self._failure("expired", _Fault("expirytime is past"), failed))

    def _failure(self, reason: str, fault: _Fault, attempts: Attempts) -> Failure:
        return Failure(
            reason=reason,  # type: ignore[arg-type]  # the callers pass literals of Reason
            detail=fault.detail,
            destination=self._url if reason != "expired" else "",
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


def _reply_event(message: HttpMessage, mode: Mode | None) -> CloudEvent | None:
    if mode is Mode.BATCHED:
        raise InvalidEventError("one event was answered with a batch")
    if mode is Mode.BINARY:
        return http.read_binary(message)
    return json_format.load_event(message.body) if mode is Mode.STRUCTURED else None
