"""Merges the requests that wait for one model into runs of the model, and hands each caller its own answer.

The event loop owns the line; the model runs in the model's own thread. Nothing is held back for company unless a
delay is set: while the model runs, requests gather, and the next run takes all that fit. A batch that nothing more can
join is collated while the one before it runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context

from headrace.errors import DeadlineExceededError
from headrace.models.batching import CountsTokens, tensor_bytes
from headrace.models.keyed_state import Keyed, key_of
from headrace.models.kserve_api import InferRequest
from headrace.serving.batching import spans
from headrace.serving.batching.company import Company
from headrace.serving.batching.group import Group
from headrace.serving.batching.line import Line
from headrace.serving.batching.member import Member
from headrace.serving.batching.runs import Runs
from headrace.serving.execution.ahead import Ahead
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Hashable

    from headrace.models.batching import Batchable
    from headrace.serving.batching.group import Place
    from headrace.serving.batching.member import Call
    from headrace.serving.batching.runs import RunTimes
    from headrace.serving.execution.worker import Worker
    from headrace.serving.settings import BatchLimits

Landing = Callable[[Sequence[Member], "RunTimes | None"], None]
"""What is done on the loop when a run has ended; no times where it could not even begin."""
_AT_A_TIME = 2
"""Batches that are out of the line: the one that runs, and the one that is collated meanwhile."""
_LONGEST_RETRY = 60.0
_SMOOTHING = 0.2


class Told:
    """Told by the model's thread that a run has ended; tells the batcher."""

    __slots__ = ("_batch", "_loop", "_then")

    def __init__(self, loop: asyncio.AbstractEventLoop, batch: Sequence[Member], then: Landing) -> None:
        self._loop = loop
        self._batch = batch
        self._then = then

    def done(self) -> bool:
        """Never before its run: who has left is seen there."""
        return False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The batcher's loop."""
        return self._loop

    def set_result(self, times: RunTimes | None) -> None:
        """The run has ended, well or not: that stands in each member."""
        self._then(self._batch, times)

    def set_exception(self, fault: Exception) -> None:
        """The run could not even fail as it should."""
        for member in self._batch:
            member.fault = member.fault or fault
        self._then(self._batch, None)


