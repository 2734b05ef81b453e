"""Which events are meant: CloudEvents SQL and the dialects of the CloudEvents Subscriptions API.

What belongs here: everything from a filter's text to a function of an event's attributes, compiled once. What does not:
reading or skipping events, and the data of an event, which no dialect looks at.
"""

from __future__ import annotations

from headrace.eventing.filters.dialects import compile_filter, compile_filters
from headrace.eventing.filters.fault import FilterError
from headrace.eventing.filters.verdict import Filter, Verdict

__all__ = ["Filter", "FilterError", "Verdict", "compile_filter", "compile_filters"]
