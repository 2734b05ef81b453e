"""A model in a process of its own: in the server it looks as one in a thread does.

What is gained: a model that holds Python's lock, or dies, takes nobody with it; probes, other models and the ports go
on. What is paid: one hop over a socket, and memory for one more interpreter. A process that dies fails the requests
that it had, as ones to be sent again, and is replaced, later and later where it dies again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context

from headrace.errors import DeadlineExceededError, HeadraceError
from headrace.serving.deadlines import deadline_of
from headrace.serving.execution import measures, orders
from headrace.serving.execution.model_process import ModelGoneError, ModelProcess
from headrace.serving.gathering import Gathered
from headrace.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.serving.execution.orders import Work
    from headrace.serving.gathering import Snapshot
    from headrace.serving.hosted import Outcome

FIRST_PAUSE = 1.0
"""Seconds before a process that died is replaced; twice as long each time, up to :data:`LONGEST_PAUSE`."""
LONGEST_PAUSE = 30.0
STEADY = 60.0
"""Seconds after which a process that dies counts as the first one that did."""
_PATIENCE = 1.0
"""Seconds in which a process says whether its model is healthy."""
_LATE = 0.25
"""Seconds that a deadline is given beyond its end: the model's process has it in hand, unless it stands still."""
_LOG = logging.getLogger("headrace.serving")


class ProcessModel:
    """Hosts a model in a process; see :class:`~headrace.serving.hosted.Hosted`.

    Args:
        work: The model.
        process: It, loaded.
    """

    def __init__(self, work: Work, process: ModelProcess) -> None:
        self.name = work.source.name
        self._numbers = Gathered()
        self._restarts = measures.restarts().labels(self.name)
        self._work = work
        self._process: ModelProcess | None = process
        self._why = ""
        self._next = 0.0
        self._taken = 0
        self._stopping = False
        self._keeping = asyncio.ensure_future(self._keep())

    @classmethod
    async def start(cls, work: Work) -> ProcessModel:
        """The model, loaded and warmed up.

        Raises:
            HeadraceError: it does not load, and why.
        """
        return cls(work, await ModelProcess.start(work))

    @property
    def taken(self) -> int:
        """How many requests the model has taken on and not yet answered."""
        return self._taken

    @property
    def explains(self) -> bool:
        """Whether the model has an ``explain`` of its own."""
        return self._process is not None and self._process.facts is not None and self._process.facts.explains

    @property
    def metered(self) -> bool:
        """Whether usage is told of."""
        return self._process is not None and self._process.facts is not None and self._process.facts.metered

    @property
    def size(self) -> int:
        """Bytes that the model takes in its process."""
        return 0 if self._process is None or self._process.facts is None else self._process.facts.size

    @property
    def remembers(self) -> bool:
        """Whether the model has state of its own between requests."""
        return self._process is not None and self._process.facts is not None and self._process.facts.remembers

    @property
    def pid(self) -> int | None:
        """The process; None while there is none."""
        return None if self._process is None else self._process.pid

    async def ready(self) -> bool:
        """Whether there is a process, and its model says that it is healthy."""
        with contextlib.suppress(asyncio.TimeoutError, HeadraceError):
            return bool(await asyncio.wait_for(self._there().call("ready"), _PATIENCE))
        return False

    async def types(self) -> tuple[Any, Any]:
        """The model's inputs and outputs, as it describes them.

        Raises:
            ModelGoneError: there is no process at the moment.
        """
        inputs, outputs = await self._there().call("types")
        return inputs, outputs

    async def infer(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """The model's answer and the response headers it set.

        Raises:
            ModelGoneError: there is no process, or it went while it worked on this.
            Exception: whatever a hook raises.
        """
        return await self._answered("infer", payload, headers)

    async def infer_all(self, calls: Sequence[tuple[Any, dict[str, str]]]) -> list[Outcome]:
        """As :meth:`infer` for many requests of one caller, in order; each one's fault stands in its place."""
        self._taken += len(calls)
        try:
            outcomes: list[Outcome] = await self._there().call("infer_all", list(calls), trace=_trace())
        except ModelGoneError as fault:
            return [fault] * len(calls)
        finally:
            self._taken -= len(calls)
        return outcomes

    async def explain(self, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        """As :meth:`infer`, with ``explain`` instead of ``predict``."""
        return await self._answered("explain", payload, headers)

    async def snapshot(self) -> Snapshot:
        """The numbers of its processes: of the one that is there, and what those before it have counted."""
        if (process := self._process) is not None:
            with contextlib.suppress(asyncio.TimeoutError, HeadraceError):
                self._numbers.put(process.pid, await asyncio.wait_for(process.call("snapshot"), _PATIENCE))
        return self._numbers.total()

    async def stop(self, *, beside: bool = False) -> None:
        """Let the model free what it holds, once, and end its process.

        Args:
            beside: Whether a run of the model may never end.
        """
        if self._stopping:
            return
        self._stopping = True
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        if self._process is not None:
            await self.snapshot()
            await self._process.stop(beside=beside)
            self._numbers.gone(self._process.pid)
            self._process = None
            self._why = "it is unloaded"

    async def _answered(self, method: str, payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        process = self._there()
        self._taken += 1
        try:
            calling = process.call(method, payload, headers, trace=_trace())
            deadline = deadline_of(headers)
            answer, given = await (calling if deadline is None else _by(deadline, calling))
        finally:
            self._taken -= 1
        if isinstance(answer, orders.Streamed):
            return process.parts(answer), given
        return answer, given

    def _there(self) -> ModelProcess:
        """The process.

        Raises:
            ModelGoneError: there is none at the moment.
        """
        if self._process is None:
            wait = max(1.0, self._next - time.monotonic())
            raise ModelGoneError(f"Model '{self.name}' is being started again: {self._why}", retry_after=wait)
        return self._process

    async def _keep(self) -> None:
        """Replace the process whenever it is gone."""
        pause = FIRST_PAUSE
        while True:
            assert self._process is not None
            began = time.monotonic()
            process = self._process
            await process.gone()
            self._process = None
            self._why = f"its process {process.pid} ended"
            self._numbers.gone(process.pid)
            how, hint = await process.ended()
            self._why = f"its process {process.pid} {how}"
            if time.monotonic() - began > STEADY:
                pause = FIRST_PAUSE
            pause = await self._replace(pause, f"{self._why}{f' ({hint})' if hint else ''}")

    async def _replace(self, pause: float, why: str) -> float:
        """Start a process, as often as it takes; returns the pause before the next one."""
        while self._process is None:
            _LOG.error("model %s: %s; it is started again in %g s", self.name, why, pause)
            self._next = time.monotonic() + pause
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
            self._restarts.inc()
            try:
                self._process = await ModelProcess.start(self._work)
            except HeadraceError as fault:
                why = self._why = str(fault)
        _LOG.info("model %s ready again in process %d", self.name, self._process.pid)
        return pause


async def _by(deadline: float, calling: Any) -> Any:
    wait = deadline - asyncio.get_running_loop().time()
    try:
        return await asyncio.wait_for(calling, max(0.0, wait) + _LATE)
    except asyncio.TimeoutError:
        raise DeadlineExceededError("The request's deadline passed while the model's process stood still") from None


def _trace() -> dict[str, str] | None:
    context = otel_context.get_current()
    return (tracing.carrier(context) or None) if context else None
