"""The meter of one serving process: told of requests and runs on the loop, it tells of usage from a thread.

What it is told costs a few microseconds a request; it raises nothing and waits for nobody.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headrace.eventing.usage import usage_event
from headrace.models.batching import tensor_bytes
from headrace.models.kserve_api import InferRequest
from headrace.serving.metering.measures import UsageMeasures
from headrace.telemetry.usage import inner
from headrace.telemetry.usage.account import Account, Entry
from headrace.telemetry.usage.record import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.eventing.event import CloudEvent
    from headrace.serving.batching.member import Member
    from headrace.serving.batching.runs import RunTimes
    from headrace.telemetry.usage.account import Share
    from headrace.telemetry.usage.record import Place
    from headrace.telemetry.usage.tenant import TenantRule

INTERVAL = 10.0
"""Seconds between two accounts."""
_CLOSE = 5.0
"""Seconds for the last of them to be written."""
_log = logging.getLogger(__name__)


class Sending(Protocol):
    """Where usage goes."""

    dropped: int
    """Events that were given up."""

    def put(self, events: Sequence[CloudEvent]) -> None:
        """Have these sent; returns at once."""

    def close(self, seconds: float) -> None:
        """Send what waits, for so long at most."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What is metered."""

    place: Place
    model: str
    """The name of nobody's seconds: the first model of the process."""
    revision: str
    tenant: TenantRule
    weight: float = 1.0
    """This process's part of its replica's seconds."""
    started: float = 0.0
    """When the process began, in seconds of Unix time."""


class MeteredHeaders(dict[str, str]):
    """A request's headers with its entry in the account: they are what goes all the way through a model."""

    __slots__ = ("entry",)
    entry: Entry


class Meter:
    """See the module's docstring.

    Args:
        metered: What is metered.
        sending: Where usage goes; closed with the meter.
        interval: Seconds between two accounts.
    """

    def __init__(self, metered: Metered, sending: Sending, *, interval: float = INTERVAL) -> None:
        now = time.monotonic()
        self._metered = metered
        self._sending = sending
        self._account = Account(now - (time.time() - metered.started))
        self._epoch = time.time() - now
        self._numbers = itertools.count(1)
        self._process = f"{metered.started:.2f}"
        self._lock = threading.Lock()
        self._measures = UsageMeasures(lambda: sending.dropped)
        self._ended = threading.Event()
        self._interval = interval
        self._thread = threading.Thread(target=self._work, name="usage", daemon=True)
        self._thread.start()

    def ready(self) -> None:
        """The replica is ready: what came before is its cold start."""
        with self._lock:
            self._account.ready_at = time.monotonic()

    def enter(self, model: str, headers: dict[str, str], payload: Any, *, works: bool) -> MeteredHeaders:
        """A request has come; its headers, to be used from here on.

        Args:
            model: The model's name.
            headers: By lower-case name.
            payload: What the model is given.
            works: Whether it is worked on from now on, and no run will be told of.
        """
        seen = MeteredHeaders(headers)
        told = headers.get(inner.HEADER)
        if told is None:
            whose = (self._metered.tenant.of(headers), headers.get("ce-source", ""), headers.get("ce-id", ""))
        else:
            whose = inner.read(told)
        seen.entry = entry = Entry(time.monotonic(), model, *whose, events=int(told is None), works=works)
        entry.bytes, entry.items = _bytes(headers, payload), _items(payload)
        if self._metered.place.component == "transformer":
            seen[inner.HEADER] = inner.written(*whose)
        with self._lock:
            self._account.enter(entry)
        return seen

    def leave(self, headers: dict[str, str], outcome: str) -> None:
        """The request with these headers, of :meth:`enter`, is answered: ``result``, or the code of its error."""
        assert isinstance(headers, MeteredHeaders)
        with self._lock:
            self._account.leave(headers.entry, time.monotonic(), outcome)

    def ran(self, members: Sequence[Member], times: RunTimes) -> None:
        """The model has run for these requests."""
        entries: list[tuple[Entry, float]] = []
        for member in members:
            if isinstance(headers := member.call[1], MeteredHeaders):
                headers.entry.tokens = member.tokens
                entries.append((headers.entry, float(member.rows)))
        if entries:
            with self._lock:
                self._account.ran(entries, *times)

    def close(self) -> None:
        """Tell the rest; blocks for a few seconds at most."""
        self._ended.set()
        self._thread.join(_CLOSE)
        self._try_to_tell(last=True)
        self._sending.close(_CLOSE)

    def _work(self) -> None:
        while not self._ended.wait(self._interval):
            self._try_to_tell()

    def _try_to_tell(self, *, last: bool = False) -> None:
        try:
            self._tell(last=last)
        except Exception:  # noqa: BLE001  # whatever it is, the work goes on
            _log.exception("usage could not be told")

    def _tell(self, *, last: bool = False) -> None:
        with self._lock:
            shares = self._account.settle(time.monotonic(), last=last)
        usages = [(self._usage(share), self._epoch + share.until) for share in shares]
        self._measures.told([usage for usage, _ in usages])
        self._sending.put([usage_event(usage, self._number(), at) for usage, at in usages])

    def _number(self) -> str:
        # Workers of one replica count beside each other, and one that took another's place begins anew.
        return f"{self._process}/{next(self._numbers)}"

    def _usage(self, share: Share) -> Usage:
        metered, entry = self._metered, share.entry
        seconds: dict[str, Any] = {
            "compute_seconds": share.compute * metered.weight,
            "cold_start_seconds": share.cold_start * metered.weight,
            "idle_seconds": share.idle * metered.weight,
        }
        whose: dict[str, Any] = {"model": metered.model} if entry is None else _of(entry)
        return Usage(
            **asdict(metered.place),
            **whose,
            **seconds,
            revision=metered.revision,
            replica_seconds=sum(seconds.values()),
            replica_started=metered.started,
        )


def _of(entry: Entry) -> dict[str, Any]:
    return {
        "model": entry.model,
        "tenant": entry.tenant,
        "event_source": entry.event_source,
        "event_id": entry.event_id,
        "outcome": entry.outcome,
        "events": entry.events,
        "bytes": entry.bytes,
        "items": entry.items,
        "tokens": entry.tokens,
        "queue_seconds": entry.queue,
        "batch_size": entry.batch_size,
        "batch_share": entry.batch_share,
    }


def _bytes(headers: dict[str, str], payload: Any) -> int:
    length = headers.get("content-length", "")
    if length.isascii() and length.isdecimal():
        return int(length)
    if isinstance(payload, InferRequest):
        return tensor_bytes(payload)
    return len(payload) if isinstance(payload, (bytes, bytearray, str)) else 0


def _items(payload: Any) -> int:
    if isinstance(payload, InferRequest):
        return max((int(each.shape[0]) for each in payload.inputs[:1] if each.shape), default=1)
    instances = payload.get("instances") if isinstance(payload, dict) else None
    return len(instances) if isinstance(instances, list) else 1
