"""One thread that runs a model's blocking calls, so that the event loop never does.

The thread owns nothing but the calls it is given; results go back to the loop in bunches: one wake-up of the loop for
all calls that end before it runs again.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_Job = tuple["Callable[[], Any]", contextvars.Context, "Receiver"]
_Done = tuple["Receiver", Any, "BaseException | None"]


class Receiver(Protocol):
    """Who is told how a call ended, on the loop; a future is one."""

    def done(self) -> bool:
        """Whether nobody waits for it any more: a call that has not begun is not made."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which it is to be told."""

    def set_result(self, result: Any, /) -> None:
        """The call returned this."""

    def set_exception(self, exception: Any, /) -> None:
        """The call raised this."""


class Worker:
    """Runs calls one after another, in the order they were submitted.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: deque[_Done] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def submit(self, call: Callable[[], Any], context: contextvars.Context | None = None) -> asyncio.Future[Any]:
        """The future of ``call()``, run in the thread in ``context`` (a copy of the caller's where None).

        A future that is cancelled before its turn is not run; one that is running runs to its end.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(call, context or contextvars.copy_context(), future)
        return future

    def send(self, call: Callable[[], Any], context: contextvars.Context, receiver: Receiver) -> None:
        """As :meth:`submit`, for somebody else than a new future."""
        if self._loop is None:
            self._loop = receiver.get_loop()
            self._thread.start()
        self._jobs.put((call, context, receiver))

    def tell(self, receiver: Receiver, result: Any) -> None:
        """From within a call: hand a part of its result over before it ends."""
        self._finish(receiver, result, None)

    def close(self) -> None:
        """End the thread after the calls already submitted; does not wait."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, context, receiver = job
            if not receiver.done():
                self._finish(receiver, *_outcome(call, context))
            del job, call, context, receiver  # a result is not kept alive until the next call

    def _finish(self, receiver: Receiver, result: Any, fault: BaseException | None) -> None:
        assert self._loop is not None
        self._done.append((receiver, result, fault))
        # Appended before the flag is read, and the flag lowered before the loop reads: no result is left lying.
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._done:
            receiver, result, fault = self._done.popleft()
            if receiver.done():
                continue
            if fault is None:
                receiver.set_result(result)
            else:
                receiver.set_exception(fault)


def exception_of(fault: BaseException) -> Exception:
    """What a caller is given of whatever a model raised: asyncio carries neither a StopIteration nor an exit.

    ``sys.exit()`` in a model must not end the thread that answers everybody.
    """
    if isinstance(fault, StopIteration):
        return RuntimeError(f"StopIteration: {fault}")
    return fault if isinstance(fault, Exception) else RuntimeError(f"The model raised {type(fault).__name__}: {fault}")


def _outcome(call: Callable[[], Any], context: contextvars.Context) -> tuple[Any, BaseException | None]:
    try:
        return context.run(call), None
    except BaseException as fault:  # noqa: BLE001  # it is the caller's, who gets it from the future
        return None, exception_of(fault)
