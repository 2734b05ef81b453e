"""One run, from its plan to its end: a dispatcher over the plan's source and store."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import PermanentError
from headrace.eventing.batches import BatchLimits
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.http_sink import HttpSink
from headrace.eventing.replay.log import ReplayLog, Tally
from headrace.eventing.replay.store import REJECTED, RESULTS
from headrace.eventing.replay.timing import TimedSink
from headrace.eventing.results import Responder
from headrace.eventing.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace.eventing.clock import Clock
    from headrace.eventing.kafka.settings import KafkaSettings
    from headrace.eventing.replay.plan import Plan
    from headrace.eventing.sink import Sink

GLANCE = 0.2
"""Seconds between two looks at how far the run is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a life of a run ended."""

    tally: Tally
    complete: bool
    """Whether all of it is done; else it can be resumed."""


async def run(
    plan: Plan,
    folder: Path,
    kafka: KafkaSettings | str,
    *,
    stop: asyncio.Event,
    progress: Callable[[Tally], None] = lambda _: None,
    paused: Callable[[], bool] = lambda: False,
    sink: Sink | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """Replay until all is done, or until ``stop`` is set.

    Args:
        plan: What to do.
        folder: The run's own.
        kafka: The cluster; the same in every life of a run.
        stop: Ends it early: what is under way is finished and kept.
        progress: Told now and then how far it is.
        paused: Asked often: while it says so, nothing new is sent, and the pace does not run on.
        sink: The receiver; None for the plan's target.
        clock: Time.

    Raises:
        UnavailableError: the source or the store stopped answering: resume the run.
        PermanentError: an event failed for good, and the plan is strict.
        ConfigurationError: the source is not there.
    """
    receiver = TimedSink(sink or HttpSink(plan.target, timeout=plan.timeout, connections=plan.concurrency), clock)
    log = ReplayLog(
        plan.run,
        plan.source(kafka),
        plan.store(folder, kafka),
        choice=plan.choice(),
        pace=plan.pace(),
        elapsed=receiver.take,
        paused=paused,
        clock=clock,
    )
    ending = asyncio.Event()
    dispatching = asyncio.ensure_future(Dispatcher(log, receiver, _settings(plan), clock, paused=paused).run(ending))
    watching = asyncio.ensure_future(_watch(log, stop, progress, strict=plan.strict))
    try:
        waited: set[asyncio.Future[Any]] = {dispatching, watching}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        ending.set()
        await dispatching
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await receiver.close()
    progress(log.tally)
    if plan.strict and log.tally.rejected:
        raise PermanentError(f"{log.tally.rejected} events failed for good", hint="without --strict they are set aside")
    return Outcome(log.tally, log.finished.is_set())


async def _watch(log: ReplayLog, stop: asyncio.Event, progress: Callable[[Tally], None], *, strict: bool) -> None:
    while not (log.finished.is_set() or stop.is_set() or (strict and log.tally.rejected)):
        progress(log.tally)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(log.finished.wait(), GLANCE)


def _settings(plan: Plan) -> DispatchSettings:
    return DispatchSettings(
        identity=Responder(*plan.identity),
        dead_letters=REJECTED,
        results=RESULTS,
        ordering=plan.ordering,  # type: ignore[arg-type]  # one of the three words, checked where it was given
        concurrency=plan.concurrency,
        retry=RetryPolicy(attempts=plan.attempts),
        batch=BatchLimits(plan.batch) if plan.batch else None,
    )
