"""Events that travel together: each with its own answer, and none that suffers for its neighbours."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.eventing.test_dispatch import ECHO, World, dispatch, event, headers, published, wait_for

from headrace.cli.dispatch import Bounds, bounds
from headrace.errors import DeadlineExceededError, UnavailableError
from headrace.eventing.batches import BatchLimits, replies
from headrace.eventing.codec.http import write_batch
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.retry import RetryPolicy
from headrace.eventing.sink import DisconnectedError, Reply
from headrace.manifests.loading import parse_apps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from headrace.eventing.event import CloudEvent

BATCH = BatchLimits(size=8, delay=0.01)


def together(answer: Callable[[CloudEvent], Reply | Exception] = ECHO, **settings: Any) -> World:
    """A world that delivers in batches."""
    return World(answer, **{"batch": BATCH, **settings})


def answered(broker: Any) -> Counter[str]:
    """How often each event has a result."""
    kind = "dev.headrace.inference.result.v1"
    return Counter(headers(r)["ce_causationid"] for r in broker.records("out") if headers(r)["ce_type"] == kind)


def once(*numbers: int) -> Counter[str]:
    """Each of them once."""
    return Counter(map(str, numbers))


def test_events_of_all_partitions_travel_together() -> None:
    """As many as fit go in one request, whatever their partition, and each has its own answer."""
    world = together()
    broker = dispatch(
        world, [write_record(event(n, partitionkey=str(n)), "in", trace={}) for n in range(40)], partitions=5
    )
    assert answered(broker) == once(*range(40))
    assert {r.value for r in broker.records("out")} == {str(n).encode() for n in range(40)}
    assert max(map(len, world.sink.batches)) == 8
    assert len(world.sink.batches) <= 10, "batches are filled"


def test_a_batch_has_one_event_of_a_key() -> None:
    """With order by key, no batch holds two events of one key, and they are answered in their order."""
    world = together(ordering="key")
    records = [write_record(event(n, partitionkey=str(n % 3)), "in", trace={}) for n in range(30)]
    broker = dispatch(world, records, partitions=2)
    assert any(len(batch) > 1 for batch in world.sink.batches)
    assert all(len({int(each) % 3 for each in batch}) == len(batch) for batch in world.sink.batches)
    for key in range(3):
        ids = [int(headers(r)["ce_causationid"]) for r in broker.records("out") if r.key == str(key).encode()]
        assert ids == sorted(ids)


def test_large_events_go_alone() -> None:
    """An event with more than half of a batch's bytes goes in a request of its own, and no batch is over its bytes."""
    limits = BatchLimits(size=100, delay=0.01, bytes=1000)
    sizes = [100, 501, 400, 3000, 300, 300, 500, 500, 10]
    records = [
        write_record(event(n).__class__(event(n).attributes, b"x" * size), "in", trace={})
        for n, size in enumerate(sizes)
    ]
    world = together(batch=limits)
    broker = dispatch(world, records)
    assert answered(broker) == once(*range(9))
    assert all(sum(sizes[int(each)] for each in batch) <= 1000 for batch in world.sink.batches)
    travelled = {each for batch in world.sink.batches for each in batch}
    assert travelled.isdisjoint({"1", "3"})


def test_each_event_fails_for_itself() -> None:
    """In one batch one event is answered, one rejected in the receiver's words, one tried again as its wait says."""
    tries: Counter[str] = Counter()

    def answer(e: CloudEvent) -> Reply:
        tries[e.id] += 1
        if e.id == "1":
            return Reply(400, {}, b"no picture")
        if e.id == "2" and tries[e.id] == 1:
            return Reply(429, {"retry-after": "7"}, b"full")
        return ECHO(e)  # type: ignore[return-value]  # ECHO never answers with an error

    world = together(answer)
    broker = dispatch(world, published(*range(4)))
    assert answered(broker) == once(0, 2, 3)
    letter = headers(broker.records("dead")[0])
    assert (letter["ce_id"], letter["ce_hrreason"], letter["ce_knativeerrorcode"]) == ("1", "rejected", "400")
    assert orjson.loads(base64.b64decode(letter["ce_knativeerrordata"]))["detail"] == "no picture"
    assert tries == {"0": 1, "1": 1, "2": 2, "3": 1}
    assert any(slept >= 7 for slept in world.clock.slept)


