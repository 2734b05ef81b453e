"""The process's tracers: the SDK's for what is sampled, next to nothing for what is not."""

from __future__ import annotations

import threading
from random import getrandbits
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.util._decorator import _agnosticcontextmanager  # the API's own, for `with` and as a decorator

from headrace.telemetry.contexts import span_in
from headrace.telemetry.remote import Remote
from headrace.telemetry.sampling import LOW, ChosenIds, RuledSampler
from headrace.telemetry.unsampled import Part, Unsampled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Link, Span
    from opentelemetry.util.types import Attributes

    from headrace.telemetry.sampling import Sampling
    from headrace.telemetry.unsampled import Keeper

LAST_EXPORT = 5.0
"""Seconds that the end of a process waits for a collector to take the last spans."""


class RuledTracer(Tracer):
    """Decides before it makes a span, so that one of an unsampled trace costs a microsecond and not twenty.

    Args:
        inner: The SDK's tracer.
        provider: What it decides by.
    """

    def __init__(self, inner: Tracer, provider: RuledProvider) -> None:
        self._inner = inner
        self._provider = provider

    def start_span(  # noqa: PLR0917  # the API's form
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002  # the API's form
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
    ) -> Span:
        """A span that is recorded, or one that is not."""
        parent = span_in(context)
        if type(parent) is Unsampled:
            return parent.child(name, kind, attributes, links, start_time or 0)
        provider = self._provider
        if type(parent) is Remote and not parent.sampled and provider.passes_on:
            return parent
        known = parent.get_span_context()
        if known.is_valid:
            trace_id, above = known.trace_id, known.span_id
            sampled = provider.sampling.takes(known, trace_id)
            if not sampled and provider.keeper is None:
                return parent
        else:
            trace_id, above = getrandbits(128) or 1, 0
            sampled = provider.sampling.takes(None, trace_id, links) if links else trace_id & LOW < provider.bound
            if sampled:
                provider.ids.choose(trace_id)
            elif provider.keeper is None:
                return Remote(f"00-{trace_id:032x}-{getrandbits(64) or 1:016x}-00")
        if sampled or known.trace_state:
            return self._inner.start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
        assert provider.keeper is not None
        return Unsampled(name, trace_id, above, Part(provider.keeper), kind, attributes, links, start_time or 0)

    @_agnosticcontextmanager
    def start_as_current_span(self, name: str, *args: Any, end_on_exit: bool = True, **options: Any) -> Iterator[Span]:
        """The same, current while the block or the decorated function runs."""
        span = self.start_span(name, *args, **options)
        rules = {name: options[name] for name in ("record_exception", "set_status_on_exception") if name in options}
        with trace.use_span(span, end_on_exit=end_on_exit, **rules) as current:
            yield current


class RuledProvider(TracerProvider):
    """OpenTelemetry's provider, with the decision before the span, and an end that no dead collector delays.

    Args:
        sampling: Which traces are sampled.
        resource: Whose spans they are.
        keeper: Takes the parts of unsampled traces that are kept; set by whoever has a place for them.
    """

    def __init__(self, sampling: Sampling, resource: Resource, keeper: Keeper | None = None) -> None:
        self.sampling = sampling
        self.bound = sampling.bound
        self.keeper = keeper
        self.ids = ChosenIds()
        super().__init__(RuledSampler(sampling), resource, id_generator=self.ids)

    @property
    def keeper(self) -> Keeper | None:
        """Takes the parts of unsampled traces that are worth it; None where nobody has a place for them."""
        return self._keeper

    @keeper.setter
    def keeper(self, keeper: Keeper | None) -> None:
        self._keeper = keeper
        self.passes_on = keeper is None and self.sampling.parent_based
        """Whether the context of an unsampled trace goes on as it came."""

    def get_tracer(self, *args: Any, **options: Any) -> Tracer:
        """A tracer of this scope."""
        return RuledTracer(super().get_tracer(*args, **options), self)

    def shutdown(self) -> None:
        """Send what is left, for at most five seconds; what is not sent by then is lost."""
        # A daemon: an exporter in the middle of a request cannot be told to stop, and must not keep the process.
        ending = threading.Thread(target=super().shutdown, name="telemetry-end", daemon=True)
        try:
            ending.start()
        except RuntimeError:  # the interpreter is going down already
            return
        ending.join(LAST_EXPORT)
