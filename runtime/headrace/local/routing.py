"""From the host and path of a request to a service, by Knative's names. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from headrace.local.resources import Name

if TYPE_CHECKING:
    from collections.abc import Mapping

# Inside a cluster, on this machine, and Knative's own DNS for a cluster without a domain.
SUFFIXES = ("", ".svc", ".svc.cluster.local", ".localhost", ".127.0.0.1.sslip.io")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """Where a request goes."""

    target: T
    path: str
    """With the query, as the replica shall see it."""


class Router(Generic[T]):
    """Finds the target of a request.

    Args:
        targets: By every name that a service has.
    """

    def __init__(self, targets: Mapping[Name, T]) -> None:
        self._targets = dict(targets)
        self._hosts = {f"{name.name}.{name.namespace}{suffix}": name for name in targets for suffix in SUFFIXES}

    def find(self, host: str, path: str) -> Route[T] | None:
        """The route of a request; None where no service is meant.

        By the host's name, else, at the bare address of this machine, by ``/<namespace>/<name>/...``. Another host is
        refused whatever its path: a web page must not reach a service here under a name of its own (DNS rebinding).
        """
        host = without_port(host)
        if name := self._hosts.get(host):
            return Route(self._targets[name], path)
        return self._by_path(path) if is_bare(host) else None

    def _by_path(self, path: str) -> Route[T] | None:
        plain, question, query = path.partition("?")
        parts = plain.split("/", 3)
        if len(parts) < 3:  # noqa: PLR2004 - "", namespace, name
            return None
        target = self._targets.get(Name(parts[1], parts[2]))
        rest = parts[3] if len(parts) > 3 else ""  # noqa: PLR2004 - what follows them
        return None if target is None else Route(target, f"/{rest}{question}{query}")


def is_bare(host: str) -> bool:
    """Whether this names the machine itself: no host, ``localhost``, or a loopback address."""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def without_port(host: str) -> str:
    """The host's name in lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def public_hosts(names: tuple[Name, ...]) -> tuple[str, ...]:
    """The names that people use: ``<name>.<namespace>.localhost``, the last of ``names`` first."""
    return tuple(f"{name.name}.{name.namespace}.localhost" for name in reversed(names))
