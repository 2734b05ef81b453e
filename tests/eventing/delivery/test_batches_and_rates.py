"""Batches and rates, from the app's file to the receiver."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.eventing.delivery.conftest import event

from headrace.errors import InvalidInputError
from headrace.eventing.codec.http import Mode, write_batch, write_binary
from headrace.eventing.results import Responder, error_event, problem_of, result_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.event import CloudEvent

IDENTITY = Responder("default", "app", "app", "1")


def contract(events: list[CloudEvent], mode: Mode) -> tuple[int, dict[str, str], bytes]:
    """Answers as the contract says: a batch with a batch; an event whose id is a multiple of ten is not readable."""
    from datetime import datetime, timezone  # noqa: PLC0415  # of this function alone

    now = datetime.now(timezone.utc)
    items = [
        error_event(each, problem_of(InvalidInputError("a ten")), identity=IDENTITY, trace={}, now=now)
        if int(each.id) % 10 == 0
        else result_event(each, data=each.data, content_type="image/png", identity=IDENTITY, trace={}, now=now)
        for each in events
    ]
    message = write_batch(items) if mode is Mode.BATCHED else write_binary(items[0])
    status = 400 if mode is Mode.BINARY and int(events[0].id) % 10 == 0 else 200
    return status, dict(message.headers), message.body


def test_events_travel_in_batches_and_are_answered_singly(delivering: Callable[..., Any]) -> None:
    """Binary data arrives byte for byte, each event has its own answer or dead letter, large ones come alone."""
    data = bytes(range(256)) * 4
    events = [
        event(number, datacontenttype="image/png").__class__(
            event(number, datacontenttype="image/png").attributes, data * (40 if number == 7 else 1)
        )
        for number in range(1, 61)
    ]
    with delivering(batch={"size": 16, "delay": "200ms", "bytes": "64Ki"}) as delivery:
        delivery.receiver.answer = contract
        delivery.publish(*events)
        delivery.until_done(60)
        answers = {answer.get("causationid"): answer for answer in delivery.read("out")}
        assert answers.keys() == {str(number) for number in range(1, 61)}
        for number in range(1, 61):
            answer = answers[str(number)]
            if number % 10:
                assert (answer.type, answer.content_type) == ("dev.headrace.inference.result.v1", "image/png")
                assert answer.data == events[number - 1].data
            else:
                assert answer.type == "dev.headrace.inference.error.v1"
                assert b"a ten" in (answer.data or b"")
        letters = delivery.read("in.dead-letters")
        assert sorted(int(letter.id) for letter in letters) == [10, 20, 30, 40, 50, 60]
        assert {letter.data for letter in letters} == {data}
        requests = [[each.id for each in request] for request in delivery.receiver.got]
        assert ["7"] in requests
        assert 2 <= max(map(len, requests)) <= 16
        assert len(delivery.receiver.ids) == 60, "nothing is delivered twice"


def test_a_rate_limit_holds_events_back(delivering: Callable[..., Any]) -> None:
    """No more reach the receiver in a second than the app's file says; the rest waits, and comes."""
    arrived: list[float] = []

    def answer(*_: Any) -> tuple[int, dict[str, str], bytes]:
        arrived.append(time.monotonic())
        return 204, {}, b""

    with delivering(rateLimit={"rate": 10, "burst": 2}, partitions=2) as delivery:
        delivery.receiver.answer = answer
        delivery.publish(*(event(number) for number in range(22)))
        delivery.until_done(22)
        assert arrived[-1] - arrived[0] >= 1.5, "22 events with a burst of two take two seconds"
