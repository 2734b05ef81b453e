"""The dispatcher over a log and a sink in memory: what it delivers, answers, retries, gives up, and keeps."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from headrace.errors import PayloadTooLargeError, TakenOverError, UnavailableError
from headrace.eventing.attempt import is_expired
from headrace.eventing.codec.kafka import read_record, write_record
from headrace.eventing.dispatch import Dispatcher, DispatchSettings
from headrace.eventing.event import CloudEvent, new_event
from headrace.eventing.filters import compile_filter
from headrace.eventing.ledger import WINDOW
from headrace.eventing.log import Committed, OutgoingRecord, Partition
from headrace.eventing.memory import MemoryBroker, MemoryLog
from headrace.eventing.results import Responder
from headrace.eventing.retry import RetryPolicy
from headrace.eventing.sink import Reply
from headrace.testing.clock import InstantClock
from headrace.testing.sink import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

IDENTITY = Responder("ns", "app", "app", "1")
ECHO: Callable[[CloudEvent], Reply | Exception] = lambda e: Reply(200, {"content-type": "text/plain"}, e.data or b"")  # noqa: E731  # a table of answers reads best so


def event(number: int, **more: str) -> CloudEvent:
    """An event with its number as id and data."""
    attributes = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **more}
    return new_event(attributes, str(number).encode())


class World:
    """One topic with events, a sink, and the dispatcher's settings."""

    def __init__(self, answer: Callable[[CloudEvent], Reply | Exception], **settings: Any) -> None:
        self.answer = answer
        self.settings = DispatchSettings(IDENTITY, dead_letters="dead", **{"results": "out", **settings})
        self.clock = InstantClock()
        self.refuse: Callable[[Sequence[CloudEvent]], Reply | Exception | None] = lambda _: None

    async def run(
        self, records: Sequence[OutgoingRecord], partitions: int = 1, log: Callable[..., MemoryLog] = MemoryLog
    ) -> MemoryBroker:
        """Dispatch all records; the broker afterwards."""
        broker = MemoryBroker(partitions)
        for record in records:
            broker.append(record)
        await self.again(broker, log)
        return broker

    async def again(self, broker: MemoryBroker, log: Callable[..., MemoryLog] = MemoryLog) -> None:
        """A dispatcher's life: until all that was there is committed."""
        stop, running = self.live(broker, log)
        await wait_for(lambda: running.done() or all_done(broker))
        stop.set()
        await running

    def start(
        self, records: Sequence[OutgoingRecord], partitions: int = 1
    ) -> tuple[MemoryBroker, asyncio.Event, asyncio.Future[None]]:
        """A dispatcher that has just been started over these records, how it is stopped, and its end."""
        broker = MemoryBroker(partitions)
        for record in records:
            broker.append(record)
        return broker, *self.live(broker)

    def live(
        self, broker: MemoryBroker, log: Callable[..., MemoryLog] = MemoryLog
    ) -> tuple[asyncio.Event, asyncio.Future[None]]:
        """A dispatcher that has just been started: how it is stopped, and its end."""
        self.sink = MemorySink(self.answer)
        self.sink.refuse = self.refuse
        stop = asyncio.Event()
        self.dispatcher = Dispatcher(log(broker, "in"), self.sink, self.settings, self.clock)
        return stop, asyncio.ensure_future(self.dispatcher.run(stop))


def all_done(broker: MemoryBroker) -> bool:
    """Whether every record of ``in`` is committed."""
    return all(
        broker.committed.get(p, Committed(0)).offset >= len(r) for p, r in broker.topics.items() if p.topic == "in"
    )


async def wait_for(true: Callable[[], bool]) -> None:
    """Until it is true; a minute at most."""

    async def until() -> None:
        while not true():  # noqa: ASYNC110  # what is waited for is a state, and no event tells of it
            await asyncio.sleep(0)

    await asyncio.wait_for(until(), 60)


