"""A second thread beside a model's own, for work that can be done before its turn."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Prepared:
    """What will be there when another thread asks for it."""

    __slots__ = ("_call", "_done", "_fault", "_value")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._done = threading.Event()
        self._value: Any = None
        self._fault: Exception | None = None

    def prepare(self) -> None:
        """Make it, or remember why it could not be made."""
        try:
            self._value = self._call()
        except Exception as fault:  # noqa: BLE001  # raised where the result is asked for
            self._fault = fault
        except BaseException as fault:  # noqa: BLE001  # sys.exit() in a hook: whoever waits must not wait for ever
            self._fault = RuntimeError(f"A hook raised {type(fault).__name__}: {fault}")
        finally:
            self._done.set()

    def result(self) -> Any:
        """What was made; blocks until it is.

        Raises:
            Exception: what making it raised.
        """
        self._done.wait()
        if self._fault is not None:
            raise self._fault
        return self._value


class Ahead:
    """Prepares one thing after another, in a thread that is started by the first of them.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Prepared | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, call: Callable[[], Any]) -> Prepared:
        """What ``call()`` will have returned."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        prepared = Prepared(call)
        self._jobs.put(prepared)
        return prepared

    def close(self) -> None:
        """End the thread after what has begun; does not wait."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (prepared := self._jobs.get()) is not None:
            prepared.prepare()
            del prepared  # a batch is not kept alive until the next one
