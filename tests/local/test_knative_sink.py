"""What Knative's dispatcher does that Headrace's does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from opentelemetry.context import Context

from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.filters import compile_filters
from headrace.local.knative_sink import KnativeRetry, KnativeSink, OnlyEvents
from headrace.local.resources import Delivery, Name

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT = new_event({"specversion": "1.0", "id": "1", "source": "/s", "type": "a"}, b"x")


def test_knatives_back_off() -> None:
    """Linear 100 x 5; exponential 100 x 2^5; what the receiver asks for is the least; no bound and no jitter."""
    assert KnativeRetry(11, "linear", 0.1).wait(5) == pytest.approx(0.5)
    assert KnativeRetry(11, "exponential", 0.1).wait(5) == pytest.approx(3.2)
    assert KnativeRetry(11, "exponential", 0.3).wait(10) == pytest.approx(307.2)
    assert KnativeRetry(11, "linear", 0.1).wait(1, retry_after=7.0) == 7.0


def test_what_is_no_event_is_passed_over() -> None:
    """A record that was wrapped is none; an event of that type that somebody sent is one."""
    wrapped = {"type": "dev.knative.kafka.event", "id": "partition:0/offset:1"}
    only = OnlyEvents(None)
    assert not only(wrapped)
    assert only.explain(wrapped).reason == "the record is no CloudEvent"
    assert only({"type": "dev.knative.kafka.event", "id": "mine"})
    filtered = OnlyEvents(compile_filters([{"exact": {"type": "a"}}]))
    assert [filtered({"type": kind, "id": "1"}) for kind in ("a", "b")] == [True, False]


async def answered(
    status: int, headers: Mapping[str, str], body: bytes
) -> tuple[int, list[CloudEvent], dict[str, str]]:
    """What the dispatcher is told, the replies that are passed on, and the request's headers."""
    asked: dict[str, str] = {}

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.update({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=status, headers=dict(headers), body=body)

    replies: list[CloudEvent] = []

    async def keep(event: CloudEvent) -> None:
        replies.append(event)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    delivery = Delivery(Name("n", "t"), "trigger", "topic", "group", url, "letters", extensions={"added": "yes"})
    sink = KnativeSink(delivery, connections=1, replies=keep)
    try:
        assert await sink.ready(Context())
        reply = await sink.deliver(EVENT, Context())
        return reply.status, replies, asked
    finally:
        await sink.close()
        await runner.cleanup()


CE = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/r", "ce-type": "b", "content-type": "text/plain"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "told", "passed"),
    [
        (200, CE, b"y", 202, ["2"]),
        (200, {}, b"", 202, []),
        (202, CE, b"y", 202, []),
        (500, CE, b"y", 500, []),
        (404, {}, b"", 404, []),
    ],
)
def test_a_reply_is_passed_on(status: int, headers: dict[str, str], body: bytes, told: int, passed: list[str]) -> None:
    """As it came; a 202 has none; the event carries what the source adds."""
    found, replies, asked = asyncio.run(answered(status, headers, body))
    assert (found, [reply.id for reply in replies]) == (told, passed)
    assert (asked["ce-added"], asked["prefer"]) == ("yes", "reply")


def test_a_reply_that_is_no_event_is_a_failure() -> None:
    """422 for the dispatcher: not to be tried again."""
    found, replies, _ = asyncio.run(answered(200, {"content-type": "text/plain"}, b"hello"))
    assert (found, replies) == (422, [])