def published(*numbers: int, **more: str) -> list[OutgoingRecord]:
    """Records of such events."""
    return [write_record(event(number, **more), "in", trace={}) for number in numbers]


def headers(record: Any) -> dict[str, str]:
    """A record's headers as text."""
    return {name: value.decode() for name, value in record.headers}


def dispatch(world: World, records: Sequence[OutgoingRecord], **how: Any) -> MemoryBroker:
    """Run the world over these records."""
    return asyncio.run(world.run(records, **how))


def test_every_event_gets_its_answer() -> None:
    """Results carry the request's lineage, and each event has one."""
    broker = dispatch(World(ECHO), published(*range(50)), partitions=4)
    results = broker.records("out")
    assert Counter(headers(r)["ce_causationid"] for r in results) == Counter(str(n) for n in range(50))
    first = headers(results[0])
    assert first["ce_type"] == "dev.headrace.inference.result.v1"
    assert first["ce_source"] == "/headrace/ns/app"
    assert (first["ce_correlationid"], first["ce_modelversion"]) == (first["ce_causationid"], "1")
    assert results[0].value == first["ce_causationid"].encode()


def test_results_ids_are_the_same_on_redelivery() -> None:
    """The same request, dispatched anew, gives the same result id, so that a reader can drop the second."""
    first = dispatch(World(ECHO), published(1)).records("out")
    second = dispatch(World(ECHO), published(1)).records("out")
    assert headers(first[0])["ce_id"] == headers(second[0])["ce_id"]


def test_a_reply_that_is_a_result_is_kept_as_it_is() -> None:
    """A Headrace server's own result goes to the topic unchanged but for the trace."""

    def answer(e: CloudEvent) -> Reply:
        own = {"ce-specversion": "1.0", "ce-id": "mine", "ce-source": "/x", "ce-causationid": e.id}
        return Reply(200, {**own, "ce-type": "dev.headrace.inference.result.v1"}, b"r")

    assert headers(dispatch(World(answer), published(1)).records("out")[0])["ce_id"] == "mine"


def test_a_foreign_reply_is_given_a_lasting_id() -> None:
    """KServe's own reply events have a random id and drop the lineage: the dispatcher makes a result of them."""

    def answer(_: CloudEvent) -> Reply:
        own = {"ce-specversion": "1.0", "ce-id": "random", "ce-source": "io.kserve", "ce-type": "io.kserve.response"}
        return Reply(200, {**own, "content-type": "application/json"}, b"{}")

    result = headers(dispatch(World(answer), published(1)).records("out")[0])
    assert result["ce_causationid"] == "1"
    assert result["ce_id"] != "random"


@pytest.mark.parametrize("reply", [Reply(202, {"content-type": "text/plain"}, b"later"), Reply(204), Reply(200)])
def test_no_answer_is_no_result(reply: Reply) -> None:
    """A 202, or a success without a body, completes the event and publishes nothing."""
    broker = dispatch(World(lambda _: reply), published(1))
    assert broker.records("out") == []
    assert broker.records("dead") == []


def test_a_retriable_failure_is_tried_again() -> None:
    """503s and lost connections are tried again, within the attempts, and then answered."""
    world = World(ECHO)
    failures: list[Reply | Exception] = [Reply(500), UnavailableError("reset"), Reply(429, {"retry-after": "7"})]
    world.answer = lambda e: failures.pop(0) if failures else ECHO(e)
    broker = dispatch(world, published(1))
    assert len(world.sink.got) == 4
    assert [r.value for r in broker.records("out")] == [b"1"]
    assert any(slept >= 7 for slept in world.clock.slept), "Retry-After is the least wait"


