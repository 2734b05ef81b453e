"""How a trace context crosses a hop: W3C Trace Context and baggage (``OTEL_PROPAGATORS`` may name others).

Every event passes here several times a process, so what OpenTelemetry's own propagators do for the common case (a
``traceparent`` alone) is done here in a tenth of the time; anything else is theirs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN

from headrace.telemetry.contexts import has_only_a_span, span_in, with_span
from headrace.telemetry.remote import Remote
from headrace.telemetry.unsampled import Unsampled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span

TRACEPARENT, TRACESTATE, BAGGAGE = "traceparent", "tracestate", "baggage"
W3C = frozenset({TRACEPARENT, TRACESTATE, BAGGAGE})
_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
"""Version 00 exactly (W3C Trace Context, section 3.2.2); of later versions OpenTelemetry reads what it knows."""


class _Propagators:
    """Whether the process's propagators are W3C's: asked anew only when somebody has set others."""

    def __init__(self) -> None:
        self._seen: TextMapPropagator | None = None
        self._w3c = True

    def are_w3c(self) -> bool:
        found = propagate.get_global_textmap()
        if found is not self._seen:
            self._seen, self._w3c = found, found.fields == W3C
        return self._w3c


_PROPAGATORS = _Propagators()


def extract(*carriers: Mapping[str, str]) -> Context:
    """The trace context of the first carrier that has a valid one, with the baggage of the first that has any.

    Args:
        carriers: Headers or CloudEvent attributes of one event by lower-case name, the strongest first.
    """
    if not _PROPAGATORS.are_w3c():
        return _foreign(carriers)
    found: Context | None = None
    baggage = ""
    for each in carriers:
        if not baggage and BAGGAGE in each:
            baggage = each[BAGGAGE]
        if found is None and (parent := each.get(TRACEPARENT)):
            found = _read(parent, each)
    if baggage:
        return propagate.extract({BAGGAGE: baggage}, found or Context())
    return Context() if found is None else found


def carrier(context: Context) -> dict[str, str]:
    """The headers that carry ``context`` to the next hop; empty when untraced."""
    if _PROPAGATORS.are_w3c():
        if not context:
            return {}
        if has_only_a_span(context):
            span = span_in(context)
            if span is INVALID_SPAN:
                return {}
            if parent := _written(span):
                return {TRACEPARENT: parent}
    headers: dict[str, str] = {}
    propagate.inject(headers, context)
    return headers


def inject(span: Span, context: Context | None = None) -> dict[str, str]:
    """``traceparent`` (and ``tracestate``) that make ``span`` the parent of the next hop; empty when untraced.

    Args:
        span: The current span.
        context: Where baggage to pass on is taken from; none where None.
    """
    if not context or has_only_a_span(context):
        if span is INVALID_SPAN:
            return {}
        if _PROPAGATORS.are_w3c() and (parent := _written(span)):
            return {TRACEPARENT: parent}
    return carrier(child_of(span, context))


def child_of(span: Span, context: Context | None = None) -> Context:
    """The context whose current span is ``span``, with the baggage of ``context``."""
    return with_span(span, context)


def _read(parent: str, each: Mapping[str, str]) -> Context | None:
    if TRACESTATE not in each and _PARENT(parent):
        return with_span(Remote(parent))
    context = propagate.extract({name: each[name] for name in (TRACEPARENT, TRACESTATE) if name in each}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def _written(span: Span) -> str:
    """The ``traceparent`` of a span whose context is no more than that; empty for any other."""
    if type(span) is Unsampled or type(span) is Remote:
        return span.traceparent
    known = span.get_span_context()
    if not known.is_valid or known.trace_state:
        return ""
    return f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"


def _foreign(carriers: tuple[Mapping[str, str], ...]) -> Context:
    for each in carriers:
        context = propagate.extract(each, Context())
        if trace.get_current_span(context).get_span_context().is_valid:
            return context
    return Context()
