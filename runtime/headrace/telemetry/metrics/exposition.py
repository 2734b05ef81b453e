"""The page that Prometheus reads, and the port at which a process serves it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from prometheus_client import generate_latest, start_http_server
from prometheus_client.metrics import disable_created_metrics

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PORT_VARIABLE = "HEADRACE_METRICS_PORT"
"""Environment variable: where a process that has no HTTP of its own serves its metrics; nowhere unless it is set."""
LAST_PORT = 65535
_log = logging.getLogger(__name__)


class Collecting(Protocol):
    """What has metrics: a registry of prometheus_client, or a collector in one."""

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""


class Joined:
    """Several registries as one. A name that two of them have is that of the first.

    Args:
        parts: The registries.
    """

    def __init__(self, *parts: Collecting) -> None:
        # When a series was created is told by no one who asks for rates, and doubles the series.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """The metrics of all."""
        seen: set[str] = set()
        for part in self._parts:
            for family in part.collect():
                if family.name not in seen:
                    seen.add(family.name)
                    yield family


def page(collecting: Collecting) -> bytes:
    """Everything, in Prometheus' text format."""
    return generate_latest(collecting)


def serve(collecting: Collecting, port: int, host: str) -> Callable[[], None]:
    """Answer Prometheus at this port, in a thread; how it is ended.

    Raises:
        ConfigurationError: the port is taken or needs rights.
    """
    try:
        server, thread = start_http_server(port, host, collecting)
    except OSError as fault:
        raise ConfigurationError(
            f"Metrics cannot be served at port {port}: {fault.strerror}", hint=f"set {PORT_VARIABLE} to another"
        ) from fault
    _log.info("metrics at port %d", server.server_port)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def port_of(text: str) -> int | None:
    """The port that the variable names; None where it names none.

    Raises:
        ConfigurationError: it is no port.
    """
    if not text:
        return None
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise ConfigurationError(f"{PORT_VARIABLE}={text}: not a port", hint=f"a number up to {LAST_PORT}")
    return int(text)