@pytest.mark.parametrize(
    "failure",
    [Reply(500), Reply(502), Reply(400), Reply(413), DisconnectedError("gone"), DeadlineExceededError("late")],
    ids=str,
)
def test_a_failing_batch_is_halved_until_the_guilty_is_alone(failure: Reply | Exception) -> None:
    """One event that breaks whatever it travels with is dead-lettered alone; no neighbour loses an attempt."""
    alone: list[str] = []

    def answer(e: CloudEvent) -> Reply | Exception:
        alone.append(e.id)
        return failure if e.id == "5" else ECHO(e)

    def refuse(events: Sequence[CloudEvent]) -> Reply | Exception | None:
        return failure if "5" in [e.id for e in events] else None

    # One attempt alone: whoever is charged for its neighbour is dead.
    world = together(answer, retry=RetryPolicy(attempts=1))
    world.refuse = refuse
    broker = dispatch(world, published(*range(16)))
    assert answered(broker) == once(*(n for n in range(16) if n != 5))
    letters = [headers(r) for r in broker.records("dead")]
    assert [letter["ce_id"] for letter in letters] == ["5"]
    assert letters[0]["ce_hrattempts"] == "1"
    assert Counter(alone) == once(*range(16)), "nothing is delivered twice that was answered"
    assert (
        letters[0]["ce_hrreason"]
        == {
            "DisconnectedError": "crashed",
            "DeadlineExceededError": "exhausted",
            "Reply": "rejected" if isinstance(failure, Reply) and failure.status < 500 else "exhausted",
        }[type(failure).__name__]
    )


def test_a_sink_that_is_not_there_is_nobodys_fault() -> None:
    """Where nobody answers, a batch is not halved: its events are tried again, together."""
    world = together()
    failures: list[Exception] = [UnavailableError("refused"), UnavailableError("refused")]
    world.refuse = lambda _: failures.pop() if failures else None
    broker = dispatch(world, published(*range(8)))
    assert answered(broker) == once(*range(8))
    assert world.sink.knocks >= 3, "it is asked whether it is ready before each of them"


def test_a_batch_that_is_too_much_is_not_halved() -> None:
    """A 429 or 503 to the whole of it blames no event: all wait as long as it says, and travel together again."""
    world = together(concurrency=8)
    first = [Reply(429, {"retry-after": "30"})]
    world.refuse = lambda _: first.pop() if first else None
    broker = dispatch(world, published(*range(8)))
    assert answered(broker) == once(*range(8))
    assert world.sink.batches[0] == [str(n) for n in range(8)]
    assert sum(map(len, world.sink.batches)) == 16
    assert max(world.clock.slept) >= 30


def test_a_receiver_that_reads_no_batches_gets_single_events() -> None:
    """It refuses a batch for good and takes each event alone: from then on every event goes alone."""
    world = together(concurrency=8)
    world.refuse = lambda _: Reply(415)
    broker = dispatch(world, published(*range(50)))
    assert answered(broker) == once(*range(50))
    assert not broker.records("dead")
    assert [len(batch) for batch in world.sink.batches] == [8, 4, 2, 2, 4, 2, 2]


def test_an_answer_that_is_no_batch_is_not_taken_for_one() -> None:
    """Too few items, items in another order, or no batch at all: its events are delivered again, alone."""

    def shuffled(events: Sequence[CloudEvent]) -> Reply:
        items = [e.with_attributes(type="dev.headrace.inference.result.v1", causationid=e.id) for e in events]
        return Reply(200, *_message(items[1:] + items[:1]))

    for refuse in (shuffled, lambda events: Reply(200, *_message(events[1:])), lambda _: Reply(200, {}, b"ok")):
        world = together()
        world.refuse = refuse
        broker = dispatch(world, published(*range(8)))
        assert answered(broker) == once(*range(8))
        assert {(headers(r)["ce_causationid"], r.value) for r in broker.records("out")} == {
            (str(n), str(n).encode()) for n in range(8)
        }


class Busy(World):
    """Its receiver answers nothing of what comes while it has as many events as it can bear: that is too late then."""

    bears = 1_000_000

    def live(self, *how: Any) -> tuple[asyncio.Event, asyncio.Future[None]]:
        """A dispatcher that has just been started, with that door before its sink."""
        found = super().live(*how)
        self.under_way = 0
        self.most_under_way = 0
        self.late: list[int] = []
        one, many = self.sink.deliver, self.sink.deliver_batch

        travelling: set[str] = set()

        async def deliver(event: CloudEvent, context: Any) -> Reply:
            answer = one(event, context)
            return await answer if event.id in travelling else await self._borne(1, answer)

        async def deliver_batch(events: Sequence[CloudEvent], contexts: Any) -> Reply:
            travelling.update(event.id for event in events)
            try:
                return await self._borne(len(events), many(events, contexts))
            finally:
                travelling.difference_update(event.id for event in events)

        self.sink.deliver, self.sink.deliver_batch = deliver, deliver_batch  # type: ignore[method-assign]  # a door
        return found

    async def _borne(self, events: int, answer: Coroutine[Any, Any, Reply]) -> Reply:
        self.under_way += events
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            for _ in range(20):
                await asyncio.sleep(0)
            if self.under_way <= self.bears:
                return await answer
            answer.close()
            self.late.append(events)
            raise DeadlineExceededError("late")
        finally:
            self.under_way -= events


