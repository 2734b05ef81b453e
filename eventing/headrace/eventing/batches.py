"""Micro-batches: events of any partition that wait at the same time go to the sink in one request.

Each event has its own answer, attempts and deadline; a batch is the way they travel and nothing more. One that fails as
a whole is halved until the event that fails is alone: it costs its neighbours time, and never an attempt. Order is
kept by the lanes before (``headrace.eventing.lanes``): of one key, one event is under way, so that a batch never has
two.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import DeadlineExceededError, HeadraceError, InvalidEventError
from headrace.eventing.capacity import OVERLOADED
from headrace.eventing.carrier import deliver
from headrace.eventing.codec import http, json_format
from headrace.eventing.codec.http import Mode
from headrace.eventing.gate import SHUTS_THE_GATE
from headrace.eventing.results import ERROR_TYPE, PROBLEM_JSON, RESULT_TYPE, read_problem
from headrace.eventing.retry import is_retriable
from headrace.eventing.sink import DisconnectedError, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context

    from headrace.eventing.capacity import Capacity, Slot
    from headrace.eventing.clock import Clock
    from headrace.eventing.event import CloudEvent
    from headrace.eventing.gate import Gate
    from headrace.eventing.sink import Sink

_log = logging.getLogger(__name__)
OK_BELOW = 300
TOO_LARGE = 413
FAILED = 500


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much travels together."""

    size: int = 32
    """Most events in one request."""
    delay: float = 0.005
    """Seconds that the first event waits for others at most. While the sink is busy, they gather without it."""
    bytes: int = 1024 * 1024
    """Most bytes of data in one request; an event with more than half of it goes alone, in binary mode."""


@dataclass(eq=False, slots=True)
class _Member:
    """One event that wants to travel."""

    event: CloudEvent
    context: Context
    task: asyncio.Task[Any] | None
    came: float
    answer: asyncio.Future[Reply]

    @property
    def size(self) -> int:
        return len(self.event.data or b"")

    def reply(self, reply: Reply) -> None:
        if not self.answer.done():
            self.answer.set_result(reply)

    def fail(self, fault: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)


