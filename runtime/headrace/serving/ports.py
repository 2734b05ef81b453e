"""The ports of a server: opened, or reserved for its workers, or refused in words that say what to do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.serving.settings import ServeSettings

_WAITING = 2048
"""Connections that may wait to be taken."""


def open_http(settings: ServeSettings) -> socket.socket:
    """The listening socket.

    Raises:
        ConfigurationError: the port cannot be opened.
    """
    try:
        return socket.create_server((settings.host, settings.http_port), backlog=_WAITING)
    except OSError as fault:
        raise refused(settings.host, settings.http_port, fault, "--http-port") from fault


def check_grpc(settings: ServeSettings) -> None:
    """Find out before the model is loaded that somebody else has the port.

    Raises:
        ConfigurationError: it cannot be opened.
    """
    if not settings.grpc_port:
        return
    try:
        socket.create_server((settings.host, settings.grpc_port)).close()
    except OSError as fault:
        raise refused(settings.host, settings.grpc_port, fault, "--grpc-port") from fault


def reserve_grpc(settings: ServeSettings) -> socket.socket | None:
    """The gRPC port, bound and never listened on, so that workers can share it and nobody else takes it.

    Raises:
        ConfigurationError: it cannot be opened.
    """
    if settings.grpc_port is None:
        return None
    try:
        with socket.create_server((settings.host, settings.grpc_port)) as free:
            port = free.getsockname()[1]
        reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((settings.host, port))
    except OSError as fault:
        raise refused(settings.host, settings.grpc_port, fault, "--grpc-port") from fault
    return reserved


def refused(host: str, port: int, fault: Exception, flag: str) -> ConfigurationError:
    """The error for a port that cannot be had; ``flag`` chooses another."""
    cause = (fault.strerror if isinstance(fault, OSError) else None) or fault
    purpose, without = (" for gRPC", ", --enable-grpc false does without") if flag == "--grpc-port" else ("", "")
    return ConfigurationError(
        f"Port {port} on {host} cannot be opened{purpose}: {cause}",
        hint=f"stop what listens there, or choose another one: {flag} 0 takes a free one{without}",
    )
