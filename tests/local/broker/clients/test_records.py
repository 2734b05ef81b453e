"""Records go in and come out the same, through three client libraries."""

from __future__ import annotations

import time
from typing import Any

import pytest


def test_key_value_headers_and_nulls_survive(client: Any, topic: str, message: Any) -> None:
    """A record comes back byte for byte: key, value, headers with repeats, no value, no key."""
    sent = [
        message(b"value", b"key", (("a", b"1"), ("a", b"2"), ("empty", b""))),
        message(None, b"tombstone"),
        message(b"", b""),
        message(b"\x00\xff" * 500),
    ]
    assert client.produce(topic, sent) == [0, 1, 2, 3]
    assert client.consume(topic, 4) == sent


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
def test_every_codec_is_kept_as_sent(client: Any, topic: str, message: Any, codec: str) -> None:
    """Compressed batches are stored and given as they came."""
    sent = [message(b"text that compresses " * 40 + str(number).encode()) for number in range(50)]
    assert sorted(client.produce(topic, sent, codec=codec)) == list(range(50))
    assert client.consume(topic, 50) == sent


def test_a_group_goes_on_where_it_committed(client: Any, topic: str, message: Any) -> None:
    """The second consumer of a group begins behind what the first one committed."""
    sent = [message(str(number).encode()) for number in range(6)]
    client.produce(topic, sent)
    assert client.consume(topic, 4, group=f"g-{topic}") == sent[:4]
    assert client.consume(topic, 2, group=f"g-{topic}") == sent[4:]


def test_idempotent_producer(client: Any, topic: str, message: Any) -> None:
    """An idempotent producer gets its producer id, and its sequences are accepted."""
    sent = [message(str(number).encode()) for number in range(200)]
    assert sorted(client.produce(topic, sent, idempotent=True)) == list(range(200))


def test_transaction_is_seen_whole_or_not_at_all(client: Any, topic: str, message: Any, transact: Any) -> None:
    """read_committed sees the committed records alone; read_uncommitted sees the aborted ones as well."""
    first, lost, last = (message(name) for name in (b"first", b"lost", b"last"))
    client.transact(f"tx-{topic}", topic, transact((first,)))
    client.transact(f"tx-{topic}", topic, transact((lost,), end="abort"))
    client.transact(f"tx-{topic}", topic, transact((last,)))
    assert client.consume(topic, 2, committed=True) == [first, last]
    assert client.consume(topic, 3) == [first, lost, last]


@pytest.mark.parametrize(("end", "rest"), [("commit", [b"2", b"3"]), ("abort", [b"0", b"1"])])
def test_offsets_of_a_transaction_share_its_fate(  # noqa: PLR0917 - fixtures
    client: Any, topic: str, message: Any, transact: Any, end: str, rest: list[bytes]
) -> None:
    """Offsets sent to a transaction are the group's when it commits, and are forgotten when it aborts."""
    client.produce(topic, [message(str(number).encode()) for number in range(4)])
    out = f"{topic}-out"
    client.transact(f"tx-{topic}", out, transact((message(b"x"),), end, f"g-{topic}", topic, 2))
    assert [one.value for one in client.consume(topic, 2, group=f"g-{topic}")] == rest


def test_offset_by_time(client: Any, topic: str, message: Any) -> None:
    """A time before, between and after the records gives the first, the second, and none."""
    before = int(time.time() * 1000) - 1000
    client.produce(topic, [message(b"a")])
    deadline = time.monotonic() + 5
    between = int(time.time() * 1000) + 2
    while int(time.time() * 1000) < between:
        assert time.monotonic() < deadline
    client.produce(topic, [message(b"b")])
    assert client.offset_at(topic, before) == 0
    assert client.offset_at(topic, between) == 1
    assert client.offset_at(topic, int(time.time() * 1000) + 60_000) == -1