def test_the_bound_counts_events() -> None:
    """Sixteen at once are sixteen events, in however many requests; batches are as full as that allows."""
    world = Busy(ECHO, batch=BATCH, concurrency=16)
    broker = dispatch(world, published(*range(300)))
    assert answered(broker) == once(*range(300))
    assert world.most_under_way == 16
    assert len(world.sink.batches) < 50, "batches are filled"
    narrow = Busy(ECHO, batch=BATCH, concurrency=3)
    assert answered(dispatch(narrow, published(*range(30)))) == once(*range(30))
    assert narrow.most_under_way == 3, "no batch has more events than may be under way"


def test_a_receiver_that_is_late_gets_smaller_batches() -> None:
    """One that can bear 20 events is found out within a few: what was late goes on in halves, and costs no attempt."""
    world = Busy(ECHO, batch=BATCH, concurrency=64, retry=RetryPolicy(attempts=1))
    world.bears = 20
    broker = dispatch(world, published(*range(1000)))
    assert answered(broker) == once(*range(1000))
    assert not broker.records("dead")
    assert sum(world.late) < 500, "fewer events are sent in vain than are answered"


def test_with_batches_the_bound_rises_by_a_batch_until_the_receiver_objects() -> None:
    """It begins low, and each round of answers lets another batch go: an autoscaler has to see requests."""
    world = Busy(ECHO, batch=BATCH, concurrency=40, begin=16)
    assert answered(dispatch(world, published(*range(600)))) == once(*range(600))
    assert world.most_under_way == 40
    assert world.dispatcher.metrics.value("headrace_dispatcher_concurrency") == 40
    world = Busy(ECHO, batch=BATCH, concurrency=64, begin=16)
    world.bears = 30
    assert answered(dispatch(world, published(*range(600)))) == once(*range(600))
    assert world.most_under_way < 40, "after an objection it rises slowly"


@pytest.mark.parametrize(
    ("scale", "trigger", "expected"),
    [
        ({}, {}, (16, 16, 8)),
        ({"max": 4}, {}, (32, 32, 8)),
        ({"target": 1}, {}, (16, 16, 8)),
        ({"max": 4, "target": 10}, {}, (40, 40, 10)),
        ({}, {"batch": {}}, (64, 64, 256)),
        ({"target": 100}, {"batch": {}}, (100, 100, 3200)),
        ({"max": 4}, {"batch": {"size": 8}}, (32, 256, 64)),
        ({"max": 3, "target": 2}, {"batch": {"size": 100}}, (200, 1600, 800)),
    ],
)
def test_a_dispatcher_begins_with_what_one_replica_can_use(
    scale: dict[str, int], trigger: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    """By default one replica gets two batches of events; several may get as many requests as scale them up."""
    spec = {"predictor": {"class": "m.py:M", "scale": scale}, "trigger": {"topic": "in", **trigger}}
    app = {"apiVersion": "headrace.dev/v1alpha1", "kind": "InferenceApp", "metadata": {"name": "a"}, "spec": spec}
    assert bounds(*parse_apps(orjson.dumps(app).decode(), "here")) == Bounds(*expected)


def _message(events: Sequence[CloudEvent]) -> tuple[Any, bytes]:
    message = write_batch(events)
    return message.headers, message.body


def test_a_success_without_a_word_is_one_for_each() -> None:
    """A 202 or 204 to a batch completes all of its events, and publishes nothing."""
    assert replies([event(1), event(2)], Reply(204)) == [Reply(204), Reply(204)]
    world = together()
    world.refuse = lambda _: Reply(202)
    broker = dispatch(world, published(*range(8)))
    assert broker.records("out") == broker.records("dead") == []


def test_a_stop_gives_up_what_still_waits_for_company() -> None:
    """Told to stop, the dispatcher finishes the requests under way; events that only waited are read again later."""

    async def run() -> None:
        world = together(batch=BatchLimits(size=2, delay=0.01), concurrency=2)
        broker, stop, running = world.start(published(*range(6)))
        world.sink.hold.clear()
        await wait_for(lambda: world.sink.in_flight == 1)
        stop.set()
        broker.append(*published(6))  # ends the poll that is under way
        for _ in range(100):
            await asyncio.sleep(0)
        world.sink.hold.set()
        await asyncio.wait_for(running, 60)
        assert answered(broker) == once(0, 1)
        await world.again(broker)
        assert answered(broker) == once(*range(7))

    asyncio.run(run())
