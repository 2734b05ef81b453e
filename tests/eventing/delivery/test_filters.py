"""Filters, from the app's file to the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.eventing.delivery.conftest import event

if TYPE_CHECKING:
    from collections.abc import Callable


def test_only_what_the_filters_mean_is_delivered(delivering: Callable[..., Any]) -> None:
    """Events that a filter does not mean never reach the receiver, are done, and are counted with the reason."""
    with delivering(filter="size < 100", filters=[{"not": {"prefix": {"source": "/test"}}}]) as delivery:
        delivery.publish(
            event(1, size="5"),
            event(2, size="500"),
            event(3),
            event(4, size="5", source="/test/one"),
            event(5, size="99", partitionkey="k"),
        )
        delivery.until_done(5)
        assert sorted(delivery.receiver.ids) == ["1", "5"]
        assert sorted(answer.get("causationid") for answer in delivery.read("out")) == ["1", "5"]
        assert delivery.read("in.dead-letters") == []
        assert delivery.metric('headrace_dispatcher_events_total{outcome="skipped"}') == 3
        assert delivery.metric('headrace_dispatcher_events_total{outcome="answered"}') == 2
        assert delivery.metric('headrace_dispatcher_skipped_total{reason="no match"}') == 2
        assert delivery.metric('headrace_dispatcher_skipped_total{reason="missingAttribute"}') == 1
