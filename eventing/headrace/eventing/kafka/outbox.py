"""Events that may be lost but must hold nobody up: a bounded queue, and a thread that writes what is in it to Kafka.

For what is told beside the work, such as usage. While Kafka does not answer, the queue fills, and then the oldest go;
how many is counted. No span is made of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError
from headrace.eventing.codec.kafka import write_record
from headrace.eventing.kafka.driver import ProducerOptions, driver_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.eventing.event import CloudEvent
    from headrace.eventing.kafka.driver import Producer
    from headrace.eventing.kafka.settings import KafkaSettings

MOST_HELD = 50_000
"""Events that wait at most."""
_AT_ONCE = 5000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_ACK = 30.0
_CONNECT = 5.0
_LET_GO = 5.0
_log = logging.getLogger(__name__)


class Outbox:
    """Writes events to one topic, some time soon.

    Args:
        settings: The cluster.
        topic: The topic.
        most: Events that wait at most; then the oldest are dropped.
    """

    def __init__(self, settings: KafkaSettings, topic: str, *, most: int = MOST_HELD) -> None:
        self.written = 0
        """Events that Kafka has acknowledged."""
        self.dropped = 0
        """Events that were given up."""
        self._settings = settings
        self._topic = topic
        self._waiting: deque[CloudEvent] = deque()
        self._in_hand: list[CloudEvent] = []
        self._most = most
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._ends = 0.0
        self._producer: Producer | None = None
        self._thread = threading.Thread(target=self._work, name=f"outbox-{topic}", daemon=True)
        self._thread.start()

    def put(self, events: Sequence[CloudEvent]) -> None:
        """Have these written; returns at once and raises nothing."""
        with self._lock:
            self._waiting.extend(events)
            over = len(self._waiting) - self._most
            for _ in range(over):
                self._waiting.popleft()
            self.dropped += max(0, over)
        self._wake.set()

    def close(self, seconds: float) -> None:
        """Write what waits, for so long at most; the rest is dropped, and told of."""
        self._ends = time.monotonic() + seconds
        self._ended.set()
        self._wake.set()
        self._thread.join(seconds + 1.0)
        with self._lock:
            # One that is being written still, whose end nobody waits for any more, is as good as dropped.
            left = len(self._waiting) + len(self._in_hand)
            self.dropped += left
            self._waiting.clear()
        if left:
            _log.warning("%d events for %s were not written before the end", left, self._topic)

    def _work(self) -> None:
        pause = 0.0
        while not self._ended.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._late():
                try:
                    self._write()
                    pause = 0.0
                except HeadraceError as fault:
                    pause = min(_LONGEST_PAUSE, pause * 2 or _FIRST_PAUSE)
                    _log.warning("events for %s wait: %s", self._topic, fault)
                    self._let_go()
                    self._rest(pause)
        self._let_go()

    def _late(self) -> bool:
        return self._ended.is_set() and time.monotonic() >= self._ends

    def _rest(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            time.sleep(max(0.0, min(_FIRST_PAUSE, self._ends - time.monotonic())))

    def _write(self) -> None:
        with self._lock:
            some = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            self._in_hand = some
        try:
            self._send(some)
            self.written += len(some)
        except BaseException:
            with self._lock:
                self._waiting.extendleft(reversed(some))
            raise
        finally:
            self._in_hand = []

    def _send(self, events: Sequence[CloudEvent]) -> None:
        driver = driver_of(self._settings)
        with driver.faults(f"write to {self._topic} in Kafka at {self._settings.bootstrap}", self._settings):
            if self._producer is None:
                options = ProducerOptions(client_id="headrace-outbox", block=_ACK, connect=_CONNECT)
                self._producer = driver.producer(self._settings, options)
            for event in events:
                self._producer.send(write_record(event, self._topic, trace={}))
            self._producer.flush(_ACK)

    def _let_go(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(_LET_GO)
