"""When a caller stops waiting for its answer, as its headers say."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from headrace.eventing.moments import moment_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVOY = "x-envoy-expected-rq-timeout-ms"
"""Milliseconds; Envoy, and so Istio and Knative's gateways, tells the server how long it will wait."""
GRPC = "grpc-timeout"
"""A number of at most eight digits and its unit (gRPC over HTTP/2, Timeout)."""
EXPIRY = "ce-expirytime"
"""The event's own end (CloudEvents extension), RFC 3339."""
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])\Z")


def deadline_of(headers: Mapping[str, str]) -> float | None:
    """The earliest deadline that the headers name, on the running loop's clock; None where they name none.

    A header that cannot be read is as good as none.
    """
    if headers.keys().isdisjoint(_NAMES):
        return None
    seconds = [
        wait for name, read in _READ if (text := headers.get(name)) is not None and (wait := read(text)) is not None
    ]
    return asyncio.get_running_loop().time() + min(seconds) if seconds else None


def _milliseconds(text: str) -> float | None:
    return int(text) / 1000 if text.isascii() and text.isdecimal() else None


def _timeout(text: str) -> float | None:
    found = _TIMEOUT.match(text)
    return int(found[1]) * _UNITS[found[2]] if found else None


def _until(text: str) -> float | None:
    moment = moment_of(text)
    return None if moment is None else moment - time.time()


_READ = ((ENVOY, _milliseconds), (GRPC, _timeout), (EXPIRY, _until))
_NAMES = frozenset(name for name, _ in _READ)