def test_attempts_run_out() -> None:
    """After its last attempt an event is a dead letter, with the data byte for byte and all that is known."""
    world = World(lambda _: Reply(500, {}, b"x" * 5000), retry=RetryPolicy(attempts=3))
    broker = dispatch(world, published(1, datacontenttype="image/png"))
    letter = broker.records("dead")[0]
    found = headers(letter)
    assert letter.value == b"1"
    assert len(world.sink.got) == 3
    assert (found["ce_hrreason"], found["ce_hrattempts"], found["ce_knativeerrorcode"]) == ("exhausted", "3", "500")
    assert (found["ce_hrtopic"], found["ce_hrpartition"], found["ce_hroffset"]) == ("in", "0", "0")
    assert (found["ce_id"], found["content-type"]) == ("1", "image/png")
    assert base64.b64decode(found["ce_knativeerrordata"]) == b"x" * 1024
    assert found["ce_hrfirstattempt"] < found["ce_hrlastattempt"]


def test_a_final_failure_is_not_tried_again() -> None:
    """A 400 goes straight to the dead letters, and the publisher gets an error event with the receiver's words."""
    problem = orjson.dumps({"status": 400, "code": "invalid-input", "detail": "no picture"})
    world = World(lambda _: Reply(400, {"content-type": "application/problem+json"}, problem))
    broker = dispatch(world, published(1))
    assert len(world.sink.got) == 1
    assert headers(broker.records("dead")[0])["ce_hrreason"] == "rejected"
    error = broker.records("out")[0]
    assert headers(error)["ce_type"] == "dev.headrace.inference.error.v1"
    assert orjson.loads(error.value or b"")["detail"] == "no picture"


def test_a_record_that_is_no_event_is_a_dead_letter() -> None:
    """A false claim is dead-lettered with its reason, never sent, and its neighbours are answered."""
    bad = OutgoingRecord("in", b"k", b"{", (("content-type", b"application/cloudevents+json"), ("mine", b"1")))
    broker = dispatch(world := World(ECHO), [*published(1), bad, *published(2)])
    assert [e.id for e in world.sink.got] == ["1", "2"]
    letter = broker.records("dead")[0]
    assert (letter.key, letter.value) == (b"k", b"{")
    assert (headers(letter)["ce_hrreason"], headers(letter)["mine"]) == ("invalid", "1")
    readable = read_record(letter, namespace="", name="")
    assert readable.data == b"{", "the letter is an event itself, whatever the record claimed to be"
    assert readable.get("kafkaheadercontenttype") == "application/cloudevents+json"


def test_an_expired_event_is_never_sent() -> None:
    """``expirytime`` in the past is a dead letter; one in the future is sent."""
    past = published(1, expirytime="2001-01-01T00:00:00Z")
    broker = dispatch(world := World(ECHO), [*past, *published(2, expirytime="2999-01-01T00:00:00Z")])
    assert [e.id for e in world.sink.got] == ["2"]
    assert headers(broker.records("dead")[0])["ce_hrreason"] == "expired"


@pytest.mark.parametrize(
    ("text", "expired"),
    [
        ("2001-01-01T00:00:00Z", True),
        ("2001-01-01T00:00:00.1234567+02:00", True),
        ("2001-01-01t00:00:00z", True),
        ("2999-01-01T00:00:00.5Z", False),
        ("tomorrow", False),
        ("", False),
    ],
)
def test_expiry_reads_every_rfc_3339_time(text: str, expired: bool) -> None:
    """Any fraction, any offset, any letter case; what is no time never expires."""
    attributes = {"expirytime": text} if text else {}
    assert is_expired(event(1, **attributes), 1_700_000_000.0) is expired


def test_a_cold_start_costs_no_attempt() -> None:
    """A sink that opens after a long wait gets each event once, with a single attempt allowed."""

    async def run() -> None:
        world = World(ECHO, retry=RetryPolicy(attempts=1))
        broker = MemoryBroker()
        for record in published(1, 2, 3):
            broker.append(record)
        world.sink = sink = MemorySink(ECHO)
        sink.opens_after = 200
        stop = asyncio.Event()
        running = asyncio.ensure_future(
            Dispatcher(MemoryLog(broker, "in"), sink, world.settings, world.clock).run(stop)
        )
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        assert len(sink.got) == 3
        assert len(broker.records("out")) == 3

    asyncio.run(run())