class BatchCarrier:
    """Gathers events into requests; see :class:`headrace.eventing.carrier.Carrier`.

    Args:
        sink: The receiver.
        gate: Is passed again before what is left of a failed batch: its receiver may have died of it.
        capacity: Bounds the events under way.
        limits: How much travels together.
        clock: Time.
    """

    def __init__(self, sink: Sink, gate: Gate, capacity: Capacity, limits: BatchLimits, clock: Clock) -> None:
        self._sink = sink
        self._gate = gate
        self._capacity = capacity
        self._limits = limits
        self._clock = clock
        self._waiting: deque[_Member] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._together = True
        """Whether the receiver reads batches, as far as is known."""
        self.under_way: set[asyncio.Task[Any] | None] = set()

    async def carry(self, event: CloudEvent, context: Context) -> Reply:
        """Travel with whoever comes along; the event's own answer."""
        loop = asyncio.get_running_loop()
        member = _Member(event, context, asyncio.current_task(), self._clock.monotonic(), loop.create_future())
        self._waiting.append(member)
        self._waiting_bytes += member.size
        if self._is_full():
            self._filled.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.ensure_future(self._send_all())
        return await member.answer

    # --- what travels together ---

    async def _send_all(self) -> None:
        while self._waiting:
            await self._gathered()
            slot = await self._capacity.enter(lambda: len(self._next(self._limits.size)))
            members = self._take(slot.events)
            slot.leave(slot.events - len(members))
            if members:
                sending = asyncio.ensure_future(self._send(members, slot))
                self._sending.add(sending)
                sending.add_done_callback(self._sending.discard)

    async def _gathered(self) -> None:
        """Wait until a batch is full, or the first has waited long enough."""
        left = self._waiting[0].came + self._limits.delay - self._clock.monotonic()
        if left <= 0 or self._is_full():
            return
        self._filled.clear()
        waits: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(self._clock.sleep(left)),
            asyncio.ensure_future(self._filled.wait()),
        }
        _, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in rest:
            each.cancel()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._limits.size or self._waiting_bytes >= self._limits.bytes

    def _next(self, most: int) -> list[_Member]:
        """Who would go next; whoever gave up (its partition went elsewhere) is left out."""
        chosen: list[_Member] = []
        size = 0
        for member in self._waiting:
            if member.answer.done():
                continue
            alone = not self._together or member.size * 2 > self._limits.bytes
            if chosen and (alone or size + member.size > self._limits.bytes):
                break
            chosen.append(member)
            size += member.size
            if alone or len(chosen) >= most:
                break
        return chosen

    def _take(self, most: int) -> list[_Member]:
        """The next members, which no longer wait."""
        taken = self._next(most)
        left = len(taken)
        while self._waiting and (left or self._waiting[0].answer.done()):
            member = self._waiting.popleft()
            self._waiting_bytes -= member.size
            left -= not member.answer.done()
        return taken

    # --- to the sink ---

    async def _send(self, members: list[_Member], slot: Slot) -> None:
        tasks = {member.task for member in members}
        self.under_way |= tasks
        try:
            await self._deliver(members, slot)
        except BaseException as fault:
            for member in members:
                member.fail(fault)
            raise
        finally:
            self.under_way -= tasks
            slot.leave()

    async def _deliver(self, members: Sequence[_Member], slot: Slot) -> None:
        """Bring every member its answer."""
        members = [member for member in members if not member.answer.done()]
        if len(members) <= 1:
            for member in members:
                await self._alone(member, slot)
            return
        why = await self._at_once(members, slot)
        if why is None:
            slot.leave(len(members))
        elif isinstance(why, Reply) and not is_retriable(why.status) and why.status != TOO_LARGE:
            await self._halve(members, slot, why)
            self._learn(members, why)
        else:
            await self._halve(members, slot, why)

    async def _alone(self, member: _Member, slot: Slot) -> None:
        try:
            member.reply(await deliver(self._sink, slot, member.event, member.context))
        except HeadraceError as fault:
            member.fail(fault)
        slot.leave(1)

    async def _at_once(self, members: Sequence[_Member], slot: Slot) -> Reply | HeadraceError | None:
        """Deliver as one request; why it must be halved, or None when every member has its answer."""
        try:
            reply = await self._sink.deliver_batch([m.event for m in members], [m.context for m in members])
        except DeadlineExceededError as fault:
            slot.timed_out()
            return fault
        except DisconnectedError as fault:
            self._gate.shut()
            return fault
        except HeadraceError as fault:  # nobody was there: no member is to blame
            for member in members:
                member.fail(fault)
            return None
        slot.answered(reply, len(members))
        if reply.status in SHUTS_THE_GATE:
            self._gate.shut()
        if reply.status in OVERLOADED:
            for member in members:
                member.reply(reply)
            return None
        answers = replies([member.event for member in members], reply)
        for member, answer in zip(members, answers or (), strict=False):
            if answer.status in OVERLOADED:
                slot.answered(answer)
            member.reply(answer)
        return None if answers else reply

    async def _halve(self, members: Sequence[_Member], slot: Slot, why: Reply | HeadraceError) -> None:
        """Go on with each half: in the end the one that fails is alone, and the others are answered."""
        reason = f"HTTP {why.status}" if isinstance(why, Reply) else str(why)
        _log.info("a batch of %d failed as a whole, going on with its halves: %s", len(members), reason)
        middle = (len(members) + 1) // 2
        for half in (members[:middle], members[middle:]):
            try:
                await self._gate.passed(half[0].context)
            except HeadraceError as fault:
                for member in half:
                    member.fail(fault)
            await self._deliver(half, slot)

    def _learn(self, members: Sequence[_Member], why: Reply) -> None:
        """A receiver that refuses a batch for good and takes each of its events alone reads no batches."""
        answers = [m.answer for m in members if m.answer.done() and not m.answer.cancelled()]
        if self._together and answers and all(_is_good(answer) for answer in answers):
            self._together = False
            _log.warning(
                "%s takes no batches (HTTP %d): its events go singly from now on; leave spec.trigger.batch out",
                self._sink.url,
                why.status,
            )


def replies(events: Sequence[CloudEvent], reply: Reply) -> list[Reply] | None:
    """The answer to each event of a batch, as if it had been sent alone; None where the reply does not tell them.

    An error event becomes the status and the problem that it holds. A success without a body is one for each event.
    """
    if reply.status >= OK_BELOW:
        return None
    if not reply.body:
        return [Reply(reply.status)] * len(events)
    try:
        if http.mode_of(reply.headers) is not Mode.BATCHED:
            return None
        items = json_format.load_batch(reply.body)
        if len(items) != len(events):
            return None
        return [_reply(event, item, reply.status) for event, item in zip(events, items, strict=True)]
    except InvalidEventError:
        return None


def _reply(event: CloudEvent, item: CloudEvent | InvalidEventError, status: int) -> Reply:
    if isinstance(item, InvalidEventError):
        raise item
    if item.type in (RESULT_TYPE, ERROR_TYPE) and item.get("causationid") != event.id:
        raise InvalidEventError(f"Event {event.id!r} was answered with what answers {item.get('causationid')!r}")
    if item.type != ERROR_TYPE:
        return Reply(status, event=item)
    problem = read_problem(item)
    wait = {} if problem.retry_after is None else {"retry-after": str(math.ceil(problem.retry_after))}
    refused = problem.status if problem.status >= OK_BELOW else FAILED
    return Reply(refused, {"content-type": PROBLEM_JSON, **wait}, item.data or b"")


def _is_good(answer: asyncio.Future[Reply]) -> bool:
    return answer.exception() is None and answer.result().status < OK_BELOW
