"""Contexts over hops: what the quick way does is what OpenTelemetry's own propagators do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator

from headrace.telemetry import tracing

ONE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TWO = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00"
BROKEN = ["", "00", "00-" + "0" * 32 + "-b7ad6b7169203331-01", ONE[:-4], ONE.upper(), "ff" + ONE[2:], ONE + "-x"]
PARENTS = st.one_of(
    st.sampled_from([*BROKEN, ONE, TWO, ONE[:-2] + "03", "01" + ONE[2:], "01" + ONE[2:] + "-more"]),
    st.from_regex(r"0[01]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
    st.text(max_size=60),
)


def current(context: Context) -> trace.SpanContext:
    """The context's span context."""
    return trace.get_current_span(context).get_span_context()


@given(PARENTS, st.sampled_from(["", "a=1", "a=1,b=2", "!!"]), st.sampled_from(["", "tenant=a", "a=%20b,c=d"]))
def test_it_reads_and_writes_as_opentelemetry_does(parent: str, state: str, bag: str) -> None:
    """Any ``traceparent``, right or wrong, with or without state and baggage, there and back."""
    carrier = {"traceparent": parent} | ({"tracestate": state} if state else {}) | ({"baggage": bag} if bag else {})
    theirs, ours = propagate.extract(carrier, Context()), tracing.extract(carrier)
    valid = current(theirs).is_valid
    assert current(ours) == (current(theirs) if valid else trace.INVALID_SPAN_CONTEXT)
    assert baggage.get_all(ours) == baggage.get_all(theirs)
    written: dict[str, str] = {}
    propagate.inject(written, theirs)
    assert tracing.carrier(ours) == written
    span = trace.get_current_span(theirs)
    assert tracing.inject(span, theirs) == written
    assert tracing.inject(span) == {name: value for name, value in written.items() if name != "baggage"}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_strongest_valid_carrier_wins(broken: str) -> None:
    """The Kafka header goes before the attribute; one that cannot be read gives way to it."""
    assert current(tracing.extract({"traceparent": ONE}, {"traceparent": TWO})) == current(
        tracing.extract({"traceparent": ONE})
    )
    assert current(tracing.extract({"traceparent": broken}, {"traceparent": TWO})) == current(
        tracing.extract({"traceparent": TWO})
    )
    assert tracing.extract({"traceparent": broken}, {}) == Context()


def test_baggage_is_kept_wherever_it_stands() -> None:
    """An event's baggage comes as a header, its trace perhaps as an attribute; without a trace it is kept as well."""
    both = tracing.extract({"baggage": "tenant=a"}, {"traceparent": ONE})
    assert tracing.carrier(both) == {"traceparent": ONE, "baggage": "tenant=a"}
    assert tracing.carrier(tracing.extract({"baggage": "tenant=a"})) == {"baggage": "tenant=a"}


def test_other_propagators_are_obeyed() -> None:
    """Where ``OTEL_PROPAGATORS`` (or the user's own code) chose others, theirs are the headers."""

    class Own(TextMapPropagator):
        @property
        def fields(self) -> set[str]:
            return {"x-own"}

        def extract(self, carrier: Any, context: Context | None = None, getter: Any = None) -> Context:
            return before.extract({"traceparent": carrier.get("x-own", "")}, context)

        def inject(self, carrier: Any, context: Context | None = None, setter: Any = None) -> None:
            carrier["x-own"] = f"{current(context or Context()).trace_id:x}"

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Own())
    try:
        context = tracing.extract({"traceparent": TWO, "x-own": ONE})
        assert f"{current(context).trace_id:x}" in ONE
        assert tracing.carrier(context) == {"x-own": "af7651916cd43dd8448eb211c80319c"}
        assert tracing.inject(trace.get_current_span(context)) == {"x-own": "af7651916cd43dd8448eb211c80319c"}
    finally:
        propagate.set_global_textmap(before)
    plain = current(tracing.extract({"traceparent": TWO}))
    assert current(tracing.extract({"traceparent": TWO, "x-own": ONE})) == plain
