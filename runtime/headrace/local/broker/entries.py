"""Single records inside a batch (Kafka protocol, "Record"): for compaction, which keeps some and drops others.

A kept record's key, value and headers are copied as bytes, never decoded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.local.broker.batches import HEADER_SIZE, HORIZON, PREFIX_SIZE, Header
from headrace.local.broker.checksum import crc32c
from headrace.local.broker.codes import Code, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CODECS = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_HEAD = struct.Struct(">qiibI")
_CHECKED = struct.Struct(">hiqqqhii")
_CHECKSUM_SIZE = 9
"""Bytes between the length field and the part that the checksum covers."""
_CONTINUED = 0x80


class Entry(NamedTuple):
    """One record."""

    attributes: int
    timestamp_delta: int
    offset_delta: int
    key: bytes | None
    is_tombstone: bool
    """Whether it has no value: it says that its key is deleted."""
    rest: bytes
    """Everything from the length of the key on."""


def entries(batch: bytes, header: Header) -> Iterator[Entry]:
    """Every record of a batch, in order.

    Raises:
        Refusal: it cannot be taken apart: the bytes are no records, or the codec is not installed.
    """
    body = _body(batch, header)
    position = 0
    try:
        for _ in range(header.records):
            size, position = _varint(body, position)
            end = position + size
            entry = _entry(body, position, end)
            if size <= 0 or end > len(body) or not 0 <= entry.offset_delta <= header.last_offset_delta:
                raise Refusal(Code.INVALID_RECORD, "The lengths of the records in the batch are wrong")
            yield entry
            position = end
    except IndexError as fault:
        raise Refusal(Code.INVALID_RECORD, "The records of the batch end too early") from fault


def check_keys(batch: bytes | memoryview, header: Header) -> None:
    """Check what a compacted topic takes: records that all have a key.

    Raises:
        Refusal: one has none, or they cannot be read.
    """
    for entry in entries(bytes(batch), header):
        if entry.key is None:
            raise Refusal(Code.INVALID_RECORD, "A compacted topic takes no record without a key")


def rebuilt(header: Header, kept: Sequence[Entry], horizon: int | None) -> bytes:
    """A batch with the same offsets, producer and codec, but these records only.

    Args:
        header: Of the batch that they come from.
        kept: Its records that stay, at least one.
        horizon: Time in milliseconds from which its tombstones may go; it takes the place of the first timestamp
            (KIP-534). None leaves that as it was.
    """
    first = header.first_timestamp if horizon is None else horizon
    attributes = header.attributes if horizon is None else header.attributes | HORIZON
    shift = header.first_timestamp - first
    body = b"".join(_record(one, one.timestamp_delta + shift) for one in kept)
    if codec := _CODECS.get(header.codec):
        body = _codec(codec, "encode")(body)
    latest = header.first_timestamp + max(one.timestamp_delta for one in kept)
    fields = (attributes, header.last_offset_delta, first, latest, header.producer_id, header.producer_epoch)
    checked = _CHECKED.pack(*fields, header.base_sequence, len(kept)) + body
    length = _CHECKSUM_SIZE + len(checked)
    return _HEAD.pack(header.base_offset, length, header.leader_epoch, header.magic, crc32c(checked)) + checked


def _body(batch: bytes, header: Header) -> bytes:
    data = batch[HEADER_SIZE : header.length + PREFIX_SIZE]
    if not header.codec:
        return data
    name = _CODECS.get(header.codec)
    if name is None:
        raise Refusal(Code.UNSUPPORTED_COMPRESSION_TYPE, f"Compression {header.codec} is not known")
    decode = _codec(name, "decode")
    try:
        return bytes(decode(data))
    except Exception as fault:
        # Every codec raises its own kind.
        raise Refusal(Code.CORRUPT_MESSAGE, f"The batch is not {name}: {fault!r}") from fault


def _codec(name: str, direction: str) -> Any:
    from kafka import codec  # noqa: PLC0415 - few topics are compacted, and fewer of them compressed

    if not getattr(codec, f"has_{name}")():
        raise Refusal(Code.UNSUPPORTED_COMPRESSION_TYPE, f"No library for {name} is installed")
    return getattr(codec, f"{name}_{direction}")


def _entry(body: bytes, position: int, end: int) -> Entry:
    attributes = body[position]
    timestamp_delta, position = _varint(body, position + 1)
    offset_delta, position = _varint(body, position)
    rest = body[position:end]
    size, position = _varint(body, position)
    key = body[position : position + size] if size >= 0 else None
    value_size, _ = _varint(body, position + max(size, 0))
    return Entry(attributes, timestamp_delta, offset_delta, key, value_size < 0, rest)


def _record(entry: Entry, timestamp_delta: int) -> bytes:
    body = b"".join((bytes((entry.attributes,)), _zigzag(timestamp_delta), _zigzag(entry.offset_delta), entry.rest))
    return _zigzag(len(body)) + body


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag number, and where it ends."""
    byte = data[position]
    position += 1
    value = byte & 0x7F
    shift = 7
    while byte >= _CONTINUED:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), position


def _zigzag(number: int) -> bytes:
    value = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while value >= _CONTINUED:
        out.append(value & 0x7F | _CONTINUED)
        value >>= 7
    out.append(value)
    return bytes(out)
