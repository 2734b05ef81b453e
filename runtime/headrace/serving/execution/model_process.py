"""One process of a model, as its server sees it: started, called, stopped, or suddenly gone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from headrace.errors import ModelLoadError, UnavailableError
from headrace.serving.execution import orders
from headrace.serving.execution.frames import Frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headrace.serving.execution.frames import Codec
    from headrace.serving.execution.orders import Facts, Work

# The working folder is no place to import from here: a folder of the user's may be named as an installed package.
_COMMAND = (
    "-c",
    """import sys; sys.path[:] = filter(None, sys.path)
from headrace.serving.execution.model_child import main; main(int(sys.argv[1]))""",
)
_STOP = 9.0
"""Seconds after which a process that was told to stop is killed."""
_OUT_OF_MEMORY = "the kernel kills what has more memory than its limit: give the container more, or batch less"


class ModelGoneError(UnavailableError):
    """The model's process ended while it worked on this request, or is not there at the moment.

    Args:
        message: Which model, and what became of its process.
        retry_after: Seconds until the next process is started.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ModelProcess:
    """A running process. Use :meth:`start`; belongs to one event loop.

    Args:
        name: The model's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.facts: Facts | None = None
        self.pid = 0
        self._frames = Frames(self._received, self._hung_up)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._gone = asyncio.Event()

    @classmethod
    async def start(cls, work: Work) -> ModelProcess:
        """A process that has loaded its model and warmed it up.

        Raises:
            HeadraceError: the model does not load, and why; or its process ended before it had.
        """
        self = cls(work.source.name)
        loaded: asyncio.Future[Facts] = asyncio.get_running_loop().create_future()
        self._calls[orders.STARTING] = loaded
        try:
            await self._spawn()
            self._frames.send(work)
            self.facts = await loaded
            self._frames.codec = await asyncio.to_thread(_portable)
        except ModelGoneError as fault:
            how, hint = await self.ended()
            raise ModelLoadError(f"The process of model '{self.name}' {how} while it loaded", hint=hint) from fault
        except BaseException:
            await asyncio.shield(self._end())
            raise
        return self

    async def call(self, method: str, *arguments: Any, trace: dict[str, str] | None = None) -> Any:
        """What the hosted model's ``method`` returns in that process.

        Raises:
            ModelGoneError: the process is gone, or went before it answered.
            Exception: whatever the method raised.
        """
        if self._gone.is_set():
            raise self._gone_fault()
        number = next(self._numbers)
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            self._frames.send((orders.CALL, number, method, arguments, trace))
            answer = await future
        except asyncio.CancelledError:
            self._frames.send((orders.CANCEL, number))
            raise
        finally:
            self._calls.pop(number, None)
        return answer

    async def parts(self, streamed: orders.Streamed) -> AsyncIterator[Any]:
        """The parts of an answer, one after another."""
        try:
            while not isinstance(part := await self.call("next_part", streamed.number), orders.StreamEnd):
                yield part
        finally:
            self._frames.send((orders.CANCEL, streamed.number))

    async def gone(self) -> None:
        """Wait until the process is."""
        await self._gone.wait()

    async def ended(self) -> tuple[str, str]:
        """How the process ended, and what may be done about it; kills one that only let go of its server."""
        assert self._process is not None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._process.wait(), _STOP)
        if self._process.returncode is None:
            await self._kill()
        code = self._process.returncode or 0
        if code >= 0:
            return f"ended with {code}", ""
        with contextlib.suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was killed by {name}", _OUT_OF_MEMORY if name == "SIGKILL" else ""
        return f"was killed by signal {-code}", ""

    async def stop(self, *, beside: bool) -> None:
        """Let the model free what it holds, and end the process.

        Args:
            beside: Whether a run of the model may never end.
        """
        self._frames.send((orders.STOP, beside))
        await self._end()

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                descriptor = theirs.fileno()
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, *_COMMAND, str(descriptor), pass_fds=(descriptor,)
                )
                ours.setblocking(False)
                await asyncio.get_running_loop().create_unix_connection(lambda: self._frames, sock=ours)
            except BaseException:
                ours.close()
                raise
        self.pid = self._process.pid

    async def _end(self) -> None:
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), _STOP if self.facts else 0)
        except asyncio.TimeoutError:
            await self._kill()
        self._frames.close()

    async def _kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _received(self, said: Any) -> None:
        kind = said[0]
        if kind == orders.LOADED:
            self._settle(orders.STARTING, said[1], None)
        elif kind == orders.ANSWER:
            self._settle(said[1], said[2], None)
        else:
            self._settle(said[1], None, said[2])

    def _settle(self, number: int, answer: Any, fault: BaseException | None) -> None:
        future = self._calls.pop(number, None)
        if future is None or future.done():
            return
        if fault is None:
            future.set_result(answer)
        else:
            future.set_exception(fault)

    def _hung_up(self) -> None:
        self._gone.set()
        for number in tuple(self._calls):
            self._settle(number, None, self._gone_fault())

    def _gone_fault(self) -> ModelGoneError:
        return ModelGoneError(f"The process of model '{self.name}' ended before it answered")


def _portable() -> Codec:
    """How requests cross; it brings kserve, which is imported while the process starts."""
    from headrace.serving.execution import portable  # noqa: PLC0415  # see above

    return portable
