"""An app up in this process: what ``headrace up`` runs, in a thread, with a clock and a broker of the test's own."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.local.apps import twin_of
from headrace.local.clock import SYSTEM_CLOCK
from headrace.local.settings import DEFAULTS
from headrace.local.state import HOME_VARIABLE
from headrace.manifests.loading import load_apps
from headrace.testing.app import PATIENCE, AppRunner

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from typing_extensions import Self

    from headrace.local.clock import Clock

Result = TypeVar("Result")


@contextmanager
def app_in_thread(
    file: Path, home: Path, *, kafka: str | None = None, clock: Clock = SYSTEM_CLOCK, **environment: str
) -> Iterator[AppRunner]:
    """Run the apps of a file on free ports; their model servers and dispatchers are processes, as always.

    Args:
        file: The ``headrace.yaml``.
        home: Folder of the twin's state and logs, ``tmp_path`` in a pytest test.
        kafka: ``HOST:PORT`` of a broker; None starts an embedded one.
        clock: The autoscalers' time; put a :class:`~headrace.testing.clock.ForwardClock` forward, and an idle app goes.
        **environment: Added to the environment of all its processes.

    Raises:
        ConfigurationError: the file is wrong, or asks for what only a cluster can do.
        UnavailableError: the broker does not answer.
    """
    apps = load_apps(file)
    around = {**os.environ, HOME_VARIABLE: str(home), **environment}
    settings = replace(DEFAULTS, kafka_port=0)
    twin = twin_of(
        apps, home=home, folder=file.absolute().parent, kafka=kafka, port=0,
        settings=settings, clock=clock, environment=around,
    )  # fmt: skip
    with _LoopThread() as loop:
        loop.run(twin.start())
        try:
            yield AppRunner(home, os.getpid(), around)
        finally:
            loop.run(twin.stop())


class _LoopThread:
    """An event loop in a thread."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-up", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


__all__ = ["app_in_thread"]