def test_order_by_key() -> None:
    """Events of one key are answered in the order of the log, also through retries; keys run beside each other."""
    failed: set[str] = set()

    def flaky(e: CloudEvent) -> Reply:
        if e.id not in failed and int(e.id) % 3 == 0:
            failed.add(e.id)
            return Reply(500)
        return ECHO(e)  # type: ignore[return-value]  # ECHO never answers with an error

    world = World(flaky, ordering="key")
    records = [write_record(event(n, partitionkey=str(n % 4)), "in", trace={}) for n in range(40)]
    broker = dispatch(world, records, partitions=4)
    for key in range(4):
        ids = [int(headers(r)["ce_causationid"]) for r in broker.records("out") if r.key == str(key).encode()]
        assert ids == sorted(ids)
        assert len(ids) == 10
    assert world.sink.most_in_flight > 1


def test_order_by_partition() -> None:
    """With one partition, one event is in flight."""
    world = World(ECHO, ordering="partition")
    broker = dispatch(world, published(*range(20)))
    assert world.sink.most_in_flight == 1
    assert [headers(r)["ce_causationid"] for r in broker.records("out")] == [str(n) for n in range(20)]


def test_concurrency_is_bounded() -> None:
    """No more deliveries at once than the settings allow."""
    world = World(ECHO, concurrency=3)
    dispatch(world, published(*range(30)))
    assert world.sink.most_in_flight == 3


def test_memory_is_bounded() -> None:
    """However long the topic, a stuck sink holds a bounded number of records in memory."""

    async def run() -> None:
        world = World(ECHO, most_open=20)
        broker = MemoryBroker()
        for record in published(*range(2000)):
            broker.append(record)
        sink = MemorySink(ECHO)
        sink.hold.clear()
        stop = asyncio.Event()
        log = MemoryLog(broker, "in")
        dispatcher = Dispatcher(log, sink, world.settings, world.clock)
        running = asyncio.ensure_future(dispatcher.run(stop))
        await wait_for(lambda: sink.in_flight == world.settings.concurrency)
        polled = 500  # one poll's most, taken before the bound is seen
        assert log.position(Partition("in", 0)) <= polled + 20
        sink.hold.set()
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        assert len(broker.records("out")) == 2000

    asyncio.run(run())


def test_a_stop_finishes_what_is_under_way() -> None:
    """Told to stop, the dispatcher answers what it has begun and commits it."""

    async def run() -> None:
        world = World(ECHO)
        broker = MemoryBroker()
        for record in published(*range(5)):
            broker.append(record)
        sink = MemorySink(ECHO)
        sink.hold.clear()
        stop = asyncio.Event()
        running = asyncio.ensure_future(
            Dispatcher(MemoryLog(broker, "in"), sink, world.settings, world.clock).run(stop)
        )
        await wait_for(lambda: sink.in_flight == 5)
        stop.set()
        await asyncio.sleep(0)
        assert not broker.records("out")
        sink.hold.set()
        await running
        assert len(broker.records("out")) == 5
        assert all_done(broker)

    asyncio.run(run())


