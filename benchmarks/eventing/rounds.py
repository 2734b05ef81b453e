"""One session: every contender up, and rounds in which each gets its turn on the same broker."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.eventing.contenders import Place
from benchmarks.eventing.models import CASES
from benchmarks.eventing.processes import Processes, cpu_of
from benchmarks.eventing.traffic import Traffic

from headrace.eventing.kafka.topics import TopicSpec, create_topics
from headrace.testing.broker import BrokerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.eventing.contenders import Contender


@dataclass(frozen=True, slots=True)
class Load:
    """What each contender gets in each round."""

    events: int = 2000
    rounds: int = 5
    warm_up: int = 200
    """Events before the first round, which are not measured."""
    partitions: int = 4
    size: int = 1024
    """Bytes of an event's data."""
    transformer: bool = False
    """Whether a transformer stands before the model, in a process of its own, where the contender has processes."""
    keys: int = 0
    """Keys of the events, whose order is kept where the contender can; 0 for events without an order to keep."""
    model: str = "echo"
    """The model: ``echo`` or ``minilm``."""
    alone: int = 20
    """Events a round that are published one after the other, each when the one before has its result."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender's turn."""

    contender: str
    cpu: float
    """Seconds of CPU an event, of the contender's processes."""
    broker_cpu: float
    """Seconds of CPU an event, of the broker."""
    events_per_second: float
    """From the first event's publishing to the last result's reading."""
    latency: float
    """Seconds from an event's publishing to its result's reading, where no other event is on its way; the median."""


@dataclass(frozen=True, slots=True)
class Count:
    """What became of all of a contender's events."""

    lost: int
    twice: int


@dataclass(slots=True)
class _Runner:
    """A contender that is up."""

    contender: Contender
    processes: Processes
    traffic: Traffic
    ids: list[str]

    def turn(self, label: str, load: Load, broker: BrokerProcess) -> Measured:
        """Publish, wait for the results, and count CPU and time."""
        count = load.events
        own, brokers, begin = self.processes.cpu(), cpu_of(broker.pid), time.perf_counter()
        end = self.pass_through(label, count)
        return Measured(
            self.contender.name,
            (self.processes.cpu() - own) / count,
            (cpu_of(broker.pid) - brokers) / count,
            count / (end - begin),
            median(self._alone(f"{label}-alone-{number}") for number in range(load.alone)),
        )

    def _alone(self, label: str) -> float:
        """Seconds that one event takes there and back."""
        begin = time.perf_counter()
        return self.pass_through(label, 1) - begin

    def pass_through(self, label: str, count: int) -> float:
        """Publish events and wait for their results; when the last one came."""
        ids = self.traffic.publish(label, count)
        self.ids += ids
        return self.traffic.wait(ids, self.processes.check)

    def count(self) -> Count:
        """What became of its events so far."""
        self.traffic.drain()
        times = [self.traffic.seen.get(identifier, 0) for identifier in self.ids]
        return Count(lost=times.count(0), twice=sum(number > 1 for number in times))


def run(
    contenders: Sequence[Contender], load: Load, folder: Path, say: Callable[[str], None]
) -> tuple[list[Measured], dict[str, Count]]:
    """Measure them; the turns in the order in which they were, and what became of each contender's events.

    The order changes from round to round, so that what the machine does besides falls on all of them.
    """
    with ExitStack() as stack:
        broker = stack.enter_context(BrokerProcess(folder / "kafka"))
        runners = [_up(contender, load, folder, broker.bootstrap, stack) for contender in contenders]
        for runner in runners:
            say(f"{runner.contender.name}: up, warming up")
            runner.pass_through("warm-up", load.warm_up)
        found: list[Measured] = []
        for number in range(load.rounds):
            shift = number % len(runners)
            for runner in runners[shift:] + runners[:shift]:
                turn = runner.turn(f"round-{number}", load, broker)
                say(f"round {number + 1}: {turn.contender}: {turn.events_per_second:,.0f} events/s")
                found.append(turn)
        return found, {runner.contender.name: runner.count() for runner in runners}


def _up(contender: Contender, load: Load, folder: Path, kafka: str, stack: ExitStack) -> _Runner:
    place = Place(
        kafka,
        f"{contender.name}.in",
        f"{contender.name}.out",
        folder / contender.name,
        load.transformer,
        CASES[load.model],
        "key" if load.keys else "none",
    )
    place.folder.mkdir()
    create_topics(kafka, [TopicSpec(name, load.partitions) for name in (place.topic, place.results)])
    processes = Processes(place.folder)
    stack.callback(processes.stop)
    contender.start(place, processes)
    traffic = Traffic(kafka, place.topic, place.results, size=load.size, case=place.case, keys=load.keys)
    stack.callback(traffic.close)
    return _Runner(contender, processes, traffic, [])
