"""The CloudEvent value."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidEventError
from headrace.eventing.event import new_event

GOOD = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_each_required_attribute_is_required(missing: str, how: str) -> None:
    """An event without one of the four required attributes, or with an empty one, is refused by that name."""
    attributes = {name: value for name, value in GOOD.items() if name != missing}
    if how == "empty":
        attributes[missing] = ""
    with pytest.raises(InvalidEventError, match=f"'{missing}' is missing"):
        new_event(attributes)


def test_every_fault_is_named_at_once() -> None:
    """Validation does not stop at the first fault."""
    with pytest.raises(InvalidEventError) as fault:
        new_event({"specversion": "0.3", "id": "1", "type": "t", "Trace-Id": "x", "subject": "a\nb"})
    for part in ("'source' is missing", "specversion '0.3'", "'Trace-Id'", "'subject' has a control character"):
        assert part in str(fault.value)


def test_an_event_does_not_change_with_its_source() -> None:
    """The attributes are the event's own: a caller's later change does not reach them."""
    attributes = dict(GOOD)
    event = new_event(attributes)
    attributes["id"] = "2"
    assert event.id == "1"
    assert event.with_attributes(id="3").id == "3"
    assert event.id == "1"
