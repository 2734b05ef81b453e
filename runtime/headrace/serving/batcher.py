"""Merges the requests that wait for one model into runs of the model, and hands each caller its own answer.

The event loop owns the queue; the model runs in the model's own thread. Nothing is held back for company unless a
delay is set: while the model runs, requests gather, and the next run takes all that fit.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link

from headrace.errors import OverloadedError
from headrace.models.kserve_api import InferRequest
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from headrace.models.batching import Batchable
    from headrace.serving.settings import BatchLimits
    from headrace.serving.worker import Worker

Call = tuple[Any, dict[str, str], dict[str, str]]
"""What ``predict`` is called with: payload, headers, and the response headers that it may fill."""
_TRACER = tracing.tracer(__name__)
_ALONE = {"headrace.batch.size": 1, "headrace.batch.requests": 1}


@dataclass(slots=True, eq=False)
class _Member:
    """One caller's request while it waits."""

    call: Call
    key: Hashable | None
    rows: int
    future: asyncio.Future[Any]
    variables: contextvars.Context
    trace: Context
    entered: float
    waiting: Span


class Batcher:
    """The queue in front of one model.

    Args:
        predict: The model's blocking ``predict``, given a :data:`Call`.
        hooks: The model's batching hooks; None for a model without: its requests run one by one, and how many
            wait is bounded by whoever submits them.
        worker: The thread that it runs in.
        limits: How much is merged, and how many may wait.
    """

    def __init__(
        self, predict: Callable[[Call], Any], hooks: Batchable | None, worker: Worker, limits: BatchLimits
    ) -> None:
        self._predict = predict
        self._hooks = hooks
        self._worker = worker
        self._limits = limits
        self._waiting: deque[_Member] = deque()
        self._arrived = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def submit(self, call: Call) -> Any:
        """The model's answer to this call.

        A caller that is cancelled leaves the queue; where its batch is running already, the others are not disturbed.

        Raises:
            OverloadedError: as many requests wait as may.
        """
        if self._hooks is None:
            return await self._submit_single(call)
        if len(self._waiting) >= self._limits.max_queue:
            raise OverloadedError(f"{len(self._waiting)} requests wait for the model, and no more may")
        member = self._member(call)
        self._waiting.append(member)
        self._arrived.set()
        if self._pump is None:
            # In an empty context: the pump serves every caller, and must not carry the trace of the first.
            self._pump = contextvars.Context().run(asyncio.create_task, self._drain())
        try:
            return await member.future
        except asyncio.CancelledError:
            member.waiting.end()
            with suppress(ValueError):
                self._waiting.remove(member)
            raise

    async def _submit_single(self, call: Call) -> Any:
        """Straight to the thread, whose own queue is the line: it takes call after call without the loop's help."""
        waiting = _TRACER.start_span("queue")
        try:
            return await self._worker.submit(partial(self._single, call, waiting))
        except asyncio.CancelledError:
            waiting.end()
            raise

    def _single(self, call: Call, waiting: Span) -> Any:
        """In the model's thread: one call, in its caller's context."""
        waiting.end()
        with tracing.recorded(_TRACER.start_span("batch", attributes=_ALONE)):
            return self._predict(call)

    def _member(self, call: Call) -> _Member:
        assert self._hooks is not None
        context = otel_context.get_current()
        key = self._hooks.batch_key(call[0]) if isinstance(call[0], InferRequest) else None
        return _Member(
            call=call,
            key=key,
            rows=self._hooks.batch_rows(call[0]) if key is not None else 1,
            future=asyncio.get_running_loop().create_future(),
            variables=contextvars.copy_context(),
            trace=context,
            entered=time.monotonic(),
            waiting=_TRACER.start_span("queue", context),
        )

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._gather(self._waiting[0])
                batch = self._take()
                if batch:
                    await self._run(batch)
        finally:
            self._pump = None

    async def _gather(self, first: _Member) -> None:
        """Wait until the first one's batch is full or its delay is over."""
        ends = first.entered + self._limits.max_delay
        while first.key is not None and self._rows(first.key) < self._limits.max_size:
            left = ends - time.monotonic()
            if left <= 0 or first.future.done():
                return
            self._arrived.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _rows(self, key: Hashable) -> int:
        return sum(member.rows for member in self._waiting if member.key == key)

    def _take(self) -> list[_Member]:
        """The first one and all that can go with it, taken out of the queue; the rest keep their order."""
        batch: list[_Member] = []
        left: deque[_Member] = deque()
        rows = 0
        for member in self._waiting:
            joins = not batch or (
                member.key is not None and member.key == batch[0].key and rows + member.rows <= self._limits.max_size
            )
            if joins:
                batch.append(member)
                rows += member.rows
                member.waiting.end()
            else:
                left.append(member)
        self._waiting = left
        return batch

    async def _run(self, batch: Sequence[_Member]) -> None:
        spans = _spans(batch)
        try:
            answers = await self._answers(batch, spans[0])
        except Exception as fault:  # noqa: BLE001  # it goes to the callers, below
            _end(spans, fault)
            await self._failed(batch, fault)
            return
        _end(spans)
        for member, answer in zip(batch, answers, strict=True):
            if not member.future.done():
                member.future.set_result(answer)

    async def _answers(self, batch: Sequence[_Member], span: Span) -> Sequence[Any]:
        first = batch[0]
        variables = first.variables.copy()
        variables.run(otel_context.attach, trace.set_span_in_context(span, first.trace))
        calls = [member.call for member in batch]
        answers: Sequence[Any] = await self._worker.submit(partial(self._called, calls), variables)
        return answers

    def _called(self, calls: Sequence[Call]) -> Sequence[Any]:
        """In the model's thread: merge, run, cut."""
        if len(calls) == 1:
            return [self._predict(calls[0])]
        assert self._hooks is not None
        requests = [call[0] for call in calls]
        merged = self._hooks.collate(requests)
        return self._hooks.split(self._predict((merged, {}, {})), requests)

    async def _failed(self, batch: Sequence[_Member], fault: Exception) -> None:
        """One of several may be to blame: each runs alone, so that only that one fails."""
        if len(batch) > 1:
            for member in batch:
                if not member.future.done():
                    await self._run([member])
        elif not batch[0].future.done():
            batch[0].future.set_exception(fault)


def _spans(batch: Sequence[_Member]) -> list[Span]:
    """The run as each member's trace shows it: ``batch`` in the first one's, ``execute`` in the others'.

    The batch links to every other member's span, and each ``execute`` to the batch.
    """
    attributes = {
        "headrace.batch.size": sum(member.rows for member in batch),
        "headrace.batch.requests": len(batch),
    }
    links = [Link(context) for member in batch[1:] if (context := _span_context(member.trace)).is_valid]
    run = _TRACER.start_span("batch", batch[0].trace, links=links, attributes=attributes)
    to_run = [Link(run.get_span_context())] if run.get_span_context().is_valid else []
    others = [_TRACER.start_span("execute", member.trace, links=to_run, attributes=attributes) for member in batch[1:]]
    return [run, *others]


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _end(spans: Sequence[Span], fault: Exception | None = None) -> None:
    for span in spans:
        if fault is not None:
            tracing.fail(span, fault)
        span.end()