class FlakyLog(MemoryLog):
    """A log whose first commits fail, or whose topics refuse large records."""

    failures = 0
    limit = 10**9

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Fail as told, else commit."""
        if FlakyLog.failures:
            FlakyLog.failures -= 1
            raise UnavailableError("no broker")
        if any(len(record.value or b"") > self.limit for record in records):
            raise PayloadTooLargeError("too large")
        await super().commit(records, done)


def test_a_commit_that_fails_is_tried_until_it_is_taken() -> None:
    """While the broker is away nothing is lost and nothing is answered twice."""
    FlakyLog.failures = 20
    broker = dispatch(World(ECHO), published(*range(10)), log=FlakyLog)
    assert FlakyLog.failures == 0
    assert Counter(headers(r)["ce_causationid"] for r in broker.records("out")) == Counter(map(str, range(10)))


class LossyLog(MemoryLog):
    """A log whose every second commit is written, and whose answer to it is lost; asked, it is away at first."""

    asked = 0
    commits = 0

    async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
        """Write, and say it of every second one."""
        await super().commit(records, done)
        LossyLog.commits += 1
        if LossyLog.commits % 2:
            raise UnavailableError("the broker died")

    async def committed(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, Committed]:
        """Nothing at first."""
        LossyLog.asked += 1
        if LossyLog.asked % 3:
            raise UnavailableError("the broker is not back yet")
        return await super().committed(partitions)


@pytest.mark.parametrize("ordering", ["none", "key", "partition"])
def test_a_commit_whose_answer_is_lost_is_not_written_twice(ordering: str) -> None:
    """What became of a commit is asked before anything else is written: each event has one answer."""
    LossyLog.asked = LossyLog.commits = 0
    world = World(ECHO, ordering=ordering, concurrency=3)
    broker = dispatch(world, published(*range(40)), partitions=3, log=LossyLog)
    assert LossyLog.commits > 1
    assert LossyLog.asked
    assert Counter(headers(r)["ce_causationid"] for r in broker.records("out")) == Counter(map(str, range(40)))


def test_a_dispatcher_that_was_taken_over_ends() -> None:
    """When another process has its name, the dispatcher stops with that error, and never writes again.

    A second try would take the name back, and end the other process in the middle of its work.
    """
    tries = []

    class FencedLog(MemoryLog):
        async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
            tries.append(done)
            raise TakenOverError("another one")

    with pytest.raises(TakenOverError):
        dispatch(World(ECHO, concurrency=1), published(*range(3)), log=FencedLog)
    assert len(tries) == 1


def test_a_fault_of_the_dispatcher_s_own_ends_it_and_its_membership() -> None:
    """It is told, and the log is closed: a member that only stood still would keep its partitions from all others."""
    closed: list[bool] = []

    class BrokenLog(MemoryLog):
        async def commit(self, records: Sequence[OutgoingRecord], done: Mapping[Partition, Committed]) -> None:
            raise ZeroDivisionError

        async def close(self) -> None:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        dispatch(World(ECHO, concurrency=1), published(*range(3)), log=BrokenLog)
    assert closed == [True]


def test_an_answer_no_topic_takes_is_a_dead_letter() -> None:
    """One answer over the topic's limit costs its own event alone."""

    class SmallLog(FlakyLog):
        limit = 1000

    def answer(e: CloudEvent) -> Reply:
        return Reply(200, {}, b"x" * 5000 if e.id == "3" else b"ok")

    broker = dispatch(World(answer), published(*range(6)), log=SmallLog)
    letters = [headers(r) for r in broker.records("dead")]
    assert [(letter["ce_id"], letter["ce_hrreason"]) for letter in letters] == [("3", "rejected")]
    kinds = Counter(headers(r)["ce_type"] for r in broker.records("out"))
    assert kinds == {"dev.headrace.inference.result.v1": 5, "dev.headrace.inference.error.v1": 1}


