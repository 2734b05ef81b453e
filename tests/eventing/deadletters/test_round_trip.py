"""From a failure to its repair: the real dispatcher writes the letters that are sent back to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from headrace.errors import DeadlineExceededError
from headrace.eventing.audit import Order as Question
from headrace.eventing.audit import audit
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import new_event
from headrace.eventing.kafka.member import KafkaMember
from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.eventing.log import OutgoingRecord
from headrace.eventing.results import Responder
from headrace.eventing.sink import Reply
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.eventing.event import CloudEvent

    Letters = Any
    Give = Callable[..., Any]

PATIENCE = 60.0


def results(letters: Letters) -> list[CloudEvent]:
    """Every answer so far."""
    found: list[CloudEvent] = letters.sent(f"{letters.topic}.out")
    return found


async def dispatch(letters: Letters, answer: Callable[[CloudEvent], Reply], count: int) -> None:
    """A life of the dispatcher: until there are so many answers in all."""
    settings = DispatchSettings(Responder("ns", "app", "app", "1"), letters.name, f"{letters.topic}.out")
    member = KafkaMember(letters.kafka, topic=letters.topic, group=letters.topic)
    stop = asyncio.Event()
    running = asyncio.ensure_future(Dispatcher(member, MemorySink(answer), settings).run(stop))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not running.done() and len(await asyncio.to_thread(results, letters)) < count:
        if loop.time() > deadline:
            raise DeadlineExceededError(f"Not {count} answers within {PATIENCE:g} s")
        await asyncio.sleep(0.05)
    stop.set()
    await running


def test_what_was_mended_is_answered_once_and_counted_right(headrace: Give, letters: Letters) -> None:
    """Nine of thirty events fail; mended and sent back, each has its one result, and the audit finds nothing lost."""
    create_topics(letters.kafka, [TopicSpec(f"{letters.topic}.out", 1)])
    for number in range(30):
        attributes = {"specversion": "1.0", "id": f"e{number}", "source": "/s", "type": "t"}
        letters.write([write_record(new_event(attributes, b"1"), letters.topic, trace={})])
    letters.write([OutgoingRecord(letters.topic, b"k", b"{", (("content-type", b"application/cloudevents+json"),))])

    def broken(event: CloudEvent) -> Reply:
        return Reply(422 if event.id.endswith(("3", "5", "7")) else 200, {}, b"ok")

    asyncio.run(dispatch(letters, broken, 31))
    (sent,) = headrace("redrive", "--reason", "rejected", "--output", "json").lines
    assert (sent["redriven"], sent["reasons"]) == (9, {"rejected": 9})
    asyncio.run(dispatch(letters, lambda _: Reply(200, {}, b"ok"), 40))
    kinds = Counter(event.get("causationid") for event in results(letters) if event.type.endswith("result.v1"))
    assert kinds == Counter(f"e{number}" for number in range(30))
    report = audit(
        letters.kafka,
        Question(
            events=letters.topic,
            results=f"{letters.topic}.out",
            dead_letters=letters.name,
            group=letters.topic,
            grace=0,
        ),
        now=4e9,
    )
    assert (report.sound, report.events, report.repeated) == (True, 40, 9)
    assert report.counts == Counter({"dead-lettered": 10})
    assert [line["reason"] for line in headrace("list", "--output", "json").lines] == ["invalid"]
