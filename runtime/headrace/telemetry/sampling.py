"""Which traces are sampled: ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG`` (OpenTelemetry, SDK)."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import get_current_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanContext, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

_log = logging.getLogger(__name__)
SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_DEFAULT = "parentbased_always_on"
LOW = (1 << 64) - 1
"""The half of a trace id that decides."""
_ALL = 1 << 64
_RATES = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}


@dataclass(frozen=True, slots=True)
class Sampling:
    """The decision, the same in the SDK's sampler and before a span is even made."""

    parent_based: bool = True
    """Whether a trace that comes in is sampled where its caller has sampled it."""
    bound: int = _ALL
    """A trace is sampled where the lower half of its id is below: of ids at random, a share of bound / 2**64."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Sampling:
        """What the environment says; what it says wrongly is told in the log and taken for the default."""
        named = environment.get(SAMPLER, "").strip().lower() or _DEFAULT
        root = named.removeprefix("parentbased_")
        if root not in _RATES:
            _log.warning("%s=%s is not known: %s is taken", SAMPLER, named, _DEFAULT)
            return cls()
        rate = _RATES[root]
        if rate is None:
            rate = _ratio(environment.get(ARGUMENT, ""))
        return cls(parent_based=named != root, bound=round(rate * _ALL))

    def takes(self, parent: SpanContext | None, trace_id: int, links: Sequence[Link] | None = None) -> bool:
        """Whether a span is sampled.

        Args:
            parent: Its parent's context; None for a root.
            trace_id: Its trace.
            links: A root that links to a sampled span is sampled: a batch with any of its members.
        """
        if parent is not None and self.parent_based:
            return parent.trace_flags.sampled
        if parent is None and self.bound and links and any(link.context.trace_flags.sampled for link in links):
            return True
        return trace_id & LOW < self.bound


class RuledSampler(Sampler):
    """The same decision for spans that users make by OpenTelemetry's own API.

    Args:
        sampling: The decision.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling

    def should_sample(  # noqa: PLR0917  # the API's form
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """The decision, with the parent's trace state."""
        found = get_current_span(parent_context).get_span_context()
        parent = found if found.is_valid else None
        state = parent.trace_state if parent else None
        if self._sampling.takes(parent, trace_id, links):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def get_description(self) -> str:
        """What it is, for people."""
        return f"Headrace{{{self._sampling}}}"


class ChosenIds(RandomIdGenerator):
    """Gives a new trace the id by which it was decided that it is sampled."""

    def __init__(self) -> None:
        self._chosen = threading.local()

    def choose(self, trace_id: int) -> None:
        """The next trace that this thread begins has this id."""
        self._chosen.trace_id = trace_id

    def generate_trace_id(self) -> int:
        """The chosen id, once; else one at random."""
        chosen: int = getattr(self._chosen, "trace_id", 0)
        if not chosen:
            return super().generate_trace_id()
        self._chosen.trace_id = 0
        return chosen


def _ratio(text: str) -> float:
    try:
        rate = float(text or 1.0)
    except ValueError:
        rate = -1.0
    if 0.0 <= rate <= 1.0:
        return rate
    _log.warning("%s=%s is no number from 0 to 1: every trace is sampled", ARGUMENT, text)
    return 1.0
