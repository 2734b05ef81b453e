"""The number of ready replicas: counted from answers, and what it allows."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING

from tests.eventing.test_dispatch import World, dispatch, headers, published

from headrace.eventing.capacity import Capacity
from headrace.eventing.replicas import HEADER, WINDOW, Replicas
from headrace.eventing.sink import Reply
from headrace.testing.clock import InstantClock

if TYPE_CHECKING:
    from headrace.eventing.event import CloudEvent


def known(replicas: Replicas) -> tuple[int | None, int | None]:
    return replicas.ready, replicas.most


def test_replicas_count_for_as_long_as_they_answer() -> None:
    """Each name once; one that has not answered for the window is gone, and comes back with its next answer."""
    replicas = Replicas(8, clock := InstantClock())
    assert known(replicas) == (None, None), "nobody has said a name"
    replicas.heard({"content-type": "text/plain"})
    assert replicas.ready is None
    for name in ("a", "b", "a"):
        replicas.heard({HEADER: name})
    assert known(replicas) == (2, 32)
    clock.now += WINDOW / 2
    replicas.heard({HEADER: "b"})
    clock.now += WINDOW / 2 + 1
    assert known(replicas) == (1, 16)
    clock.now += WINDOW
    assert known(replicas) == (0, 16), "the first of those that wake may have as much as one"
    replicas.heard({HEADER: "a"})
    assert replicas.ready == 1


def test_names_are_not_kept_for_ever() -> None:
    """A receiver whose replicas come and go for years costs no memory for those that were."""
    replicas = Replicas(8, clock := InstantClock())
    for number in range(1000):
        clock.now += WINDOW
        replicas.heard({HEADER: str(number)})
    assert len(replicas._answered) <= 2


def test_the_lower_of_bound_and_replicas_holds() -> None:
    """What the receiver has refused counts as before; so does the most that the app may have."""
    replicas = Replicas(8, clock := InstantClock())
    capacity = Capacity(40, longest=1.0, clock=clock, replicas=replicas)
    assert capacity.allowed == 40, "nothing is known"
    for name, allowed in (("a", 16), ("b", 32), ("c", 40)):
        capacity.heard(Reply(200, {HEADER: name}))
        assert capacity.allowed == allowed
    capacity.overloaded(0, None)
    assert capacity.allowed == 20


def flow(replicas: int) -> tuple[World, int]:
    """Events before a receiver of so many replicas that take two each; the world, and the most that were under way."""
    turn = count()
    most = 0

    def answer(event: CloudEvent) -> Reply:
        nonlocal most
        if next(turn) >= 64:  # by then the first answers have been read
            most = max(most, world.sink.in_flight)
        return Reply(200, {"content-type": "text/plain", HEADER: str(int(event.id) % replicas)}, event.data or b"")

    world = World(answer, concurrency=32, replica=2)
    answered = dispatch(world, published(*range(400))).records("out")
    assert sorted(int(headers(record)["ce_causationid"]) for record in answered) == list(range(400))
    return world, most


def test_a_dispatcher_gives_each_ready_replica_twice_what_it_takes() -> None:
    """One replica gets 4 events at once, five get 20, of the 32 that the app may have; metrics tell."""
    for replicas in (1, 5):
        world, most = flow(replicas)
        assert most == replicas * 4
        metrics = world.dispatcher.metrics
        assert metrics.value("headrace_dispatcher_ready_replicas") == replicas
        assert metrics.value("headrace_dispatcher_concurrency") == replicas * 4


def test_a_replica_has_its_host_s_name_in_a_form_that_tells_nothing() -> None:
    """The same for all processes of one replica, another for another; the host cannot be read from it."""
    program = "from headrace.eventing.replicas import own_name; print(own_name())"

    def name(host: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program], env={"HOSTNAME": host}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert name("pod-a") == name("pod-a") != name("pod-b")
    assert "pod" not in name("pod-a")
