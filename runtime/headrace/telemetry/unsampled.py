"""Spans of traces that are not sampled: nearly free, and kept all the same where their part turns out slow or failed.

A *part* is what one process does for one event: everything below the first span that it begins. When that first span
ends, the part is forgotten, or handed to the keeper as a whole (decision 0024).
"""

from __future__ import annotations

from random import getrandbits
from time import time_ns
from typing import TYPE_CHECKING, Protocol

from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import Link
    from opentelemetry.util.types import Attributes, AttributeValue

_UNSAMPLED = TraceFlags(TraceFlags.DEFAULT)


class Keeper(Protocol):
    """Takes the parts that are worth keeping."""

    slow_ns: int
    """Nanoseconds from which a part is slow."""

    def keep(self, spans: Sequence[Unsampled], why: str) -> None:
        """Keep these spans of one part; quick, and raises nothing."""


class Part:
    """The spans of one event in one process, until the first of them ends."""

    __slots__ = ("keeper", "spans", "why")

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.spans: list[Unsampled] = []
        self.why = ""
        """What makes it worth keeping, beside its duration; empty while nothing does."""

    def close(self, first: Unsampled) -> None:
        """The first span has ended: keep the part, or forget it."""
        why = self.why or ("slow" if first.ended - first.started >= self.keeper.slow_ns else "")
        spans, self.spans = self.spans, []
        if why:
            self.keeper.keep(spans, why)


class Unsampled(Span):
    """A span that is not sampled. It says that it records nothing, so nobody works out attributes for it.

    Args:
        name: Its name.
        trace_id: The trace's number.
        parent_id: The parent's number; 0 for a root.
        part: What it belongs to.
        kind: As of any span.
        attributes: Those given at its start; read only when it is kept.
        links: Likewise.
        started: Unix time in nanoseconds; now where 0.
    """

    # What most spans never have is the class's: an attribute of their own costs each of them.
    ended = 0
    """Unix time in nanoseconds; 0 while it lasts."""
    events: tuple[tuple[str, Attributes, int], ...] = ()
    status = StatusCode.UNSET
    message: str | None = None
    later: Callable[[], Mapping[str, AttributeValue]] | None = None
    """Attributes that are worked out where it is kept."""

    def __init__(  # noqa: PLR0917  # made for every span: keywords would cost as much as the rest
        self,
        name: str,
        trace_id: int,
        parent_id: int,
        part: Part,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        started: int = 0,
    ) -> None:
        self.name = name
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.part = part
        self.kind = kind
        self.attributes = attributes
        self.links = links
        self.started = started or time_ns()
        self.span_id = getrandbits(64) or 1
        part.spans.append(self)

    @property
    def traceparent(self) -> str:
        """What makes it the parent of the next hop."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-00"

    def child(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        started: int = 0,
    ) -> Unsampled:
        """A span below this one."""
        return Unsampled(name, self.trace_id, self.span_id, self.part, kind, attributes, links, started)

    def end(self, end_time: int | None = None) -> None:
        """It is over; with the first of its part, the part is."""
        part = self.part
        if self.ended:
            return
        self.ended = end_time or time_ns()
        if part.spans and part.spans[0] is self:
            part.close(self)

    def worth_keeping(self, why: str) -> None:
        """Keep the part, however short it is."""
        self.part.why = why

    def get_span_context(self) -> SpanContext:
        """Its context, whose flags say that it is not sampled."""
        return SpanContext(self.trace_id, self.span_id, is_remote=False, trace_flags=_UNSAMPLED)

    def is_recording(self) -> bool:
        """No: attributes that cost something to find out are not asked for."""
        return False

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Keep it, in case."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Keep them, in case."""
        self.attributes = {**(self.attributes or {}), **attributes}

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Keep it, in case."""
        self.events = (*self.events, (name, attributes, timestamp or time_ns()))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Nothing: links are given at the start."""

    def update_name(self, name: str) -> None:
        """Call it so."""
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """A failed span makes its part worth keeping."""
        self.status = status.status_code if isinstance(status, Status) else status
        self.message = status.description if isinstance(status, Status) else description
        if self.status is StatusCode.ERROR:
            self.worth_keeping("failed")

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002, FBT001, FBT002  # the API's form
    ) -> None:
        """An ``exception`` event (semantic conventions, exceptions), without the stack."""
        told = {"exception.type": type(exception).__qualname__, "exception.message": str(exception)}
        self.add_event("exception", {**told, **(attributes or {})}, timestamp)
