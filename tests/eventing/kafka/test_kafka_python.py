"""What the driver does about habits of kafka-python."""

from __future__ import annotations

import threading

import pytest
from kafka.errors import KafkaTimeoutError, ProducerFencedError

from headrace.eventing.kafka import kafka_python


class Ending:
    """A producer whose transaction ends as the test says: when ``released``, and with ``fault``."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.released = threading.Event()
        self.fault = fault

    def abort_transaction(self) -> None:
        """As kafka-python's: no end to the wait."""
        self.released.wait()
        if self.fault is not None:
            raise self.fault


def test_an_abort_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """kafka-python waits for ever when a batch expired while the broker was gone: the writer must go on all the same.

    The fault suite has the real thing, with a broker that is gone for a minute.
    """
    monkeypatch.setattr(kafka_python, "ABORT_TIMEOUT", 0.05)
    stuck = Ending()
    with pytest.raises(KafkaTimeoutError):
        kafka_python._Producer(stuck).abort()
    stuck.released.set()


@pytest.mark.parametrize("fault", [None, ProducerFencedError()])
def test_an_abort_that_ends_tells_how(fault: Exception | None) -> None:
    """Its error is raised where it has one."""
    ending = Ending(fault)
    ending.released.set()
    producer = kafka_python._Producer(ending)
    if fault is None:
        producer.abort()
    else:
        with pytest.raises(ProducerFencedError):
            producer.abort()
