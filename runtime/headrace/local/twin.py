"""The twin: one app's manifests, running on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from headrace.local.settings import DEFAULTS, TwinSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

    from headrace.local.resources import Topic
    from headrace.local.state import RunningApp
    from headrace.local.status import TwinEvent, TwinStatus


class Twin:
    """Runs resources as Knative, KServe and Kubernetes would, in miniature.

    Args:
        resources: Parsed manifests, in any order.
        home: Folder of state, logs, traces and the embedded Kafka.
        kafka: ``host:port`` of a broker; None starts the embedded one as a child.
        port: Public port of the ingress on 127.0.0.1; 0 takes a free one.
        cwd: Working folder of the containers: where ``headrace.yaml`` and the user's classes lie.
        apps: What ``state.json`` shall say about the apps.
        environment: What the containers inherit; their own ``env`` goes before it.
        settings: How the twin itself behaves.
        echo: Called with every line that a container writes, ``replica-name | line``.
        on_event: Called with everything that happens, on the event loop.
        create_topics: Awaited with the broker's address and the topics before anything that needs them starts.
    """

    def __init__(
        self,
        resources: Sequence[Mapping[str, Any]],
        *,
        home: Path,
        kafka: str | None,
        port: int = 8080,
        cwd: Path | None = None,
        apps: tuple[RunningApp, ...] = (),
        environment: Mapping[str, str] = os.environ,
        settings: TwinSettings = DEFAULTS,
        echo: Callable[[str], None] | None = None,
        on_event: Callable[[TwinEvent], None] | None = None,
        create_topics: Callable[[str, tuple[Topic, ...]], Awaitable[None]] | None = None,
    ) -> None:
        """Read the resources; nothing starts.

        Raises:
            ConfigurationError: a resource lacks a field, every one named.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """Start it all, and publish ``state.json``. What a failed start began is ended again.

        Raises:
            ConfigurationError: another twin has the home, or the port is taken.
            UnavailableError: the broker does not come up.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """End it all in the order of the stream, so that nothing in flight is lost: dispatcher, replicas, receiver."""
        raise NotImplementedError

    async def run_until(self, ended: Awaitable[Any]) -> None:
        """Start, wait for ``ended`` (a signal), stop."""
        raise NotImplementedError

    def status(self) -> TwinStatus:
        """What runs now."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
