"""What the twin and a template say to each other: one JSON document a packet of a Unix socket (``SOCK_SEQPACKET``)."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass
from typing import Any

import orjson

LARGEST = 1 << 20
"""Bytes of one packet: a command with its environment, which Linux bounds to less a process."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Twin to template: become this, in a fork; the output's descriptor comes with it."""

    number: int
    """Of the request; the answer repeats it."""
    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class Imported:
    """Template to twin: all is imported, forks may be asked for."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Template to twin: no fork will ever come of this one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forked:
    """Template to twin: the fork of the request runs."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Template to twin: a fork is gone."""

    pid: int
    code: int
    """Its exit code, negative for a signal."""


Message = Fork | Imported | Refused | Forked | Ended
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Fork, Imported, Refused, Forked, Ended)}


def encoded(message: Message) -> bytes:
    """The packet."""
    return orjson.dumps({"kind": type(message).__name__, **asdict(message)})


def decoded(packet: bytes) -> Any:
    """The message of a packet; both ends are of one version, so that nothing else comes."""
    document = orjson.loads(packet)
    kind = _KINDS[document.pop("kind")]
    if kind is Fork:
        document["argv"] = tuple(document["argv"])
    return kind(**document)


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends, with room for the largest packet where the system grants it."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    return ends