def test_a_new_life_goes_on_where_the_old_one_ended() -> None:
    """Events done out of order before a crash are not done again, and unfinished ones keep their attempts."""

    async def run() -> None:
        world = World(lambda e: Reply(500) if e.id == "0" else ECHO(e), drain=0.0)
        broker = MemoryBroker()
        for record in published(*range(10)):
            broker.append(record)

        class StuckSink(MemorySink):
            async def deliver(self, e: CloudEvent, context: Any) -> Reply:
                if [known.id for known in self.got].count("0") and e.id == "0":
                    await asyncio.Event().wait()  # the second attempt at event 0 is under way when all ends
                return await super().deliver(e, context)

        dispatcher = Dispatcher(MemoryLog(broker, "in"), StuckSink(world.answer), world.settings, world.clock)
        running = asyncio.ensure_future(dispatcher.run(asyncio.Event()))
        await wait_for(
            lambda: (
                len(broker.records("out")) == 9
                and '"a"' in broker.committed.get(Partition("in", 0), Committed(0)).metadata
            )
        )
        running.cancel()
        await asyncio.wait({running})
        await world.again(broker)
        assert [e.id for e in world.sink.got] == ["0"] * 4, "one of five attempts was made in the first life"
        assert Counter(headers(r)["ce_causationid"] for r in broker.records("out")) == Counter(map(str, range(10)))

    asyncio.run(run())


def test_a_partition_that_left_is_not_committed() -> None:
    """What finishes after its partition went elsewhere is dropped: its new owner answers it."""

    async def run() -> None:
        world = World(ECHO, drain=0.0)
        broker = MemoryBroker()
        for record in published(*range(3)):
            broker.append(record)
        sink = MemorySink(ECHO)
        sink.hold.clear()
        stop = asyncio.Event()
        dispatcher = Dispatcher(MemoryLog(broker, "in"), sink, world.settings, world.clock)
        running = asyncio.ensure_future(dispatcher.run(stop))
        await wait_for(lambda: sink.in_flight == 3)
        await dispatcher.revoked({Partition("in", 0)})
        sink.hold.set()
        stop.set()
        await running
        assert broker.records("out") == []
        assert broker.committed == {}

    asyncio.run(run())


def test_the_window_holds_a_partition_back() -> None:
    """With its oldest event stuck, a partition is paused at the window and loses nothing."""

    async def run() -> None:
        world = World(ECHO, most_open=10**6)
        broker = MemoryBroker()
        for record in published(*range(WINDOW + 1500)):
            broker.append(record)
        free = asyncio.Event()

        class StuckSink(MemorySink):
            async def deliver(self, e: CloudEvent, context: Any) -> Reply:
                if e.id == "0":
                    await free.wait()
                return await super().deliver(e, context)

        sink = StuckSink(ECHO)
        log = MemoryLog(broker, "in")
        stop = asyncio.Event()
        running = asyncio.ensure_future(Dispatcher(log, sink, world.settings, world.clock).run(stop))
        await wait_for(lambda: len(broker.topics.get(Partition("out", 0), ())) >= WINDOW - 1)
        await asyncio.sleep(0)
        assert log.position(Partition("in", 0)) <= WINDOW + 500
        free.set()
        await wait_for(lambda: all_done(broker))
        stop.set()
        await running
        assert len(broker.records("out")) == WINDOW + 1500

    asyncio.run(run())


def test_events_that_no_filter_means_are_done_without_a_delivery() -> None:
    """Neither sent nor answered, and committed; a record that is no event is a dead letter all the same."""
    bad = OutgoingRecord("in", b"k", b"{", (("content-type", b"application/cloudevents+json"),))
    world = World(ECHO, wanted=compile_filter("id = '2' OR id = '4'"))
    broker = dispatch(world, [*published(*range(5)), bad], partitions=2)
    assert sorted(e.id for e in world.sink.got) == ["2", "4"]
    assert sorted(headers(r)["ce_causationid"] for r in broker.records("out") if "result" in headers(r)["ce_type"]) == [
        "2",
        "4",
    ]
    assert [headers(r)["ce_hrreason"] for r in broker.records("dead")] == ["invalid"]


def test_a_filter_wakes_nothing() -> None:
    """Where no event is meant the sink is not even asked whether it is ready."""
    world = World(ECHO, wanted=compile_filter("EXISTS nothing"))
    dispatch(world, published(*range(5)))
    assert world.sink.knocks == 0