class Batcher:
    """The line in front of one model.

    How many may wait is bounded by whoever submits them.

    Args:
        model: The model, for its keyed state.
        predict: Its blocking ``predict``, given a call.
        hooks: Its batching hooks; None for a model without: its requests run one by one.
        worker: The thread that it runs in.
        limits: How much is merged.
        watcher: Told of every run when it has ended, on the loop.
        counts: Whether tokens are counted though no limit asks for them.
    """

    def __init__(  # the five are what a batcher is made of
        self,
        model: Any,
        predict: Callable[[Call], Any],
        hooks: Batchable | None,
        worker: Worker,
        limits: BatchLimits,
        *,
        watcher: Callable[[Sequence[Member], RunTimes], None] | None = None,
        counts: bool = False,
    ) -> None:
        self._hooks = hooks
        self._counts = model if (counts or limits.max_tokens) and isinstance(model, CountsTokens) else None
        self._state_key = model.state_key if isinstance(model, Keyed) else ""
        self._runs = Runs(model, predict, hooks)
        self._worker = worker
        self._ahead = Ahead(f"{worker.name}-ahead")
        self._limits = limits
        self._line = Line(limits)
        self._alone: list[Member] = []
        self._company = Company(limits)
        self._watcher = watcher
        self._running: list[Sequence[Member]] = []
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pace = 0.0

    @property
    def waiting(self) -> int:
        """How many stand in the line."""
        return len(self._line)

    @property
    def retry_after(self) -> float:
        """Seconds until those who wait now will have been answered, as fast as the model has been lately."""
        in_hand = self.waiting + sum(map(len, self._running))
        return min(_LONGEST_RETRY, max(1.0, in_hand * self._pace))

    async def submit(self, call: Call, deadline: float | None = None) -> Any:
        """The model's answer to this call.

        A caller that is cancelled leaves the line; where its batch is running already, the others are not disturbed.

        Args:
            call: What ``predict`` is given.
            deadline: When the answer is of no use any more, on the loop's clock.

        Raises:
            DeadlineExceededError: it is not there by then; a request that still waits is never run.
        """
        future: asyncio.Future[Any] = self._loop().create_future()
        member = self._member(call, future, traced=tracing.within_trace())
        timers = self._timers([member], [deadline])
        self._join([member])
        await self._settled(future, [member], timers)
        return future.result()

    async def submit_all(self, calls: Sequence[Call], deadlines: Sequence[float | None]) -> list[Any]:
        """The model's answers to one caller's calls, in order; in the place of an answer, the fault of a call."""
        if not calls:
            return []
        group = Group(self._loop().create_future(), len(calls))
        traced = tracing.within_trace()
        members = [self._member(call, place, traced=traced) for call, place in zip(calls, group.places, strict=True)]
        timers = self._timers(members, deadlines)
        self._join(members)
        await self._settled(group.future, members, timers)
        return [place.answer if place.fault is None else place.fault for place in group.places]

    def close(self) -> None:
        """End the thread beside the model's; what has begun is finished."""
        self._ahead.close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def _join(self, members: Sequence[Member]) -> None:
        if self._hooks is None:
            self._alone += members
            self._come()
            return
        for member in members:
            self._line.join(member)
        self._company.seen(self.waiting + sum(map(len, self._running)), time.monotonic())
        self._come()

    async def _settled(
        self, future: asyncio.Future[Any], members: Sequence[Member], timers: Sequence[asyncio.TimerHandle]
    ) -> None:
        """Wait for the future, and leave the line where the caller does."""
        try:
            await future
        except asyncio.CancelledError:
            for member in members:
                member.waiting.end()
                self._line.leave(member)
            raise
        finally:
            for timer in timers:
                timer.cancel()

    def _timers(self, members: Sequence[Member], deadlines: Sequence[float | None]) -> list[asyncio.TimerHandle]:
        loop = self._loop()
        return [
            loop.call_at(deadline, self._expire, member)
            for member, deadline in zip(members, deadlines, strict=True)
            if deadline is not None
        ]

    def _member(self, call: Call, future: asyncio.Future[Any] | Place, *, traced: bool) -> Member:
        payload = call[0]
        context = otel_context.get_current()
        key, rows, size, tokens = self._measure(payload)
        return Member(
            call=call,
            key=key,
            rows=rows,
            size=size,
            tokens=tokens,
            state_key=key_of(self._state_key, payload, call[1]) if self._state_key else None,
            future=future,
            variables=contextvars.copy_context(),
            trace=context,
            entered=time.monotonic(),
            waiting=spans.waiting(context) if traced else spans.UNSEEN,
        )

    def _measure(self, payload: Any) -> tuple[Hashable | None, int, int, int]:
        """The member's key, rows, bytes and tokens; what no limit asks for is not counted."""
        if self._hooks is None or not isinstance(payload, InferRequest):
            return None, 1, 0, 0
        key = self._hooks.batch_key(payload)
        if key is None:
            return None, 1, 0, 0
        size = tensor_bytes(payload) if self._limits.max_bytes else 0
        tokens = self._counts.batch_tokens(payload) if self._counts is not None else 0
        return key, self._hooks.batch_rows(payload), size, tokens

    def _come(self) -> None:
        """Look at the line once all that arrives in this turn of the loop has joined it."""
        if self._turn is None:
            self._turn = self._loop().call_soon(self._look, context=contextvars.Context())

    def _look(self) -> None:
        self._turn = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._alone:
            # Straight to the thread, whose own queue is the line: it takes one after another without the loop's help.
            members, self._alone = self._alone, []
            self._send(partial(self._each, members, self._loop()), members, self._broken)
        while self.waiting and self._may_begin():
            self._begin(self._line.take())

    def _each(self, members: Sequence[Member], loop: asyncio.AbstractEventLoop) -> None:
        """In the model's thread."""
        for done, times in self._runs.each(members):
            self._worker.tell(Told(loop, done, self._settle), times)

    def _broken(self, members: Sequence[Member], times: RunTimes | None) -> None:
        """All are told already, unless the thread could not go on."""
        self._settle(members, times)

    def _may_begin(self) -> bool:
        if len(self._running) >= _AT_A_TIME:
            return False
        if self._running:
            return self._line.full()
        first = self._line.first
        now = time.monotonic()
        wait = 0.0 if first.key is None else self._company.wait(self.waiting, first.entered, now)
        if not wait or self._line.full():
            return True
        self._timer = self._loop().call_later(wait, self._look)
        return False

    def _begin(self, batch: Sequence[Member]) -> None:
        for member in batch:
            member.waiting.end()
        prepared = None
        if self._running and len(batch) > 1:
            prepared = self._ahead.begin(partial(self._runs.collated, batch))
        self._running.append(batch)
        self._send(partial(self._runs.run, batch, prepared), batch, self._ended)

    def _send(self, run: Callable[[], RunTimes | None], batch: Sequence[Member], then: Landing) -> None:
        # In an empty context: what serves several callers must not carry the trace of the first.
        self._worker.send(run, contextvars.Context(), Told(self._loop(), batch, then))

    def _ended(self, batch: Sequence[Member], times: RunTimes | None) -> None:
        self._running.remove(batch)
        self._settle(batch, times)
        # Whoever is answered now and asks again at once is in time for the next batch.
        self._come()

    def _settle(self, batch: Sequence[Member], times: RunTimes | None) -> None:
        for member in batch:
            if member.left:
                continue
            if member.fault is not None:
                member.future.set_exception(member.fault)
            else:
                member.future.set_result(member.answer)
        if times is not None:
            self._paced((times[1] - times[0]) / len(batch))
            if self._watcher is not None:
                self._watcher(batch, times)

    def _paced(self, seconds: float) -> None:
        self._pace += _SMOOTHING * (seconds - self._pace)

    def _expire(self, member: Member) -> None:
        if member.left:
            return
        waited = self._line.leave(member)
        member.waiting.end()
        where = "waited for its turn" if waited else "was being worked on"
        member.future.set_exception(DeadlineExceededError(f"The request's deadline passed while it {where}"))
