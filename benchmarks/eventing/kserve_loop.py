"""The loop that many write: ``python -m benchmarks.eventing.kserve_loop KAFKA TOPIC RESULTS URL``.

One event a request over one connection that is kept, as CloudEvent in binary mode, which is what Knative's KafkaSource
sends; the answer goes to the topic of results with the event's key. At least once: offsets are committed after a poll's
answers are acknowledged.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kafka import KafkaConsumer, KafkaProducer

if TYPE_CHECKING:
    from collections.abc import Iterable

OK = 200
PATIENCE = 600.0
"""Seconds that the server may take to start, on a machine that does much else."""


def headers_of(record: Any) -> dict[str, str]:
    """The record's headers as those of the request."""
    named: Iterable[tuple[str, bytes]] = record.headers
    return {name.replace("ce_", "ce-", 1): value.decode() for name, value in named}


def answer(connection: http.client.HTTPConnection, path: str, record: Any) -> bytes:
    """What the model says to one event."""
    try:
        response = asked(connection, path, record)
    except (OSError, http.client.HTTPException):  # the server has closed the idle connection; it makes a new one
        connection.close()
        response = asked(connection, path, record)
    body = response.read()
    if response.status != OK:
        raise SystemExit(f"the server answers {response.status}: {body.decode(errors='replace')}")
    return body


def asked(connection: http.client.HTTPConnection, path: str, record: Any) -> http.client.HTTPResponse:
    """One request."""
    connection.request("POST", path, record.value, headers_of(record))
    return connection.getresponse()


def wait_for(host: str, port: int) -> None:
    """Wait until the server listens: nobody measures its start."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens at {host}:{port} within {PATIENCE:g} s")


def main(kafka: str, topic: str, results: str, url: str) -> None:
    """Read, ask, write, until the process ends."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka, group_id=f"{topic}.loop", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = KafkaProducer(bootstrap_servers=kafka)
    place = urlsplit(url)
    wait_for(str(place.hostname), int(place.port or 80))
    connection = http.client.HTTPConnection(str(place.hostname), place.port)
    while True:
        polled = consumer.poll(timeout_ms=500)
        for record in (record for batch in polled.values() for record in batch):
            producer.send(results, answer(connection, place.path, record), key=record.key)
        if polled:
            producer.flush()
            consumer.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
