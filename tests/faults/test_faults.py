"""Whatever fails between the topic and its answers: nothing lost, nothing twice, order kept, all committed.

A short run belongs to every test run; ``make faults`` is the long one. Both print the numbers and the seed, and
HEADRACE_SEED=N makes the same choices again.
"""

from __future__ import annotations

import random
import resource
import time
from typing import TYPE_CHECKING

import pytest

from headrace.testing.app import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .scene import Scene
    from .tally import Batch, Row

    Settle = Callable[[Batch, float], Row]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def after(seconds: float) -> None:
    """Let a fault last."""
    ends = time.monotonic() + seconds
    until(lambda: time.monotonic() > ends, "the fault has lasted", seconds + 60)


def test_kills_at_random_points(scene: Scene, settle: Settle, seed: int, long: bool) -> None:
    """SIGKILL for dispatchers and broker, at points and in an order that the seed chooses."""
    choose = random.Random(seed)
    scene.receiver.delay = 0.05
    began = time.monotonic()
    batch = scene.publish("kills", 2000 if long else 150)
    for number in range(rounds := 20 if long else 3):
        scene.until_delivered(batch, (number + choose.random()) / (rounds + 1))
        kills = [*(one.kill for one in scene.dispatchers), scene.restart_broker]
        for kill in choose.sample(kills, choose.choice([1, 1, 2])):
            kill()
    settle(batch, began)


def test_a_rebalance_in_the_middle_of_slow_inference(scene: Scene, settle: Settle, long: bool) -> None:
    """A sink that takes four seconds (two in the short run); a member dies, a third one comes, and goes again."""
    scene.receiver.delay = 4.0 if long else 2.0
    began = time.monotonic()
    batch = scene.publish("slow sink", 240 if long else 48)
    scene.until_delivered(batch, 0.1)
    third = scene.add_dispatcher("d-2")
    scene.dispatchers[0].kill()
    scene.until_members(3)
    scene.until_delivered(batch, 0.7)
    scene.remove_dispatcher(third)
    settle(batch, began)


def test_the_network_to_the_sink_is_cut(scene: Scene, settle: Settle) -> None:
    """Connections break off and are refused for a while, then nothing comes through, then they break off again."""
    scene.receiver.delay = 0.05
    began = time.monotonic()
    batch = scene.publish("network cut", 100)
    scene.until_delivered(batch, 0.3)
    scene.receiver.cut()
    after(1)
    scene.receiver.mend()
    scene.until_delivered(batch, 0.6)
    scene.receiver.hang()
    after(1)
    scene.receiver.cut()
    scene.receiver.mend()
    settle(batch, began)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process: Linux only")
def test_the_broker_s_disk_is_full(scene: Scene, settle: Settle) -> None:
    """No answer can be written until there is room again; what was delivered meanwhile is not answered twice."""
    scene.receiver.delay = 0.05
    began = time.monotonic()
    batch = scene.publish("full disk", 60)
    scene.until_delivered(batch, 0.3)
    scene.fill_disk()
    try:
        scene.until_delivered(batch, 0.8)
        after(0.5)
    finally:
        scene.free_disk()
    settle(batch, began)


def test_poison_with_a_dead_letter_topic_that_refuses(scene: Scene, settle: Settle) -> None:
    """Every tenth event fails for good, and there is no topic for dead letters: it waits, and is not dropped."""
    scene.receiver.delay = 0.0
    began = time.monotonic()
    scene.delete("dead")
    batch = scene.publish("poison", 60, poison=10)
    until(lambda: all(scene.receiver.got[one] for one in batch.poison), "the poison is tried")
    after(1)
    assert scene.lag() > 0
    scene.create("dead", 1)
    assert settle(batch, began).dead == len(batch.poison)


def test_the_clocks_jump(scene: Scene, settle: Settle) -> None:
    """The wall clocks of broker and dispatchers go an hour forth, then a day back."""
    scene.receiver.delay = 0.05
    began = time.monotonic()
    batch = scene.publish("clock jumps", 100)
    for share, seconds in ((0.2, 3600), (0.5, -86_400), (0.8, 0)):
        scene.until_delivered(batch, share)
        scene.jump(seconds)
        after(0.1)
    settle(batch, began)
    times = scene.times(batch)
    assert max(times) - min(times) > 86_400


def test_the_broker_is_gone_for_a_minute(scene: Scene, settle: Settle, long: bool) -> None:
    """Everyone waits for it, and goes on from where it was; in the long run only."""
    if not long:
        pytest.skip("the long run is `make faults`")
    scene.receiver.delay = 0.05
    began = time.monotonic()
    batch = scene.publish("broker gone", 60)
    scene.until_delivered(batch, 0.3)
    scene.broker.kill()
    after(60)
    scene.broker.start()
    settle(batch, began)
